"""A walk between two protocols as Markdown, CSV and JSON. No torch."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from cvbench.compare.text import escape
from cvbench.compare.walked import Change, Row, Walked, lines
from cvbench.core.errors import UsageError
from cvbench.metrics import METRICS


def digits(metric: str) -> int:
    """Return how many digits a metric's scores are printed with; `lpips` and its like have those of LPIPS."""
    known = METRICS.get(metric)
    return known.digits if known else 3


def walk_markdown(walks: Sequence[Walked]) -> str:
    """Return every walk as a table, its steps summing exactly, and under it what is to be said."""
    return "\n".join(part for walk in walks for part in _markdown(walk))


def _markdown(walk: Walked) -> Iterator[str]:
    yield f"**{escape(walk.model)}** on {escape(walk.data)}: {escape(walk.first)} → {escape(walk.last)}\n"
    if walk.error:
        yield f"Error: {escape(walk.error)}\n"
        return
    head, *rows = walk_rows(walk)
    yield _line(head)
    yield _line(["---"] * len(head))
    for label, changes, *cells in rows:
        yield _line([escape(label), f"`{changes}`" if changes else "", *cells])
    yield ""
    for why in reasons(walk):
        yield f"- {escape(why)}"
    if reasons(walk):
        yield ""
    yield f"{MEANING}\n"


MEANING = (
    "Each step is a whole protocol, in the order in which pixels go; the steps sum to the whole difference. Their order"
    " is part of the result, for steps interact. Intervals are of the paired differences of clips."
)


def walk_rows(walk: Walked) -> list[list[str]]:
    """Return the cells of a walk's table: its heading, the first score, a row a step, the last score."""
    back = ["back"] if walk.goes_back else []
    head = [word for name in walk.metrics for word in (name.upper(), "95 %", *back)]
    rows = [["Step", "What changes", *head, "clips"]]
    for label, row in lines(walk):
        cells = [c for name in walk.metrics for c in _cells(name, row, start=row is walk.start, back=walk.goes_back)]
        rows.append([label, "" if row is walk.start else row.changes, *cells, _count(row)])
    last = [cell for name in walk.metrics for cell in _ends(walk, name)]
    return [*rows, [f"at {walk.last}", "", *last, ""]]


def reasons(walk: Walked) -> list[str]:
    """Say why scores of a walk are missing, and which samples failed."""
    whys = dict.fromkeys(c.why for row in walk.rows for c in row.by_metric.values() if c.why)
    return [*whys, *(f"failed: {told}" for told in walk.failed)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(name: str, row: Row, *, start: bool, back: bool) -> list[str]:
    change, places = row.by_metric[name], digits(name)
    if start:
        return [_number(change.value, places), ""] + ([""] if back else [])
    interval = (
        "" if change.low is None or change.high is None else f"{change.low:+z.{places}f} to {change.high:+z.{places}f}"
    )
    return [_number(change.change, places, "+"), interval] + ([_number(change.reverse, places, "+")] if back else [])


def _ends(walk: Walked, name: str) -> list[str]:
    value, total = walk.rows[-1].by_metric[name].value, walk.total(name)
    said = "" if total is None else f"{total:+z.{digits(name)}f} in all"
    return [_number(value, digits(name)), said] + ([""] if walk.goes_back else [])


def _number(value: float | None, places: int, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}z.{places}f}"


def _count(row: Row) -> str:
    count = str(row.clips) if row.clips == row.items else f"{row.clips} ({row.items} items)"
    return f"{count}; {row.note}" if row.note else count


def walk_json(walks: Sequence[Walked]) -> str:
    """Return walks as JSON, numbers unrounded."""
    return json.dumps([asdict(walk) for walk in walks], indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_walks(path: Path) -> list[Walked]:
    """Read what `walk_json` gave. Raises UsageError naming the file."""
    try:
        walks = msgspec.json.decode(path.read_bytes(), type=list[Walked])
    except OSError as error:
        raise UsageError(f"the walk {path} cannot be read: {error.strerror or error}") from error
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path} is no walk of `cvbench explain`: {error}") from error
    for walk in walks:
        if not walk.error and not (walk.rows and all(set(walk.metrics) <= set(row.by_metric) for row in walk.rows)):
            raise UsageError(f"{path} is no walk of `cvbench explain`: a step lacks one of {', '.join(walk.metrics)}")
    return walks


COLUMNS = ("model", "data", "step", "changes", "metric", "value", "change", "low", "high", "reverse", "clips", "items",
           "note")  # fmt: skip


def walk_csv(walks: Sequence[Walked]) -> str:
    """Return walks as CSV, a line a step and metric, numbers unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for walk in walks:
        for label, row in lines(walk):
            for name, change in row.by_metric.items():
                writer.writerow([walk.model, walk.data, label, row.changes, name, *_plain(change), row.clips, row.items,
                                 "; ".join(filter(None, (row.note, change.why)))])  # fmt: skip
    return out.getvalue()


def _plain(change: Change) -> list[float | str]:
    numbers = (change.value, change.change, change.low, change.high, change.reverse)
    return ["" if number is None else number for number in numbers]
