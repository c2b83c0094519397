"""`run.log` beside the records: what happened, a line each with its time."""

import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from cvbench import __version__
from cvbench.commands.console import line
from cvbench.core.text import one_line

if TYPE_CHECKING:
    from cvbench.engine.watch import Done, Working

NAME = "run.log"


class Journal:
    """Writes what happened into a folder, once work is done there; where no file can be written nothing.

    `aloud`: to stderr too. `written`: whether this process keeps the file.
    """

    def __init__(self, folder: Path, *, written: bool = True, aloud: bool = False) -> None:
        self.folder, self.written, self.aloud = folder, written, aloud
        self.file: TextIO | None = None
        self.waiting: list[str] = []

    def say(self, text: str) -> None:
        """Write a line, aloud where that is asked for."""
        if self.aloud:
            line(text, err=True)
        self.note(text)

    def note(self, text: str) -> None:
        """Write a line into the file alone, when there is one."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.waiting.append(f"{now} {one_line(text)}\n")
        if self.file:
            self.keep()

    def keep(self) -> None:
        """Write what waits, from now on at once: a request that is refused leaves no folder behind."""
        with contextlib.suppress(OSError, ValueError):  # a full disk costs the log, not the run
            if self.file is None and self.written:
                self.folder.mkdir(parents=True, exist_ok=True)
                self.file = (self.folder / NAME).open("a", encoding="utf-8", errors="replace")
            if self.file:
                self.file.write("".join(self.waiting))
                self.file.flush()
        self.waiting.clear()

    def hear(self, what: "Working | Done") -> None:
        """Write what was measured, or failed, of a sample."""
        from cvbench.engine.watch import Done  # torch, for which no help waits

        if isinstance(what, Done):
            of = f"{what.model or 'the target'} on {what.sample} of {what.data}"
            self.say(f"{of}: {'; '.join(what.errors) or 'measured'}")
            self.keep()


@contextlib.contextmanager
def journal(folder: Path, arguments: str, *, written: bool = True, aloud: bool = False) -> Iterator[Journal]:
    """Keep a journal in a folder while a command runs: what was typed, what happened, how it ended."""
    made = Journal(folder, written=written, aloud=aloud)
    made.note(f"cvbench {__version__}: {arguments}")
    try:
        yield made
        made.keep()
    except BaseException as error:
        made.note(f"stopped: {type(error).__name__}: {error}")
        raise
    finally:
        if made.file:
            made.file.close()
