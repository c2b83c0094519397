import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import scene
from PIL import Image

from cvbench.cli import run_program
from cvbench.commands import run
from cvbench.store import FileStore


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
