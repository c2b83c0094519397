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
    """Writes what happened; where no file can be written nothing. `aloud`: to stderr too."""

    def __init__(self, file: TextIO | None, *, aloud: bool = False) -> None:
        self.file, self.aloud = file, aloud

    def say(self, text: str) -> None:
        """Write a line, aloud where that is asked for."""
        if self.aloud:
            line(text, err=True)
        self.note(text)

    def note(self, text: str) -> None:
        """Write a line into the file alone."""
        if self.file is None:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with contextlib.suppress(OSError, ValueError):  # a full disk costs the log, not the run
            self.file.write(f"{now} {one_line(text)}\n")
            self.file.flush()

    def hear(self, what: "Working | Done") -> None:
        """Write what was measured, or failed, of a sample."""
        from cvbench.engine.watch import Done  # torch, for which no help waits

        if isinstance(what, Done):
            of = f"{what.model or 'the target'} on {what.sample} of {what.data}"
            self.say(f"{of}: {'; '.join(what.errors) or 'measured'}")


@contextlib.contextmanager
def journal(folder: Path, arguments: str, *, written: bool = True, aloud: bool = False) -> Iterator[Journal]:
    """Keep a journal in a folder while a command runs: what was typed, what happened, how it ended."""
    with contextlib.ExitStack() as stack:
        file = None
        if written:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context((folder / NAME).open("a", encoding="utf-8", errors="replace"))
        made = Journal(file, aloud=aloud)
        made.note(f"cvbench {__version__}: {arguments}")
        try:
            yield made
        except BaseException as error:
            made.note(f"stopped: {type(error).__name__}: {error}")
            raise
