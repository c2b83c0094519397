"""Labels, arguments, lists, patterns and families of models; weights at a path of the user's."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_models_hub import KL, network

from cvbench import models
from cvbench.cli import run_program
from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.records import read_records
from cvbench.models import MODELS, parse
from cvbench.models.local import local_entry
from cvbench.models.naming import arguments, expanded, is_own, labelled, split

FAST = (
    "--set",
    "frames=2",
    "--set",
    "size=48",
    "--no-speed",
    "--device",
    "cpu",
    "--pictures",
    "0",
    "--metrics",
    "psnr",
)
OWN = """
import pathlib
class V:
    def __init__(self, gain=1.0, path=None):
        self.gain = gain if path is None else float(pathlib.Path(path).read_text())
    def encode(self, v):
        return v * self.gain
    def decode(self, z, frames):
        return z
"""


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("jpeg", ""),
        ("h264@crf=28", ""),
        ("my_vae.py:V@gain=1", ""),
        ("./lr=0.1/vae", ""),
        ("a=jpeg", "a"),
        ("step 1k=my_vae.py:V@path=a=b", "step 1k"),
        ("best=hf:o/r", "best"),
        ("=jpeg", ""),
        ("a=", ""),
    ],
)
def test_a_label_stands_before_a_model(spec: str, label: str) -> None:
    assert labelled(spec) == (label, spec.removeprefix(f"{label}=") if label else spec)


def test_a_label_that_steers_a_terminal_is_refused() -> None:
    with pytest.raises(UsageError, match="control characters"):
        labelled("a\x1b[2J=jpeg")


@pytest.mark.parametrize(
    ("spec", "own"),
    [
        ("a/my_vae.py:V", True), ("package.module:V", True), ("/x@y/a.py:V@p=1:2,q=3", True), ("hf:owner", False),
        ("h264@crf=a:b", False), ("jpeg", False), ("a.py:1", False), ("./a:V", False),
    ],
)  # fmt: skip
def test_own_models_are_factories_of_files_and_modules(spec: str, own: bool) -> None:
    assert is_own(spec) == own


def test_arguments_are_numbers_words_and_texts() -> None:
    text = "a=1,b=1e-3,c=true,d=None,e=ck/1000.pt,f='1',g=x=y,h=-2,i="
    assert arguments("m", text) == {
        "a": 1, "b": 1e-3, "c": True, "d": None, "e": "ck/1000.pt", "f": "1", "g": "x=y", "h": -2, "i": "",
    }  # fmt: skip
    assert arguments("m", None) == {}
    for wrong in ("a", "1a=2", "a=1,a=2", ""):
        with pytest.raises(UsageError, match=r"^m: "):
            arguments("m", wrong)


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        ([], []),
        (["a,b", "c"], ["a", "b", "c"]),
        (["h264@crf=28,gop=8", "h264@crf=30", "x"], ["h264@crf=28,gop=8", "h264@crf=30", "x"]),
        (["h264@crf=28,low=h264@crf=40"], ["h264@crf=28", "low=h264@crf=40"]),
        (["h264@crf=28,low=jpeg"], ["h264@crf=28", "low=jpeg"]),
        (["s=m.py:V@path=a.pt,size=2,t=m.py:V@path=b.pt"], ["s=m.py:V@path=a.pt,size=2", "t=m.py:V@path=b.pt"]),
        (["s=m.py:V@path=a.pt,t=m.py:V"], ["s=m.py:V@path=a.pt", "t=m.py:V"]),
        (["s=m.py:V@size=2,v=out/vae,q=out/none"], ["s=m.py:V@size=2", "v=out/vae", "q=out/none"]),
        (["m.py:V@size=2,q=hf:o/r"], ["m.py:V@size=2", "q=hf:o/r"]),
        (["a@x=1", "y=2"], ["a@x=1", "y=2"]),
        ([" a , ", ",b,"], ["a", "b"]),
    ],
)
def test_a_comma_before_an_option_splits_nothing(
    texts: list[str], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out/vae").mkdir(parents=True)
    Path("out/vae/config.json").touch()
    assert split(texts, MODELS) == names


def test_patterns_and_families_stand_for_models() -> None:
    assert expanded(["taew2.?", "jpeg", "taew2.1"], MODELS) == ("taew2.1", "taew2.2", "jpeg")
    assert expanded(["codecs"], MODELS) == ("jpeg", "webp", "h264", "hevc", "av1")
    assert expanded(["all"], MODELS) == tuple(MODELS)
    assert {"cvvae", "wan-2.1", "pool-4x8x8"} <= set(expanded(["4x8x8"], MODELS))
    assert "wan-2.2" not in expanded(["4x8x8"], MODELS)
    assert all(e.source is None or e.source.bundled for e in map(MODELS.get, expanded(["builtin"], MODELS)) if e)
    assert expanded(["x=jpeg", "my_vae.py:V"], MODELS) == ("x=jpeg", "my_vae.py:V")
    with pytest.raises(UnknownName, match="zz"):
        expanded(["zz*"], MODELS)


def test_checkpoints_of_one_factory_stand_in_one_table(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_vae.py").write_text(OWN)
    Path("a.txt").write_text("0.5")
    line = [
        "-m",
        "half=my_vae.py:V@path=a.txt,whole=my_vae.py:V@gain=1.0,my_vae.py:V@gain=0.9",
        "-m",
        "low=jpeg@quality=5",
    ]
    assert run_program(["run", *line, "-d", str(pictures), "--out", "out", *FAST]) == 0
    found = {r.model.name: r for r in read_records([Path("out")])}
    assert {n: r.model.spec for n, r in found.items()} == {
        "half": "my_vae.py:V@path=a.txt", "whole": "my_vae.py:V@gain=1.0", "my_vae.py:V@gain=0.9": "",
        "low": "jpeg@quality=5",
    }  # fmt: skip
    assert found["whole"].scores["psnr"].value == 100
    assert found["half"].scores["psnr"].value < found["my_vae.py:V@gain=0.9"].scores["psnr"].value < 100
    assert run_program(["run", "-m", "jpeg=webp", "-d", str(pictures), "--out", "out", *FAST]) == 2
    assert run_program(["run", "-m", "x=jpeg,x=webp", "-d", str(pictures), "--out", "out", *FAST]) == 2
    assert run_program(["run", "-m", "my_vae.py:V@no=1", "-d", str(pictures), "--out", "out", *FAST]) == 2


def test_what_save_pretrained_wrote_is_a_model(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for step in (1, 2):
        network().save_pretrained(f"out@{step}/vae")
    models = "a=./out@1/vae,b=out@2/vae/diffusion_pytorch_model.safetensors"
    assert run_program(["run", "-m", models, "-d", str(pictures), "--out", "o", *FAST]) == 0
    first, second = read_records([Path("o")])
    assert first.scores["psnr"].value == second.scores["psnr"].value
    assert first.model.params == second.model.params != (0, 0)
    assert (first.model.channels, first.model.spatial) == (KL["latent_channels"], 4)


def test_one_file_is_of_the_network_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("1000.safetensors").touch()
    name, entry, options = parse("1000.safetensors@as=ltx-0.9.5,decode_noise=0")
    assert (name, entry.place, entry.traits) == ("1000.safetensors", "1000.safetensors", MODELS["ltx-0.9.5"].traits)
    assert options["decode_noise"] == 0
    assert entry.source
    assert not entry.source.sha256
    for wrong, word in (
        ("1000.safetensors", "config.json of its class"), ("./gone", "no file or folder"),
        ("1000.safetensors@as=jpeg", "has no weights"), ("1000.safetensors@as=nobody", "no model is called 'nobody'"),
        ("owner/repo", "hf:OWNER/REPO"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=word):
            parse(wrong)


def test_a_folder_of_a_pipeline_says_where_its_autoencoder_lies(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    with pytest.raises(UsageError, match=r"lies in .*vae"):
        parse(str(tmp_path))


def test_a_file_without_a_word_is_known_by_its_parameters_where_one_network_has_as_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = Path(models.__file__).parent / "tiny"
    Path("mine.safetensors").write_bytes((shipped / "tiny-video-z16.safetensors").read_bytes())
    _, entry, _ = parse("mine.safetensors")
    like = MODELS["tiny-video-z16"]
    assert (entry.build, entry.config, entry.licence, entry.compatible) == (like.build, like.config, "", "")
    save_file({"encoder.w": torch.zeros(3), "decoder.w": torch.zeros(4)}, "other.safetensors")
    known = {"a": replace(like, params=(3, 4)), "b": replace(like, params=(3, 4), build="x:y")}
    with pytest.raises(UsageError, match="that of a or b; say which"):
        local_entry("other.safetensors", None, known)
    assert local_entry("other.safetensors", None, {"a": known["a"]}).place == "other.safetensors"
    known["b"] = replace(known["a"], latents="scaled")
    with pytest.raises(UsageError, match="that of a or b; say which"):
        local_entry("other.safetensors", None, known)
    Path("broken.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(UsageError, match=r"config\.json"):
        parse("broken.safetensors")


def test_only_the_entry_that_weights_are_said_to_be_of_tells_their_latent_space(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    save_file({"encoder.w": torch.zeros(3), "decoder.w": torch.zeros(4)}, file)
    like = replace(MODELS["taew2.1"], params=(3, 4))
    assert local_entry(str(file), None, {"taew2.1": like}).base == ""
    assert local_entry(str(file), like, {}).base == "wan-2.1"
