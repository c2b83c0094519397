"""How a run ends."""

from pathlib import Path

import pytest

from cvbench.cli import run_program
from cvbench.core.records import read_records

FAST = ("-m", "jpeg", "--set", "frames=2", "--set", "size=48", "--no-speed", "--pictures", "0")


def test_what_says_nothing_of_images_is_no_failure_of_them(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, clips = tmp_path / "photos", tmp_path / "clips"
    photos.mkdir()
    (pictures / "image0.png").rename(photos / "image0.png")
    (clips / "walk").parent.mkdir()
    (pictures / "walk").rename(clips / "walk")
    line = ["run", *FAST, "--metrics", "psnr,flicker", "--out", str(tmp_path / "out")]
    assert run_program([*line, "-d", str(photos), "-d", str(clips)]) == 0
    assert "flicker needs two frames" in capsys.readouterr().out
    of_clips, of_photos = sorted(read_records([tmp_path / "out"]), key=lambda r: r.data.name)
    assert (list(of_photos.inapplicable), "flicker" in of_clips.scores) == (["flicker"], True)
    assert run_program([*line, "-d", str(clips)]) == 0
    assert run_program([*line, "-d", str(photos)]) == 3
    assert "flicker applies to no sample of this run: flicker needs two frames" in capsys.readouterr().err
    assert run_program([*line[:-3], "psnr,ms-ssim", *line[-2:], "-d", str(photos)]) == 3  # too small is a failure
