"""Printing never fails, whatever the names and the encoding, and never commands the reader's terminal."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from test_core_records import record

from cvbench.cli import cli, run_program
from cvbench.commands import COMMANDS, console
from cvbench.core.records import Failure
from cvbench.store import write_record

EVIL = "日本 → \x1b[31mred\u202e\r\n::error::stop"
ENCODINGS = ["ascii", "latin-1", "cp1252", "utf-8", "cp437"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of a stranger."""
    folder = tmp_path_factory.mktemp("run")
    write_record(folder, record(EVIL, EVIL, error=EVIL, scores={}, samples=[]))
    write_record(folder, record("plain – ü", EVIL, failures=[Failure(EVIL, EVIL)]))
    return folder


def lines(folder: Path) -> Iterator[list[str]]:
    run = str(folder)
    yield from (["table", run, "--format", form] for form in ("md", "csv", "latex", "html", "json"))
    yield ["table", run, "--temporal"]
    yield ["baseline", "save", run, "--to", str(folder / "base")]
    yield ["check", run, "--against", run, "--github"]
    yield ["compare", run, run]
    yield ["table", f"{run}/{EVIL}"]
    yield ["list", EVIL]


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "cvbench", *arguments],
        capture_output=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("index", range(11))
def test_no_name_of_a_stranger_reaches_the_terminal_as_it_is(
    index: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(list(lines(folder))[index]) in (0, 2, 3)
    for text in capsys.readouterr():
        assert not set(text) & set("\x1b\r\u202e")
        assert not [line for line in text.splitlines() if line.startswith("::") and "title=" not in line]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_tables_print_in_every_encoding(encoding: str, folder: Path) -> None:
    done = program("table", str(folder), PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "plain " in done.stdout.decode(encoding)


def test_json_is_json_in_every_encoding(folder: Path) -> None:
    import json

    done = program("table", str(folder), "--format", "json", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert json.loads(done.stdout.decode("ascii"))["rows"]


@pytest.mark.parametrize("arguments", [["list", "models"], ["list", "metrics"], ["--version"], ["frobnicate – ü"]])
def test_lists_and_errors_print_in_the_c_locale(arguments: list[str]) -> None:
    done = program(*arguments, LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert done.returncode == (2 if arguments[0].startswith("f") else 0)
    assert b"Traceback" not in done.stderr
    assert (done.stdout + done.stderr).isascii()


def all_commands(group: click.Group, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield names
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from all_commands(command, (*names, name))
        else:
            yield (*names, name)


def test_every_help_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    for names in all_commands(cli):
        assert run_program([*names, "--help"]) == 0
        text = capsys.readouterr().out
        assert text.isascii(), names
        assert "Show this message and exit" in text


def test_the_list_of_commands_is_that_of_the_modules() -> None:
    package = Path(console.__file__).parent
    for name in COMMANDS:
        assert (package / f"{name}.py").is_file()
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert command.name == name


BAR = """
import sys
from cvbench.commands.console import print_rows, progress_bar
with progress_bar() as report:
    for done in range(3):
        report({label!r}, done, 2)
print_rows(["what ↑"], [[{label!r}]])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminal")
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_progress_bar_and_boxed_lists_survive_every_encoding_and_name(encoding: str) -> None:
    controller, terminal = os.openpty()
    code = BAR.format(label=f"{EVIL} [/] [red] \udce9")
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=terminal, stderr=terminal, check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding, "TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(terminal)
    shown = os.read(controller, 100_000)
    assert done.returncode == 0, shown
    assert b"[/]" in shown
    assert b"\x1b[31m" not in shown


def test_help_is_quick_and_light() -> None:
    code = "import sys; from cvbench.cli import run_program; run_program(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for heavy in ("'torch'", "'numpy'", "'rich'", "'cvbench.metrics'", "'cvbench.models'", "'cvbench.tables'"):
        assert heavy not in done.stdout


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::error::x", "\\u003a:error::x"),
        ("a\n  ::set-output name=x::y", "a\n  \\u003a:set-output name=x::y"),
        ("a ##[error]x", "a \\u0023#[error]x"),
        ("a::b ## [x]", "a::b ## [x]"),
    ],
)
def test_no_line_is_a_command_to_the_runner_of_a_job(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.echo(text)
    console.line(text.partition("\n")[0], err=True)
    out, err = capsys.readouterr()
    assert out == f"{shown}\n"
    assert err == f"{shown.partition(chr(10))[0]}\n"
    console.annotate("::notice::x")
    assert capsys.readouterr().out == "::notice::x\n"
