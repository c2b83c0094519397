"""`cvbench cache`: what is kept so that nothing is measured twice. No torch."""

import re

import click

from cvbench.commands.codes import DONE
from cvbench.commands.console import line
from cvbench.core.errors import UsageError
from cvbench.store import cache_root, upkeep

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
BYTES = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt]?)i?b?", re.IGNORECASE)
AGE = re.compile(r"(\d+(?:\.\d+)?) ?([smhdw])", re.IGNORECASE)


@click.group("cache")
def command() -> None:
    """Measure and shrink the cache of rows; its folder is named by CVBENCH_CACHE.

    \b
      cvbench cache size
      cvbench cache prune --older-than 30d --to 10GB
      cvbench cache path

    What is dropped is measured again when it is asked for; records are no part of the cache.
    """


@command.command("path")
def path() -> int:
    """Print where the cache lies."""
    line(cache_root())
    return DONE


@command.command("size")
def size() -> int:
    """Say what the cache holds."""
    held = upkeep.size(cache_root())
    earlier = f", {held.earlier:,} of them of an earlier version" if held.earlier else ""
    line(f"{amount(held.bytes)} in {held.files:,} files{earlier}: {held.rows:,} sets of rows, {held.facts:,} facts")
    return DONE


@command.command("prune")
@click.option("--older-than", metavar="AGE", help="Drop rows that were measured longer ago: 12h, 30d, 8w.")
@click.option("--to", "to_bytes", metavar="SIZE", help="Drop the oldest rows until the cache fits: 500MB, 10GB.")
def prune(older_than: str | None, to_bytes: str | None) -> int:
    """Drop rows, the oldest first, and what is doubled or damaged; without options the latter alone."""
    root = cache_root()
    age = None if older_than is None else read("--older-than", older_than, AGE, SECONDS, "30d")
    room = None if to_bytes is None else int(read("--to", to_bytes, BYTES, UNITS, "10GB"))
    freed = upkeep.compact(root) if age is None and room is None else upkeep.prune(root, older_than=age, to_bytes=room)
    busy = f"; {freed.busy} files stay as they are, for a run may write them" if freed.busy else ""
    line(f"{freed.entries:,} entries dropped, {amount(max(freed.bytes, 0))} freed{busy}")
    return DONE


def read(option: str, text: str, form: re.Pattern[str], units: dict[str, int], example: str) -> float:
    """Read a number with a unit. Raises UsageError."""
    found = form.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{option} takes a number with a unit, as {example}; got {text!r}")
    return float(found[1]) * units[found[2].lower()]


def amount(count: int | float) -> str:
    """Return bytes in three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    return f"{count:,.1f} TB"
