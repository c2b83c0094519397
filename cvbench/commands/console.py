"""What every command prints with: text that no name can break and every encoding holds."""

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from cvbench.core.text import escaped, fitting, one_line, visible

if TYPE_CHECKING:
    from rich.console import Console

Report = Callable[[str, int, int], None]
"""Called with what is being done, steps done, and steps in all."""


COMMAND = re.compile(r"^(\s*):(?=:)|#(?=#\[)", re.MULTILINE)
"""Where a line of a job's log would be a command to GitHub: ::error:: at its beginning, ##[error] anywhere."""


def echo(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Print text of several lines; control characters and commands to a job's runner are shown, not sent."""
    _print(COMMAND.sub(_as_escape, visible(str(text))), err, nl)


def annotate(annotation: str) -> None:
    """Print a command to the runner of a GitHub job."""
    _print(one_line(annotation), err=False, nl=True)


def _as_escape(found: re.Match[str]) -> str:
    sign = found.group()
    return sign[:-1] + escaped(sign[-1])


def _print(text: str, err: bool, nl: bool) -> None:
    stream = sys.stderr if err else sys.stdout
    click.echo(fitting(text, getattr(stream, "encoding", None)), err=err, nl=nl)


def line(*cells: object, err: bool = False) -> None:
    """Print one line whose cells, one or more, are separated by tabs."""
    echo("\t".join(one_line(str(cell)) for cell in cells), err=err)


def print_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table to read: boxed for a terminal, tab-separated for a pipe."""
    if sys.stdout and sys.stdout.isatty():
        _print_boxed(head, rows)
        return
    for row in [head, *rows]:
        line(*row)


def _print_boxed(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # rich takes longer to import than all the rest of a list
    from rich.table import Table
    from rich.text import Text

    console = Console()

    def shown(cells: Sequence[str]) -> list[Text]:
        return [Text(fitting(one_line(cell), console.encoding)) for cell in cells]

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in shown(head):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*shown(row))
    console.print(table)


EVERY = 60.0
"""Seconds between two lines of progress in a log."""


@contextlib.contextmanager
def progress_bar(shown: bool = True) -> Iterator[Report]:
    """Show progress on stderr while work is done: a bar with the time left to a person, to a log a line a minute."""
    from rich.console import Console

    console = Console(stderr=True)
    if not shown or not console.is_terminal:
        yield Log() if shown else lambda _label, _done, _total: None
        return
    with _bar(console) as report:
        yield report


class Log:
    """Progress as lines of a log, none in the first minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.label, self.begun, self.said = clock, "", clock(), clock()

    def __call__(self, label: str, done: int, total: int) -> None:
        """Say how far the work is, and how long the rest will take at this pace, when a minute has passed."""
        now = self.clock()
        if label != self.label:
            self.label, self.begun, self.first = label, now, done
        if now - self.said >= EVERY:
            self.said, pace = now, (done - self.first) / (now - self.begun) if now > self.begun else 0
            left = f", {(total - done) / pace / 60:.0f} min left" if pace else ""
            line(f"{label}: {done:,} of {total:,}{left}", err=True)


@contextlib.contextmanager
def _bar(console: "Console") -> Iterator[Report]:
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}", markup=False), progress.BarColumn(), progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(), progress.TextColumn("left"), progress.TimeRemainingColumn(),
    )  # fmt: skip
    with progress.Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def report(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bar.add_task(fitting(one_line(label), console.encoding), total=total)
            bar.update(tasks[label], completed=done, total=total)

        yield report
