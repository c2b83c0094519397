"""What the program says and returns when something goes wrong."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_core_records import record

from cvbench.cli import run_program
from cvbench.commands.list import LISTS
from cvbench.store import write_record


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def deep(n: int = 0) -> None:
    deep(n + 1)


def raiser(error: BaseException) -> object:
    def raise_it() -> None:
        raise error

    return raise_it


UNEXPECTED = [
    RecursionError("maximum recursion depth exceeded"), MemoryError(), KeyError("psnr"), AssertionError(),
    UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"), UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "bad"),
    OSError("no number"), OSError(errno.EBADF, "Bad file descriptor"),
    FileNotFoundError(errno.ENOENT, "No such file", "x"), RuntimeError("a\nb\x1b[31m\u202ec"),
    SystemExit(1), SystemExit("text"), StopIteration(), GeneratorExit, ExceptionGroup("two", [ValueError(), OSError()]),
    Speechless(), NotImplementedError("x" * 5000),
]  # fmt: skip


@pytest.mark.parametrize("error", [e for e in UNEXPECTED if e is not GeneratorExit], ids=lambda e: type(e).__name__)
def test_an_unexpected_error_exits_4_in_one_line_that_names_the_report(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("CVBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(LISTS, "models", raiser(error))  # type: ignore[arg-type]
    assert run_program(["list", "models"]) == 4
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("Error of cvbench itself: ")
    assert (err.count("\n"), "\x1b" in err, "\u202e" in err, "Traceback" in err) == (1, False, False, False)
    path = re.search(r"the report to send lies in (.+)\n", err)
    assert path
    report = Path(path[1]).read_text()
    assert Path(path[1]).parent == tmp_path / "cache" / "errors"
    for word in ("Traceback", type(error).__name__, "command: cvbench list models", "torch ", "python 3", "cvbench 0."):
        assert word in report


def test_endless_recursion_is_an_error_of_cvbench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("CVBENCH_CACHE", str(tmp_path))
    monkeypatch.setitem(LISTS, "models", deep)  # type: ignore[arg-type]
    assert run_program(["list", "models"]) == 4
    assert "RecursionError" in capsys.readouterr().err


def test_a_report_that_the_cache_cannot_hold_lies_among_temporary_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CVBENCH_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setitem(LISTS, "models", raiser(KeyError("x")))  # type: ignore[arg-type]
    assert run_program(["list", "models"]) == 4
    assert str(tmp_path / "error-") in capsys.readouterr().err
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    assert run_program(["list", "models"]) == 4
    assert "CVBENCH_DEBUG=1" in capsys.readouterr().err


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVBENCH_DEBUG", "1")
    monkeypatch.setitem(LISTS, "models", raiser(KeyError("x")))  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="x"):
        run_program(["list", "models"])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR])
def test_what_the_machine_refuses_is_no_error_of_cvbench(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(LISTS, "models", raiser(OSError(number, os.strerror(number), "a\x1bfile")))  # type: ignore[arg-type]
    assert run_program(["list", "models"]) == 3
    err = capsys.readouterr().err
    assert f"Error: {os.strerror(number)}: a\\u001bfile" in err


def program(*arguments: str, **kwargs: object) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "cvbench", *arguments]
    return subprocess.run(line, check=False, stderr=subprocess.PIPE, **kwargs)  # type: ignore[call-overload,no-any-return]


def test_python_m_cvbench_is_the_program() -> None:
    done = program("--version", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout.split()[0]) == (0, b"cvbench,")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["list", "suites"], ["--help"]])
def test_a_full_output_exits_3_with_one_message(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = program(*arguments, stdout=full)
    assert done.returncode == 3
    assert (
        done.stderr.decode() == "Error: No space left on device: a file or the output; nothing already stored is lost\n"
    )


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = program("list", "models", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_errors_that_cannot_be_printed_keep_their_exit_code() -> None:
    line = f"{sys.executable} -m cvbench table nowhere 2>&-; echo $?"
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=False)
    assert done.stdout == b"2\n"


@pytest.mark.parametrize("arguments", [[], ["weights"], ["baseline"]])
def test_a_group_alone_shows_its_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(arguments) == 2
    assert "\nCommands:\n" in capsys.readouterr().err


def test_choices_stand_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["list", "modles"]) == 2
    assert "models" in (said := capsys.readouterr().err)
    assert "suites, protocols" in said or "'suites', 'protocols'" in said


@pytest.mark.parametrize(
    "arguments",
    [
        "run -m identity --data sample --out file/x", "score -g . -r . --out file/x/y", "report . --out file/x.html",
        "report . --markdown --out file", "baseline save . --to file/b", "check . --against . --junit file/x.xml",
        "run -m identity --data sample --out " + "x" * 300, "report . --out " + "x" * 300 + "/a.html",
    ],
)  # fmt: skip
def test_a_place_that_cannot_be_written_is_named_before_any_work(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_record(tmp_path, record())
    Path("file").touch()
    assert run_program(arguments.split()) == 3
    out, err = capsys.readouterr()
    assert not out
    assert "Not a directory" in err or "File name too long" in err
