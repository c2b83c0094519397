"""Users' files: imported as `python FILE.py` would, apart from each other, and known by all that makes their rows."""

import itertools
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import scene
from PIL import Image

from cvbench.cli import run_program
from cvbench.core.errors import UsageError
from cvbench.core.protocol import protocol
from cvbench.core.records import RunRecord
from cvbench.engine.coding import Coded
from cvbench.engine.subject import Own
from cvbench.models.naming import is_own
from cvbench.models.own import load_own
from cvbench.store import FileStore
from cvbench.tasks import reconstruction
from cvbench.tasks.request import Request

SMALL = protocol("cvbench-1", ["frames=7", "size=80"])
MODEL = """
class V:
    def __init__(self, gain=1.0):
        self.gain = gain
    def encode(self, v):
        return v * self.gain
    def decode(self, z, frames):
        return z
"""
Scores = dict[str, tuple[float, float]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data: an image of 80×80 and a clip of seven frames."""
    data = tmp_path / "data"
    (data / "walk").mkdir(parents=True)
    Image.fromarray(scene(1, 80, 80)[:, 0].transpose(1, 2, 0)).save(data / "image.png")
    for k, frame in enumerate(scene(7, 80, 80, 9).transpose(1, 2, 3, 0)):
        Image.fromarray(frame).save(data / "walk" / f"{k:05d}.png")
    return data


@pytest.fixture
def coded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models whose reconstructions were made, one for each batch."""
    names: list[str] = []
    original = reconstruction.code

    def code(subject: reconstruction.Subject, *given: Any, **how: Any) -> list[Coded]:
        names.append(subject.name)
        return original(subject, *given, **how)

    monkeypatch.setattr(reconstruction, "code", code)
    return names


def measure(folder: Path, *models: str, store: Path | None = None) -> list[RunRecord]:
    request = Request(models, (str(folder),), ("psnr",), SMALL, device="cpu")
    return reconstruction.run(request, store=FileStore(store) if store else None)


def scores(folder: Path, *models: str, store: Path | None = None) -> list[tuple[list[list[float]], list[list[float]]]]:
    records = measure(folder, *models, store=store)
    assert all(record.complete for record in records), [(r.error, r.failures) for r in records]
    return [([s.rows["psnr"] for s in r.samples], [s.rows["bpp"] for s in r.samples]) for r in records]


def write(folder: Path, **files: str) -> Path:
    """Write modules by name."""
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def gain_of(spec: str) -> float:
    """What a model of one gain makes of white, with its modules in place."""
    own = load_own(spec)
    with own.workspace.entered():
        return float(own.model.decode(own.model.encode(torch.ones(1)), 1))


@pytest.mark.parametrize(
    ("spec", "own"),
    [
        ("a.py:build", True), ("x/my vae.py:VAE", True), ("package.module:factory", True), ("hf:a/b", False),
        ("jpeg@quality=4", False), ("jpeg", False), ("a.py:", False), ("a.py:1", False),
    ],
)  # fmt: skip
def test_a_users_own_model_has_a_colon_and_a_name(spec: str, own: bool) -> None:
    assert is_own(spec) == own


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("when", ["at import", "in encode", "in decode"])
@pytest.mark.parametrize("kind", ["module", "package", "namespace", "relative"])
def test_neighbours_of_one_name_in_two_folders_are_two(
    kind: str, when: str, order: tuple[str, str], tmp_path: Path
) -> None:
    line, place = {
        "module": ("from net import gain", "net"),
        "package": ("from parts import net; gain = net.gain", "parts/net"),
        "namespace": ("from parts import net; gain = net.gain", "parts/net"),
        "relative": ("from parts import gain", "parts/net"),
    }[kind]
    first, encode, decode = (line if when == w else "" for w in ("at import", "in encode", "in decode"))
    text = (
        f"{first or 'gain = None'}\nclass V:\n    def encode(self, v):\n        {encode or 'pass'}\n"
        f"        {'self.gain = gain' if not decode else 'pass'}\n        return v\n"
        f"    def decode(self, z, frames):\n        {decode or 'gain = self.gain'}\n        return z * gain\n"
    )
    for name, gain in (("a", 0.5), ("b", 0.25)):
        write(tmp_path / name, model=text, **{place: f"gain = {gain}"})
        if kind in ("package", "relative"):
            write(tmp_path / name, **{"parts/__init__": "from .net import gain" if kind == "relative" else ""})
    modules, path = dict(sys.modules), list(sys.path)
    owns = {name: load_own(f"{tmp_path / name / 'model.py'}:V") for name in order}
    for _ in range(2):
        for name, own in owns.items():
            with own.workspace.entered():
                assert own.model.decode(own.model.encode(1), 1) == {"a": 0.5, "b": 0.25}[name]
    assert (sys.modules, sys.path) == (modules, path)


@pytest.mark.parametrize(
    "name", ["random", "queue", "utils", "models", "torch", "numpy", "conftest", "my-vae", "net.v2"]
)
def test_a_files_name_is_free(name: str, tmp_path: Path) -> None:
    import random

    file = tmp_path / f"{name}.py"
    file.write_text("import random, torch, numpy\nrandom.random(), torch.ones(1), numpy.ones(1)\n" + MODEL)
    modules = dict(sys.modules)
    assert gain_of(f"{file}:V") == 1.0
    assert sys.modules == modules
    assert sys.modules["random"] is random


def test_a_neighbour_comes_before_a_module_of_its_name_that_is_loaded(tmp_path: Path) -> None:
    write(tmp_path, conftest="gain = 0.5", model="from conftest import gain\n" + MODEL + "def build(): return V(gain)")
    loaded = sys.modules["conftest"]
    assert gain_of(f"{tmp_path / 'model.py'}:build") == 0.5
    assert sys.modules["conftest"] is loaded


def test_modules_that_the_caller_has_loaded_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, neighbour_of_mine="gain = 0.5")
    write(tmp_path, model="from neighbour_of_mine import gain\n" + MODEL + "def build(): return V(gain)")
    monkeypatch.syspath_prepend(tmp_path)
    mine = __import__("neighbour_of_mine")
    write(tmp_path, neighbour_of_mine="gain = 0.2")
    before = load_own(f"{tmp_path / 'model.py'}:build").source()
    assert gain_of(f"{tmp_path / 'model.py'}:build") == pytest.approx(0.2)
    write(tmp_path, neighbour_of_mine="gain = 0.3")
    assert load_own(f"{tmp_path / 'model.py'}:build").source() != before
    assert sys.modules["neighbour_of_mine"] is mine
    assert mine.gain == 0.5
    sys.modules.pop("neighbour_of_mine")


def test_paths_that_a_file_adds_are_its_own(tmp_path: Path) -> None:
    write(tmp_path / "lib", net="gain = 0.5", late="more = 0.5")
    write(
        tmp_path,
        model=f"import sys; sys.path.append({str(tmp_path / 'lib')!r})\nfrom net import gain\nclass V:\n"
        "    def encode(self, v):\n        import late\n        return v * gain * late.more\n"
        "    def decode(self, z, frames): return z\n",
    )
    path = list(sys.path)
    assert gain_of(f"{tmp_path / 'model.py'}:V") == 0.25
    assert sys.path == path


def test_a_module_of_the_current_folder_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "pkg", __init__="", net="gain = 0.5", vae="from .net import gain\n" + MODEL)
    write(tmp_path, plain=MODEL + "def build(): return V(0.25)")
    monkeypatch.chdir(tmp_path)
    assert gain_of("plain:build") == 0.25
    before = load_own("pkg.vae:V").source()
    write(tmp_path / "pkg", net="gain = 0.6")
    assert load_own("pkg.vae:V").source() != before


def test_dataclasses_with_postponed_annotations_and_pickles_find_their_module(tmp_path: Path) -> None:
    text = """
from __future__ import annotations
import copy, dataclasses, pickle, typing
@dataclasses.dataclass
class V:
    gain: float = 0.5
    def encode(self, v): return v * pickle.loads(pickle.dumps(self)).gain
    def decode(self, z, frames): return z
typing.get_type_hints(V)
"""
    write(tmp_path, settings=text)
    assert gain_of(f"{tmp_path / 'settings.py'}:V") == 0.5


@pytest.mark.parametrize(
    ("text", "factory", "words"),
    [
        ("import nowhere_at_all", "V", "No module named 'nowhere_at_all'"),
        ("def V(:", "V", "SyntaxError"),
        ("1 / 0", "V", "ZeroDivisionError"),
        ("raise SystemExit(0)", "V", "SystemExit"),
        (MODEL, "Missing", "Missing"),
        ("def V(size): return size", "V", "size"),
        ("def V(): return {}", "V", "a dict is no model"),
        ("def V(): return None", "V", "a NoneType is no model"),
        ("V = 3", "V", "not callable"),
        (
            "from cvbench.core.errors import BadWeights\ndef V(): raise OSError('no such weights')",
            "V",
            "no such weights",
        ),
    ],
)
def test_what_makes_no_model_exits_2_with_the_reason(
    text: str, factory: str, words: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, broken=text)
    path = list(sys.path)
    line = ["run", "-m", f"{tmp_path / 'broken.py'}:{factory}", "-d", str(folder), "--out", str(tmp_path / "out")]
    assert run_program([*line, "--device", "cpu"]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert "broken" not in sys.modules
    assert sys.path == path


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        load_own(f"{tmp_path / 'no.py'}:V")
    with pytest.raises(UsageError, match="nowhere_at_all"):
        load_own("nowhere_at_all.models:V")


DIFFER = {
    "above 64 pixels": "def encode(self, v): return v * (self.x if v.shape[-1] > 64 else 1)",
    "beyond five frames": "def encode(self, v): return v * (self.x if v.shape[2] > 5 else 1)",
    "in bits alone": "def encode(self, v):\n        self.v = v\n        return [b'1' * int(100 * self.x)] * len(v)\n"
    "    def decode(self, z, frames): return self.v * 0.9",
    "in a setting": "def encode(self, v): return v * self.x",
    "in an imported module": "def encode(self, v): return v * self.imported()",
    "in a closure": "def encode(self, v): return self.closure(v)",
    "in a buffer": "def encode(self, v): return v * self.net.scale",
}
FAMILY = """
import torch, first
class Net(torch.nn.Module):
    def __init__(self, x):
        super().__init__()
        self.register_buffer("scale", torch.tensor(x), persistent=False)
class V:
    def __init__(self, x):
        self.x, self.net, self.closure = x, Net(x), lambda v: v * x
    def imported(self): return first.value(self.x)
    def decode(self, z, frames): return z
    {}
def a(): return V(0.9)
def b(): return V(0.8)
"""


QUICK = ("in bits alone", "in an imported module", "in a closure")
"""Those of the tests below that run by default."""


@pytest.mark.parametrize(
    "method",
    [pytest.param(m, id=name, marks=[] if name in QUICK else pytest.mark.large) for name, m in DIFFER.items()],
)
def test_two_models_of_one_file_never_share_a_row(method: str, folder: Path, tmp_path: Path) -> None:
    write(
        tmp_path,
        model=FAMILY.format(method),
        first="import second\ndef value(x): return x * second.ONE",
        second="ONE = 1",
    )
    specs = [f"{tmp_path / 'model.py'}:{name}" for name in "ab"]
    alone = [scores(folder, spec, store=tmp_path / spec[-1])[0] for spec in specs]
    assert alone[0] != alone[1]
    assert scores(folder, *specs) == alone
    assert scores(folder, *reversed(specs)) == alone[::-1]
    assert [scores(folder, spec)[0] for spec in specs] == alone


@pytest.mark.parametrize("file", ["model", "first", "second", "late"])
def test_an_edit_of_any_module_is_measured_anew(file: str, folder: Path, tmp_path: Path, coded: list[str]) -> None:
    """Two levels deep, or imported when the first clip comes; within a second, and of equal length."""
    texts = {
        "model": "import first\nGAIN = 0.9\n" + MODEL.replace("self.gain\n", "GAIN * first.GAIN * first.more()\n"),
        "first": "from second import OTHER\nGAIN = 0.9\ndef more():\n    import late\n    return late.GAIN * OTHER\n",
        "second": "GAIN = 0.9\nOTHER = GAIN\n",
        "late": "GAIN = 0.9\n",
    }
    spec = f"{write(tmp_path, **texts) / 'model.py'}:V"
    before = scores(folder, spec)
    assert len(coded) == 2
    assert scores(folder, spec) == before
    assert len(coded) == 2
    write(tmp_path, **{file: texts[file].replace("0.9", "0.6")})
    after = scores(folder, spec)
    assert len(coded) == 4
    assert after[0][0][0][0] < before[0][0][0][0] - 1
    write(tmp_path, **{file: texts[file]})
    assert scores(folder, spec) == before
    assert len(coded) == 4


def test_modules_of_another_model_of_the_run_have_no_say_in_a_key(
    folder: Path, tmp_path: Path, coded: list[str]
) -> None:
    write(tmp_path / "a", model="import net\n" + MODEL, net="")
    write(tmp_path / "b", model="import net\n" + MODEL.replace("v * self.gain", "v * 0.5"), net="1")
    one, two = (f"{tmp_path / name / 'model.py'}:V" for name in "ab")
    scores(folder, one)
    scores(folder, two, one)
    assert coded == [one, one, two, two]


IMAGES_ONLY = "        if v.shape[2] > 1: raise ValueError('images only')\n        return v * 0.9"
FIXED = "        if v.shape[-1] != 80: raise ValueError('80 pixels')\n        return v * 0.9"


@pytest.mark.parametrize(("body", "done"), [(IMAGES_ONLY, 1), (FIXED, 2)])
def test_rows_of_models_of_one_shape_are_reused(
    body: str, done: int, folder: Path, tmp_path: Path, coded: list[str]
) -> None:
    spec = f"{write(tmp_path, model=MODEL.replace('        return v * self.gain', body)) / 'model.py'}:V"
    (first,), made = measure(folder, spec), len(coded)
    (again,) = measure(folder, spec)
    assert len(first.samples) == len(again.samples) == done
    assert len(coded) - made == 2 - done  # what failed is tried again
    assert [s.rows for s in first.samples] == [s.rows for s in again.samples]


@pytest.mark.parametrize(
    "body",
    [
        "self.n = getattr(self, 'n', 0) + 1\n        return v / self.n",
        "self.n = getattr(self, 'n', 0) + 1\n        return [b'1' * self.n] * len(v)",
    ],
)
def test_a_model_that_remembers_leaves_no_rows_to_later_runs(
    body: str, folder: Path, tmp_path: Path, coded: list[str]
) -> None:
    text = MODEL.replace("return v * self.gain", f"self.v = v\n        {body}").replace(
        "return z", "return self.v / self.n"
    )
    spec = f"{write(tmp_path, model=text) / 'model.py'}:V"
    measure(folder, spec)
    made = len(coded)
    measure(folder, spec)
    assert len(coded) == 2 * made


def test_a_stated_key_stands_for_everything_of_the_model(folder: Path, tmp_path: Path, coded: list[str]) -> None:
    keyed = MODEL + "def build():\n    made = V(0.9)\n    made.cache_key = 'weights of May'\n    return made\n"
    spec = f"{write(tmp_path, model=keyed) / 'model.py'}:build"
    first = scores(folder, spec)
    assert scores(folder, f"{write(tmp_path, model=keyed + '# the same') / 'model.py'}:build") == first
    assert len(coded) == 2
    write(tmp_path, model=keyed.replace("0.9", "0.5").replace("May", "June"))
    assert scores(folder, spec) != first


@pytest.mark.large
def test_a_run_of_many_users_models_and_ours_changes_none(folder: Path, tmp_path: Path) -> None:
    specs = [f"{write(tmp_path / n, model=MODEL + f'def build(): return V(0.{n})') / 'model.py'}:build" for n in "79"]
    models = [*specs, "jpeg"]
    alone = {model: scores(folder, model, store=tmp_path / "stores" / str(i))[0] for i, model in enumerate(models)}
    for i, order in enumerate(itertools.permutations(models)):
        assert scores(folder, *order, store=tmp_path / f"order{i}") == [alone[model] for model in order]


def test_drawing_models_have_the_same_rows_alone_in_company_and_later(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = MODEL.replace("v * self.gain", "v + 0.1 * torch.rand_like(v)")
    write(tmp_path, a="import torch\n" + text, b="import torch\n#\n" + text)
    one, two = (f"{tmp_path / name}.py:V" for name in "ab")
    alone = scores(folder, one, store=tmp_path / "one")
    assert scores(folder, two, one) == alone * 2


def test_a_key_is_never_asked_for_beside_the_models_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key runs the model: it must not while files are read ahead, in another thread."""
    threads: set[str] = set()
    original = Own.key

    def key(self: Own, shape: tuple[int, int, int]) -> str | None:
        threads.add(threading.current_thread().name)
        return original(self, shape)

    monkeypatch.setattr(Own, "key", key)
    spec = f"{write(tmp_path, model=MODEL) / 'model.py'}:V"
    scores(folder, spec)
    scores(folder, spec)
    assert threads == {"MainThread"}
