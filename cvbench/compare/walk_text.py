"""A walk between two protocols as Markdown, CSV and JSON. No torch."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from cvbench.compare.text import escape
from cvbench.compare.walked import Change, Row, Walked, lines
from cvbench.metrics import METRICS


def digits(metric: str) -> int:
    """Return how many digits a metric's scores are printed with; `lpips` and its like have those of LPIPS."""
    known = METRICS.get(metric)
    return known.digits if known else 3


def walk_markdown(walks: Sequence[Walked], *, reverse: bool = False) -> str:
    """Return every walk as a table, its steps summing exactly, and under it what is to be said."""
    return "\n".join(part for walk in walks for part in _markdown(walk, reverse))


def _markdown(walk: Walked, reverse: bool) -> Iterator[str]:
    yield f"**{escape(walk.model)}** on {escape(walk.data)}: {walk.first} → {walk.last}\n"
    if walk.error:
        yield f"Error: {escape(walk.error)}\n"
        return
    head = ["Step", "What changes"]
    for name in walk.metrics:
        head += [name.upper(), "95 %"] + (["back"] if reverse else [])
    yield _line([*head, "clips"])
    yield _line(["---"] * (len(head) + 1))
    for label, row in lines(walk):
        cells = [cell for name in walk.metrics for cell in _cells(name, row, start=row is walk.start, reverse=reverse)]
        yield _line([label, f"`{row.changes}`", *cells, _count(row)])
    last = [cell for name in walk.metrics for cell in _ends(walk, name, reverse)]
    yield _line([f"at {walk.last}", "", *last, ""]) + "\n"
    yield from _notes(walk)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(name: str, row: Row, *, start: bool, reverse: bool) -> list[str]:
    change, places = row.by_metric[name], digits(name)
    if start:
        return [_number(change.value, places), ""] + ([""] if reverse else [])
    interval = (
        "" if change.low is None or change.high is None else f"{change.low:+.{places}f} to {change.high:+.{places}f}"
    )
    return [_number(change.change, places, "+"), interval] + ([_number(change.reverse, places, "+")] if reverse else [])


def _ends(walk: Walked, name: str, reverse: bool) -> list[str]:
    value, total = walk.rows[-1].by_metric[name].value, walk.total(name)
    said = "" if total is None else f"{total:+.{digits(name)}f} in all"
    return [f"**{_number(value, digits(name))}**", said] + ([""] if reverse else [])


def _number(value: float | None, places: int, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.{places}f}"


def _count(row: Row) -> str:
    count = str(row.clips) if row.clips == row.items else f"{row.clips} ({row.items} items)"
    return f"{count}; {row.note}" if row.note else count


def _notes(walk: Walked) -> Iterator[str]:
    reasons: dict[str, None] = {
        change.why: None for row in walk.rows for change in row.by_metric.values() if change.why
    }
    for why in reasons:
        yield f"- {escape(why)}"
    if reasons:
        yield ""
    yield (
        "Each step is a whole protocol, in the order in which pixels go; the steps sum to the whole difference. Their"
        " order is part of the result, for steps interact. Intervals are of the paired differences of clips.\n"
    )


def walk_json(walks: Sequence[Walked]) -> str:
    """Return walks as JSON, numbers unrounded."""
    return json.dumps([asdict(walk) for walk in walks], indent=1, ensure_ascii=False, allow_nan=False) + "\n"


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
                                 row.note or change.why])  # fmt: skip
    return out.getvalue()


def _plain(change: Change) -> list[float | str]:
    numbers = (change.value, change.change, change.low, change.high, change.reverse)
    return ["" if number is None else number for number in numbers]
