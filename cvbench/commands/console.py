"""What every command prints with: text that no name can break and every encoding holds."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from cvbench.core.text import escaped, fitting, one_line, visible

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


@contextlib.contextmanager
def progress_bar() -> Iterator[Report]:
    """Show a bar with the time left on stderr while work is done, where a person watches."""
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    columns = (
        progress.TextColumn("{task.description}", markup=False), progress.BarColumn(), progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(), progress.TextColumn("left"), progress.TimeRemainingColumn(),
    )  # fmt: skip
    with progress.Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def report(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bar.add_task(fitting(one_line(label), console.encoding), total=total)
            bar.update(tasks[label], completed=done, total=total)

        yield report
