"""Shares of a run, put together, are the run: byte for byte but for times."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import scene, scored
from PIL import Image

from cvbench.cli import run_program
from cvbench.core.records import read_records
from cvbench.engine import measuring
from cvbench.probes import FeatureLoading
from cvbench.store import write_record

OWN = '''
import threading

class Halves:
    """Fails on clips."""
    def __init__(self, lock):
        self.lock = lock  # nobody can look into a lock: rows of this model have no key
    def encode(self, videos):
        if videos.shape[2] > WHERE:
            raise RuntimeError("no such clip, please")
        return videos[..., ::2, ::2]
    def decode(self, z, frames):
        return z.repeat_interleave(2, -1).repeat_interleave(2, -2)

class Signed(Halves):
    def decode(self, z, frames):
        return 2 * super().decode(z, frames) - 1

def halves():
    return Halves(threading.Lock())

def signed():
    return Signed(threading.Lock())
'''
TIMES = ("created", "environment", "speed")


class Colours:
    version = "colours"

    def rows(self, video: torch.Tensor) -> np.ndarray:
        return video.mean((2, 3)).T.numpy().astype(np.float32)

    def text_rows(self, prompts: Sequence[str]) -> np.ndarray:
        return np.array([[len(text), 1, 2] for text in prompts], np.float32)


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    """Five images, three clips of numbered frames, and a file that is none of these."""
    folder = tmp_path / "footage"
    for i in range(5):
        folder.mkdir(exist_ok=True)
        Image.fromarray(scene(1, 32, 48, i)[:, 0].transpose(1, 2, 0)).save(folder / f"image{i}.png")
    for i in range(3):
        (folder / f"clip{i}").mkdir()
        for k, frame in enumerate(scene(5, 32, 48, 9 + i).transpose(1, 2, 3, 0)):
            Image.fromarray(frame).save(folder / f"clip{i}" / f"{k:05d}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "own.py").write_text(OWN.replace("WHERE", "1"))
    return folder


def records(out: Path) -> dict[str, dict[str, Any]]:
    found = {path.name: json.loads(path.read_text()) for path in (out / "records").glob("*.json")}
    return {name: {k: v for k, v in each.items() if k not in TIMES} for name, each in found.items()}


def shares(line: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> list[str]:
    """Do each share in a cache and folder of its own; return the folders."""
    folders = [str(tmp_path / f"share{number}") for number in range(1, count + 1)]
    for number, folder in enumerate(folders, start=1):
        monkeypatch.setenv("CVBENCH_CACHE", f"{folder}-cache")
        assert run_program([*line, "--shard", f"{number}/{count}", "--out", folder]) in (0, 3)
        assert not Path(folder, "records").exists()
    monkeypatch.setenv("CVBENCH_CACHE", str(tmp_path / "untouched"))
    return folders


def recon(footage: Path, *models: str) -> list[str]:
    own = [f"{footage / 'own.py'}:{name}" for name in ("halves", "signed")]
    asked = ["run", "--device", "cpu", "-d", str(footage), "--metrics", "psnr,ssim", "--set", "frames=5"]
    return [*asked, "--set", "size=32", "-m", ",".join([*own, *models]), "--pictures", "0"]


@pytest.mark.parametrize("count", [2, 3])
def test_shares_of_a_reconstruction_end_in_its_record(
    count: int, footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = recon(footage, "pool-8x8", "jpeg")
    assert run_program([*line, "--out", str(tmp_path / "whole")]) == 3
    table = capsys.readouterr().out
    folders = shares(line, tmp_path, monkeypatch, count)
    capsys.readouterr()
    assert run_program(["merge", *folders, "--out", str(tmp_path / "merged")]) == 3
    assert records(tmp_path / "merged") == records(tmp_path / "whole")
    whole = records(tmp_path / "whole")
    assert sorted(bool(each["error"]) for each in whole.values()) == [False, False, False, True]
    assert {len(each["failures"]) for each in whole.values()} == {0, 1, 4}
    assert {each["data"]["n"] for each in whole.values()} >= {0, 8}
    if "fps" not in table:  # speeds are of the machine
        assert capsys.readouterr().out == table
    assert not (tmp_path / "untouched" / "rows").exists()


@pytest.mark.large
def test_shares_of_the_compat_suite_end_in_its_records(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["run", "-s", "compat", "--device", "cpu", "-m", "tiny-image,tiny-video", "-d", str(footage)]
    line += ["--metrics", "psnr", "--set", "frames=5", "--set", "size=32", "--set", "stride=1"]
    assert run_program([*line, "--out", str(tmp_path / "whole")]) == 3
    folders = shares(line, tmp_path, monkeypatch, 2)
    assert run_program(["merge", *folders, "--out", str(tmp_path / "merged")]) == 3
    assert len(records(tmp_path / "whole")) > 4
    assert records(tmp_path / "merged") == records(tmp_path / "whole")


def test_shares_of_a_scoring_end_in_its_record(footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loading(name: str, device: torch.device, *_: object) -> FeatureLoading:
        return FeatureLoading("colours", "", device)

    monkeypatch.setattr(measuring, "feature_loading", loading)
    monkeypatch.setattr(measuring, "load_feature_probe", lambda *_: Colours())
    reference = tmp_path / "reference"
    shutil.copytree(footage, reference)
    (reference / "image0.png").unlink()
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("".join(f"image{i}.png,a picture {'of red ' * i}\n" for i in range(4)))
    line = ["score", "-g", str(footage), "-r", str(reference), "--prompts", str(prompts), "--device", "cpu"]
    line += ["--metrics", "fid,clip,pic", "--set", "size=32", "--first-frames", str(reference)]
    assert run_program([*line, "--out", str(tmp_path / "whole")]) == 3
    folders = shares(line, tmp_path, monkeypatch, 2)
    assert run_program(["merge", *folders, "--out", str(tmp_path / "merged")]) == 3
    (whole,) = records(tmp_path / "whole").values()
    assert set(whole["scores"]) == {"fid", "clip", "pic"}
    assert records(tmp_path / "merged") == records(tmp_path / "whole")


def test_a_share_that_is_missing_or_held_twice_is_named(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["run", "--device", "cpu", "-d", str(footage / "clip0"), "-m", "identity", "--metrics", "psnr", "--no-speed"]
    line += ["--set", "size=32"]
    for number in (1, 3):
        assert run_program([*line, "--shard", f"{number}/3", "--out", str(tmp_path / "out")]) == 0
    assert run_program(["merge", str(tmp_path / "out")]) == 3
    assert "shares 2 of 3 are missing" in capsys.readouterr().err
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    assert run_program(["merge", str(tmp_path / "out"), str(tmp_path / "copy")]) == 2
    assert "both share 1" in capsys.readouterr().err
    assert run_program(["merge", str(footage)]) == 2
    part = next((tmp_path / "out" / "parts").glob("*1-of-3*"))
    part.write_bytes(part.read_bytes()[:-7])
    assert run_program([*line, "--shard", "2/3", "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert run_program(["merge", str(tmp_path / "out")]) == 3
    assert "cut off" in capsys.readouterr().err


def test_samples_that_shares_hold_and_the_data_do_not_are_named(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (footage / "broken.png").unlink()
    line = ["run", "--device", "cpu", "-d", str(footage), "-m", "identity", "--metrics", "psnr", "--no-speed"]
    folders = shares([*line, "--set", "size=32", "--pictures", "0"], tmp_path, monkeypatch, 2)
    (footage / "image3.png").unlink()
    capsys.readouterr()
    assert run_program(["merge", *folders, "--out", str(tmp_path / "merged")]) == 3
    assert "image3" in capsys.readouterr().err
    assert not list((tmp_path / "merged").glob("records/*.json"))


def test_shares_of_other_code_are_refused(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = recon(footage)
    folders = shares(line, tmp_path, monkeypatch, 2)
    (footage / "own.py").write_text(OWN.replace("WHERE", "4"))
    assert run_program(["merge", *folders, "--out", str(tmp_path / "merged")]) == 3
    assert "other models" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "1", "a/b", "-1/2", "1/2/3"])
def test_shares_that_are_none_are_refused(text: str, footage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["run", "-m", "identity", "-d", str(footage), "--shard", text]) == 2
    assert "--shard takes I/N" in capsys.readouterr().err


def whole(folder: Path, name: str, metric: str, digest: str = "1", value: float = 30.0) -> Path:
    record = scored({metric: [value + i for i in range(8)]}, name)
    write_record(folder, dataclasses.replace(record, model=dataclasses.replace(record.model, digest=digest)))
    picture = folder / "pictures" / f"{name}-{metric}" / "0.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"x")
    return folder


def test_whole_runs_are_put_together_with_their_pictures(tmp_path: Path) -> None:
    runs = [
        whole(tmp_path / name, *what) for name, *what in (("a", "m", "psnr"), ("b", "m", "ssim"), ("c", "n", "psnr"))
    ]
    assert run_program(["merge", *map(str, runs), "-o", str(tmp_path / "all")]) == 0
    records = read_records([tmp_path / "all"])
    assert [(record.model.name, list(record.scores)) for record in records] == [
        ("m", ["psnr", "ssim"]),
        ("n", ["psnr"]),
    ]
    assert len(list((tmp_path / "all" / "pictures").iterdir())) == 3
    assert (tmp_path / "all" / "table.csv").is_file()


def test_runs_of_one_name_and_other_weights_are_not_put_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [whole(tmp_path / name, "m", "psnr", digest=name) for name in ("a", "b")]
    assert run_program(["merge", *map(str, runs), "-o", str(tmp_path / "all")]) == 2
    assert "--models LABEL=m" in capsys.readouterr().err
    assert not (tmp_path / "all").exists()


def test_a_folder_of_nothing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    run = whole(tmp_path / "a", "m", "psnr")
    assert run_program(["merge", str(run), str(tmp_path / "empty"), "-o", str(tmp_path / "all")]) == 2
    assert "empty: no records and no parts there" in capsys.readouterr().err
