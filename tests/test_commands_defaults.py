"""Defaults of options from cvbench.toml."""

import re
from pathlib import Path
from typing import Any

import click
import pytest

from cvbench.cli import cli, run_program


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def given(*words: str) -> dict[str, Any]:
    command: Any = cli.get_command(click.Context(cli), words[0])
    rest = list(words[1:])
    if isinstance(command, click.Group):
        command = command.commands[rest.pop(0)]
    return dict(command.make_context(words[0], rest).params)


def write(text: str) -> None:
    Path("cvbench.toml").write_text(text)


def test_defaults_hold_for_their_command_alone_and_give_way_to_what_is_typed() -> None:
    Path("run").mkdir()
    write(
        '[defaults]\nlimit = 3\nmodels = ["jpeg", "webp"]\nmetrics = "psnr"\nset = ["size=48"]\nspeed = false\n'
        'out = "here"\nfail-fast = true\n[defaults.table]\nformat = "csv"\n[defaults.baseline.save]\nto = "there"\n'
        "[profiles.quick]\nlimit = 1\n[profiles.quick.table]\nintervals = true\n"
    )
    run = given("run")
    assert (run["limit"], run["models"], run["metrics"], run["changes"]) == (
        3,
        ("jpeg", "webp"),
        ("psnr",),
        ("size=48",),
    )
    assert (run["speed"], run["out"], run["strict"], run["device"]) == (False, Path("here"), True, "auto")
    typed = given("run", "--limit", "5", "-m", "av1", "--speed")
    assert (typed["limit"], typed["models"], typed["speed"]) == (5, ("av1",), True)
    assert (given("table", "run")["form"], given("table", "run")["intervals"]) == ("csv", False)
    assert given("table", "run", "--profile", "quick")["intervals"] is True
    assert given("run", "--profile", "quick")["limit"] == 1
    assert given("baseline", "save", "run")["folder"] == Path("there")
    assert given("report", "run")["out"] is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[defaults]\nlimt = 3", "'limt'; try limit"),
        ("[defaults]\nlimit = 'a'", r"\[defaults\] limit: 'a' is not"),
        ("[defaults]\nlimit = 0", r"\[defaults\] limit: 0 is not in the range"),
        ("[defaults]\nlimit = true", "takes a value, got true"),
        ("[defaults]\ndevice = ['a']", "device: takes one value"),
        ("[defaults]\nspeed = 3", "speed: is true or false"),
        ("[defaults.run]\ndtype = 'fp8'", r"\[defaults.run\] dtype: 'fp8' is not one of"),
        ("[defaults.tabel]\nformat = 'md'", "'tabel'; try table"),
        ("defaults = 3", "defaults must be a table"),
        ("[profiles]\na = 3", "profiles.a must be a table"),
        ("[default]\nlimit = 3", r"unknown 'default'; it may hold the tables \[data\]"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(
    text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(text)
    assert run_program(["run", "-m", "identity", "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert "cvbench.toml" in error
    assert re.search(says, error)
    assert not Path("out").exists()


def test_a_profile_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write("[profiles.quick]\nlimit = 1")
    assert run_program(["run", "--profile", "quik"]) == 2
    assert "no profile" in (said := capsys.readouterr().err)
    assert "try quick" in said
