"""What a run says while it works: a line a minute, the model at work, the log beside the records."""

from pathlib import Path

import pytest

from cvbench.cli import run_program
from cvbench.commands import console
from cvbench.commands.console import State, duration, progress_bar
from cvbench.engine.watch import Done, Working, tell, watched

FAST = ("--set", "frames=2", "--set", "size=48", "--no-speed", "--pictures", "0", "--metrics", "psnr", "--limit", "2")


class Hands:
    """A clock that stands still."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_says_how_far_on_what_and_how_long_still() -> None:
    clock = Hands()
    state = State(clock)
    state("clips", 0, 10)
    assert state.told() == "clips: 0 of 10, 0 s passed"
    clock.now = 60.0
    state("clips", 1, 10)
    assert state.told() == "clips: 1 of 10, 1 min 0 s passed, 9 min 0 s left"
    state.hear(Working("webp", 3, 4, ["clip-pan"]))
    state.hear(Done("clips", "jpeg", "clip-pan"))
    assert "webp (3 of 4) on clip-pan, 1 min 0 s passed, 5 min 40 s left" in state.told()
    state.hear(Working("webp", 1, 4, ["a", "b", "c"]))
    assert "webp (1 of 4) on a and 2 more" in state.told()
    state("speed", 4, 8)
    clock.now = 70.0
    assert state.told() == "speed: 4 of 8, 10 s passed"


def test_times_have_two_units() -> None:
    assert [duration(s) for s in (0.4, 59, 61, 3600, 7265)] == ["0 s", "59 s", "1 min 1 s", "1 h 0 min", "2 h 1 min"]


def test_without_a_terminal_lines_come_also_while_a_step_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import time

    monkeypatch.setattr(console, "EVERY", 0.02)
    with progress_bar() as report:
        report("clips", 1, 2)
        report.hear(Working("slow", 1, 1, ["a"]))
        time.sleep(0.2)
    said = capsys.readouterr().err
    assert said.count("clips: 1 of 2, slow (1 of 1) on a") > 1
    with progress_bar(shown=False) as report:
        report("clips", 1, 2)
        time.sleep(0.1)
    assert not capsys.readouterr().err


def test_who_watches_is_told_and_nobody_else() -> None:
    heard: list[object] = []
    tell(Working("a", 1, 1, ["x"]))
    with watched(heard.append):
        tell(Done("d", "a", "x"))
    tell(Done("d", "b", "x"))
    assert heard == [Done("d", "a", "x")]


def test_a_log_beside_the_records_says_what_happened(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "broken.png").write_bytes(b"x")
    (tmp_path / "bad.py").write_text(
        "class V:\n    def encode(self, v):\n        raise ValueError('no\\n luck')\n"
        "    def decode(self, z):\n        pass\n"
    )
    out = tmp_path / "out"
    line = ["run", "-m", f"jpeg,bad={tmp_path}/bad.py:V", "-d", str(pictures), "--out", str(out), *FAST]
    assert run_program(line) == 3
    text = (out / "run.log").read_text()
    for word in ("run -m jpeg,bad=", "jpeg on image0.png of pictures: measured", "jpeg on pictures: ", "ended with 3"):
        assert word in text
    assert "bad on image0.png of pictures: ValueError: no" in text
    assert all(row[:4].isdigit() for row in text.splitlines())
    capsys.readouterr()
    assert run_program([*line, "-q"]) == 3
    quiet = capsys.readouterr()
    assert "jpeg" in quiet.out
    assert all(row.startswith("Error") for row in quiet.err.splitlines())
    assert (out / "run.log").read_text().count("ended with 3") == 2
    assert run_program([*line, "-v", "-m", "webp"]) == 3
    assert "webp on image0.png of pictures: measured" in capsys.readouterr().err


def test_a_request_that_is_refused_leaves_no_folder(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ["run", "-d", str(pictures), "--out", str(out), *FAST]
    assert run_program([*line, "-m", "x=jpeg,x=webp"]) == 2
    assert run_program([*line, "-m", "jpeg", "--shard", "3/2"]) == 2
    assert not out.exists()
