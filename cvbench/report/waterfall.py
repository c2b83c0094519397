"""The waterfall of a walk between two protocols, as SVG as wide as its page. No script."""

from collections.abc import Callable, Iterator, Sequence
from html import escape

from cvbench.compare.walk_text import digits
from cvbench.compare.walked import Row, Walked, lines

At = Callable[[float], float]
"""Where a value lies in a chart, in percent of its width."""
ROW, BAR, TOP = 44, 14, 22
"""Height of a step, of its bar, and of the words above the bar, in pixels."""
EDGE = 4.0
"""Percent of the width that stay free beside the lowest and the highest value."""


def waterfall(walk: Walked, metric: str) -> str:
    """Return the chart of a metric: the score at the first protocol, a bar a step, the score at the last.

    Empty where a step has no value. Every number stands as text above its bar.
    """
    values = [row.by_metric[metric].value for row in walk.rows]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return ""
    parts = "".join(_parts(walk, metric, known, _scale(walk, metric, known)))
    title = escape(f"{metric} from {walk.first} to {walk.last}")
    height = ROW * (len(known) + 1)
    return f'<svg class="waterfall" width="100%" height="{height}" role="img" aria-label="{title}">{parts}</svg>'


def _scale(walk: Walked, metric: str, values: Sequence[float]) -> At:
    """Return where values lie: the lowest and the highest of them and of the intervals are at the edges."""
    steps = zip(values, (row.by_metric[metric] for row in walk.rows[1:]), strict=False)
    ends = [before + end for before, change in steps for end in (change.low, change.high) if end is not None]
    low, high = min(*values, *ends, values[0]), max(*values, *ends, values[0])
    return lambda value: EDGE + (100 - 2 * EDGE) * (value - low) / ((high - low) or 1)


def _parts(walk: Walked, metric: str, values: Sequence[float], at: At) -> Iterator[str]:
    places = digits(metric)
    yield _words(0, f"at {walk.first}", f"{values[0]:.{places}f}") + _end(0, at(values[0]))
    for k, (_, row) in enumerate(lines(walk)):
        if k:
            yield _step(k, row, metric, values[k - 1], at)
    yield _words(len(values), f"at {walk.last}", f"{values[-1]:.{places}f}") + _end(len(values), at(values[-1]))


def _step(k: int, row: Row, metric: str, before: float, at: At) -> str:
    """Draw a step: its words, a bar from the value before to that after, and the interval of the change."""
    change, places, y = row.by_metric[metric], digits(metric), ROW * k + TOP
    after = before if change.value is None else change.value
    left, right = sorted((at(before), at(after)))
    kind = "up" if after >= before else "down"
    said, whisker = f"{after - before:+z.{places}f}", ""
    if change.low is not None and change.high is not None:
        said += f" [{change.low:+z.{places}f}, {change.high:+z.{places}f}]"
        whisker = _line("whisker", at(before + change.low), at(before + change.high), y + BAR / 2, y + BAR / 2)
    hover = escape(f"{row.label}: {row.changes}" + (f" ({row.note})" if row.note else ""))
    bar = f'<rect class="{kind}" x="{left:.2f}%" y="{y}" width="{max(right - left, 0.2):.2f}%" height="{BAR}"/>'
    join = _line("join", at(before), at(before), y - ROW + BAR, y)
    return f"<g><title>{hover}</title>{join}{_words(k, row.label, said)}{bar}{whisker}</g>"


def _end(k: int, x: float) -> str:
    return _line("end", x, x, ROW * k + TOP - 2, ROW * k + TOP + BAR + 2)


def _line(kind: str, x1: float, x2: float, y1: float | int, y2: float | int) -> str:
    return f'<line class="{kind}" x1="{x1:.2f}%" x2="{x2:.2f}%" y1="{y1:g}" y2="{y2:g}"/>'


def _words(k: int, label: str, number: str) -> str:
    y = ROW * k + TOP - 6
    name = f'<text x="0" y="{y}">{escape(label)}</text>'
    return name + f'<text class="number" x="100%" y="{y}" text-anchor="end">{escape(number)}</text>'
