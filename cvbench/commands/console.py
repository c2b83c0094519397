"""What every command prints with: text that no name can break and every encoding holds."""

import contextlib
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import click

from cvbench.core.text import escaped, fitting, one_line, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from cvbench.engine.watch import Done, Working

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
"""Seconds between two lines of progress where there is no terminal."""


class Report(Protocol):
    """Takes what is being done, steps done, and steps in all; `hear` takes what is done within a step."""

    def __call__(self, label: str, done: int, total: int) -> None:
        """Report a step."""

    def hear(self, what: "Working | Done") -> None:
        """Report what is being done."""


QUIET = f"{__name__}.quiet"
"""By which a command line remembers --quiet."""


def _hush(context: click.Context, _: click.Parameter, quiet: bool) -> None:
    context.meta[QUIET] = quiet


quiet = click.option(
    "--quiet", "-q", is_flag=True, expose_value=False, callback=_hush, help="No progress: results and errors alone."
)
"""The option of every command that shows progress and has nothing else to be quiet about."""


@contextlib.contextmanager
def progress_bar(shown: bool = True) -> Iterator[Report]:
    """Show progress on stderr while work is done: a bar with the time left to a person, to a log a line a minute."""
    from rich.console import Console

    console, context = Console(stderr=True), click.get_current_context(silent=True)
    if not shown or (context and context.meta.get(QUIET)):
        yield State()
    elif console.is_terminal:
        with _bar(console) as report:
            yield report
    else:
        with _lines() as report:
            yield report


class State:
    """How far the work is, and on what it goes on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.label, self.done, self.total, self.first = clock, "", 0, 0, 0
        self.begun = clock()
        self.working: Working | None = None

    def __call__(self, label: str, done: int, total: int) -> None:
        """Note a step."""
        if label != self.label:
            self.label, self.begun, self.first = label, self.clock(), done
        self.done, self.total, self.working = done, total, None

    def hear(self, what: "Working | Done") -> None:
        """Note which model is at work, on what."""
        if hasattr(what, "place"):
            self.working = cast("Working", what)

    @property
    def steps(self) -> float:
        """Steps done, with the part of the present one that its models have done."""
        within = (self.working.place - 1) / self.working.models * len(self.working.samples) if self.working else 0.0
        return min(self.done + within, float(self.total))

    @property
    def now(self) -> str:
        """The model at work, and the sample; "" before and after."""
        if self.working is None:
            return ""
        model, place, models, samples = self.working
        more = f" and {len(samples) - 1} more" if len(samples) > 1 else ""
        return f"{model} ({place} of {models}) on {samples[0]}{more}"

    def told(self) -> str:
        """Return it in a line: what, how far, on what, and how long the rest takes at this pace."""
        passed = self.clock() - self.begun
        pace = (self.steps - self.first) / passed if passed > 0 else 0.0
        left = f"{duration((self.total - self.steps) / pace)} left" if pace > 0 else ""
        parts = [f"{self.label}: {self.done:,} of {self.total:,}", self.now, f"{duration(passed)} passed", left]
        return ", ".join(filter(None, parts))


def duration(seconds: int | float) -> str:
    """Return a time in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@contextlib.contextmanager
def _lines() -> Iterator[State]:
    """Print how far the work is once a minute, also while one step takes longer."""
    state, ended = State(), threading.Event()

    def tick() -> None:
        while not ended.wait(EVERY):
            if state.label:
                line(state.told(), err=True)

    ticking = threading.Thread(target=tick, name="progress", daemon=True)
    ticking.start()
    try:
        yield state
    finally:
        ended.set()
        ticking.join()


@contextlib.contextmanager
def _bar(console: "Console") -> Iterator["Bar"]:
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}", markup=False), progress.BarColumn(), progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(), progress.TextColumn("left"), progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[now]}", markup=False),
    )  # fmt: skip
    with progress.Progress(*columns, console=console, transient=True) as shown:
        yield Bar(shown, console.encoding)


class Bar(State):
    """A line of the terminal for each label."""

    def __init__(self, shown: "Progress", encoding: str) -> None:
        super().__init__()
        self.shown, self.encoding = shown, encoding
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        """Show a step."""
        super().__call__(label, done, total)
        if label not in self.tasks:
            self.tasks[label] = self.shown.add_task(fitting(one_line(label), self.encoding), total=total, now="")
        self.shown.update(self.tasks[label], total=total)
        self._show()

    def hear(self, what: "Working | Done") -> None:
        """Show which model is at work, on what."""
        super().hear(what)
        if self.label in self.tasks:
            self._show()

    def _show(self) -> None:
        now = fitting(one_line(self.now), self.encoding)
        self.shown.update(self.tasks[self.label], completed=self.steps, now=now)
