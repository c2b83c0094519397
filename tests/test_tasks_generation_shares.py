"""Generators among processes: shares that were drawn and decoded apart, and a run that was cut off, are the run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cvbench.cli import run_program
from cvbench.generators.gaussian import Gaussian
from cvbench.tasks.generation.rows import Decoder

pytestmark = pytest.mark.usefixtures("textures")
TIMES = ("created", "environment", "speed")


def records(out: Path) -> dict[str, dict[str, Any]]:
    found = {path.name: json.loads(path.read_text()) for path in (out / "records").glob("*.json")}
    return {name: {k: v for k, v in each.items() if k not in TIMES} for name, each in found.items()}


def line(suite: str, data: Path, *rows: str) -> list[str]:
    asked = ["run", "--suite", suite, "--data", str(data), "--metrics", "psnr", "--set", "size=32", "--set", "steps=3"]
    return [*asked, "--pictures", "0", "--no-speed", "--device", "cpu", "--models", ",".join(rows)]


def shares(asked: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Do both shares in caches and folders of their own; return the folders."""
    folders = [str(tmp_path / f"share{number}") for number in (1, 2)]
    for number, folder in enumerate(folders, start=1):
        monkeypatch.setenv("CVBENCH_CACHE", f"{folder}-cache")
        assert run_program([*asked, "--shard", f"{number}/2", "--out", folder]) in (0, 3)
        assert not Path(folder, "records").exists()
    monkeypatch.setenv("CVBENCH_CACHE", str(tmp_path / "untouched"))
    return folders


@pytest.mark.parametrize(
    ("suite", "rows", "code"),
    [
        ("i2v", ("gaussian-i2v+interp-linear@4x", "gaussian-i2v+tiny-image@decode=each"), 3),
        pytest.param(
            "t2i",
            ("gaussian-t2i", "gaussian-t2i+tiny-video", "gaussian-t2i+tiny-image-z16"),
            3,
            marks=pytest.mark.large,
        ),
    ],
)
def test_shares_are_the_run(
    suite: str, rows: Sequence[str], code: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (pictures / "broken.png").write_bytes(b"no picture")
    asked = line(suite, pictures, *rows)
    whole = run_program([*asked, "--out", str(tmp_path / "whole")])
    folders = shares(asked, tmp_path, monkeypatch)
    assert "share 1 of 2: 2 samples" in capsys.readouterr().err.replace("3 samples", "2 samples")
    assert run_program(["merge", *folders, "--out", str(tmp_path / "merged")]) == whole == code
    assert len(records(tmp_path / "whole")) == len(rows)
    assert records(tmp_path / "merged") == records(tmp_path / "whole")
    assert not (tmp_path / "untouched" / "latents").exists()


@pytest.mark.parametrize("where", [Gaussian, pytest.param(Decoder, marks=pytest.mark.large)])
def test_a_run_that_was_cut_off_ends_in_the_same_record(
    where: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, name = (
        line("t2i", pictures, "gaussian-t2i+tiny-image@decode=each"),
        "draw" if where is Gaussian else "decode",
    )
    assert run_program([*asked, "--out", str(tmp_path / "whole")]) == 0
    monkeypatch.setenv("CVBENCH_CACHE", str(tmp_path / "cut off"))
    whole, calls = getattr(where, name), list[int]()

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(where, name, counted)
    assert run_program([*asked, "--out", str(tmp_path / "again")]) == 130
    assert not (tmp_path / "again" / "records").exists()
    assert run_program([*asked, "--out", str(tmp_path / "again")]) == 0
    assert records(tmp_path / "again") == records(tmp_path / "whole")
    if where is Gaussian:
        assert len(calls) == 5  # four samples, of which one was tried twice
