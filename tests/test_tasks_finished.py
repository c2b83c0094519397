import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import PROTOCOL, scene
from PIL import Image
from safetensors.torch import save, save_file

from cvbench import weights
from cvbench.cli import run_program
from cvbench.commands import run
from cvbench.models import MODELS
from cvbench.store import FileStore
from cvbench.tasks import finished
from cvbench.weights import sources


@pytest.fixture
def again(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    """Run, and tell whether models were looked at: False when the records answered."""
    calls: list[int] = []
    original = run.carry_out
    monkeypatch.setattr(run, "carry_out", lambda *given, **more: calls.append(1) or original(*given, **more))

    def command(*more: str) -> bool:
        calls.clear()
        line = ["run", "-m", "identity,pool-8x8", "-d", str(pictures), "--metrics", "psnr", "--set", "size=32"]
        assert run_program([*line, "--no-speed", "--pictures", "1", "--out", str(tmp_path / "out"), *more]) == 0
        return bool(calls)

    assert command()
    return command


def test_a_finished_run_is_answered_from_its_records(
    again: Callable[..., bool], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and "log" not in path.name]
    before = {path: path.read_bytes() for path in kept}
    capsys.readouterr()
    assert not again()
    assert capsys.readouterr().out.strip() in (tmp_path / "out" / "table.md").read_text()
    assert {path: path.read_bytes() for path in kept} == before


def test_other_questions_are_other_runs(again: Callable[..., bool], monkeypatch: pytest.MonkeyPatch) -> None:
    assert again("--set", "seed=1")
    assert again("--limit", "2")
    assert again("--metrics", "ssim")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert again()


def test_a_file_that_changed_is_measured(again: Callable[..., bool], pictures: Path) -> None:
    Image.fromarray(scene(1, 48, 64, 77)[:, 0].transpose(1, 2, 0)).save(pictures / "image0.png")
    assert again()  # which says that records were moved aside
    assert again()
    assert not again()


@pytest.mark.parametrize("what", ["records/*.json", "pictures/**/*.webp"])
@pytest.mark.parametrize("how", ["gone", "changed"])
def test_what_is_missing_or_changed_in_the_folder_is_made_again(
    what: str, how: str, again: Callable[..., bool], tmp_path: Path
) -> None:
    path = next((tmp_path / "out").glob(what))
    path.unlink() if how == "gone" else path.write_bytes(path.read_bytes()[:-1])
    assert again()
    assert path.exists()


def test_without_the_cache_there_is_no_memory(again: Callable[..., bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileStore, "facts", lambda store, key: None)
    assert again()


def test_users_models_and_failures_are_looked_at_again(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "class M:\n    def encode(self, v): return v\n    def decode(self, z): return z\ndef build(): return M()\n"
    (tmp_path / "mine.py").write_text(code)
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    calls: list[int] = []
    original = run.carry_out
    monkeypatch.setattr(run, "carry_out", lambda *given, **more: calls.append(1) or original(*given, **more))
    for model, data in ((f"{tmp_path / 'mine.py'}:build", "image1.png"), ("identity", ".")):
        line = ["run", "-m", model, "-d", str(pictures / data), "--metrics", "psnr", "--no-speed", "--set", "size=32"]
        for _ in range(2):
            run_program([*line, "--pictures", "0", "--out", str(tmp_path / "own")])
    assert len(calls) == 4


def test_a_finished_run_imports_no_torch(again: Callable[..., bool], pictures: Path, tmp_path: Path) -> None:
    line = ["run", "-m", "identity,pool-8x8", "-d", str(pictures), "--metrics", "psnr", "--set", "size=32"]
    line += ["--no-speed", "--pictures", "1", "--out", str(tmp_path / "out")]
    program = f"import sys; from cvbench.cli import run_program; code = run_program({json.dumps(line)}); " + (
        "sys.exit(code or 9 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], env=dict(os.environ), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"PSNR" in done.stdout


def key(**asked: object) -> str | None:
    plain = {"data": ("sample-images",), "roots": {}, "limit": 1, "pick": "first", "models": ("identity",)}
    more = {"weights": {}, "init": "weights", "metrics": ("psnr",), "protocol": PROTOCOL}
    return finished.key_of("reconstruct", {**plain, **more, **asked})


def changed(path: Path, content: bytes, **asked: object) -> bool:
    """Tell whether a key knows of what stands in a file."""
    before = key(**asked)
    path.write_bytes(content)
    after = key(**asked)
    assert before
    assert after
    return before != after


def test_a_key_knows_the_weights_of_a_model(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    other = save({"a": torch.ones(1)})
    assert changed(path, other, models=("tiny-image",), weights={"tiny-image": path})
    assert not changed(path, other + b" ", models=("tiny-image",), weights={"tiny-image": path}, init="random")


def test_a_key_knows_the_weights_of_the_encoder_beside_a_decoder(tmp_path: Path) -> None:
    decoder, encoder = tmp_path / "decoder.pth", tmp_path / "encoder.safetensors"
    decoder.write_bytes(b"decoder")
    encoder.write_bytes(b"encoder")
    name = next(name for name, entry in MODELS.items() if entry.encoder)
    assert changed(encoder, b"another", models=(name,), weights={name: decoder, MODELS[name].encoder: encoder})


@pytest.mark.parametrize("metric", ["lpips-vgg", "lpips-vgg-unit"])
def test_a_key_knows_the_weights_of_a_probe_by_the_name_they_have(
    metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "vgg.pth"
    path.write_bytes(b"one")
    monkeypatch.setattr(sources, "_checked", lambda path, source, name: path)
    assert changed(path, b"two", metrics=(metric,), weights={"lpips-vgg": path})


def test_a_key_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "fetch", lambda *given: pytest.fail("fetched"))
    assert key(models=("vae-sd21",)) is None
    assert key(models=("vae-sd21",), init="random")
    assert key(metrics=("rfid",))


@pytest.mark.parametrize("what", ["code", "a package", "the processor", "a card"])
def test_a_key_knows_program_and_machine(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, card = tmp_path / "code.py", tmp_path / "0" / "information"
    card.parent.mkdir()
    card.write_text("T4")
    file.write_text("X = 1")
    monkeypatch.setattr(finished, "PACKAGE", tmp_path)
    monkeypatch.setattr(finished, "CARDS", tmp_path)
    before, state = key(), file.stat()
    if what == "code":  # of equal size and time
        file.write_text("X = 2")
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    elif what == "a package":
        monkeypatch.setattr(finished, "_version", lambda name: "another")
    elif what == "the processor":
        monkeypatch.setattr(finished, "_processor", lambda: ["another"])
    else:
        card.write_text("H100")
    assert before
    assert key() not in (before, None)
