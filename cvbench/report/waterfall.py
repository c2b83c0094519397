"""The waterfall of a walk between two protocols: one HTML file that opens from disk, drawn as SVG. No script."""

from collections.abc import Callable, Iterator, Sequence
from html import escape

from cvbench.compare.walk_text import digits
from cvbench.compare.walked import Walked

At = Callable[[float], float]
"""Where a value lies in a chart."""
WIDTH, ROW, LABEL, MARGIN = 760, 26, 190, 90
"""Of a chart in pixels: its width, the height of a step, the space for names, and for numbers at the right."""
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#222;
background:#fff}svg{width:100%;height:auto}text{font-size:12px;fill:#333}.up{fill:#2a7f62}.down{fill:#b2453a}
.end{fill:#55606e}.axis{stroke:#bbb}.whisker{stroke:#222}h2{font-size:1.1rem;margin-top:2rem}"""


def waterfall_page(walks: Sequence[Walked], title: str) -> str:
    """Return the page: of each walk and metric a chart, every number with its text beside it."""
    parts = "\n".join(part for walk in walks for part in _walk(walk))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        f"<h1>{escape(title)}</h1>\n{parts}\n</html>\n"
    )


def _walk(walk: Walked) -> Iterator[str]:
    yield f"<h2>{escape(walk.model)} on {escape(walk.data)}</h2>"
    if walk.error:
        yield f"<p>{escape(walk.error)}</p>"
        return
    for name in walk.metrics:
        if all(row.by_metric[name].value is not None for row in walk.rows):
            yield f"<h3>{escape(name.upper())}</h3>{waterfall(walk, name)}"


def waterfall(walk: Walked, metric: str) -> str:
    """Return the chart of a metric: the score at the first protocol, a bar a step, the score at the last."""
    values = [float(row.by_metric[metric].value or 0) for row in walk.rows]
    ends = [
        end for row in walk.rows for end in (row.by_metric[metric].low, row.by_metric[metric].high) if end is not None
    ]
    reach = max([abs(end) for end in ends], default=0.0)
    low, high = min(values) - reach / 4, max(values) + reach / 4
    scale = (WIDTH - LABEL - MARGIN) / ((high - low) or 1)
    bars = "".join(_bars(walk, metric, values, lambda value: LABEL + (value - low) * scale))
    height = ROW * (len(walk.rows) + 1) + 10
    title = f"{metric} from {walk.first} to {walk.last}"
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{bars}</svg>'


def _bars(walk: Walked, metric: str, values: Sequence[float], at: At) -> Iterator[str]:
    places = digits(metric)
    yield _end(0, f"at {walk.first}", values[0], at, places)
    for k, (row, before, after) in enumerate(zip(walk.rows[1:], values, values[1:], strict=False), 1):
        change = row.by_metric[metric]
        left, right = sorted((at(before), at(after)))
        kind, y = ("up" if after >= before else "down"), 6 + ROW * k
        words = f"{row.label}: {row.changes}" + (f" ({row.note})" if row.note else "")
        yield f"<g><title>{escape(words)}</title>{_text(LABEL - 8, y + 13, row.label, 'end')}"
        yield f'<rect class="{kind}" x="{left:.1f}" y="{y}" width="{max(right - left, 1):.1f}" height="{ROW - 8}"/>'
        if change.low is not None and change.high is not None:
            ends = at(before + change.low), at(before + change.high)
            yield f'<path class="whisker" d="M{ends[0]:.1f} {y + 9}H{ends[1]:.1f}"/>'
        yield f"{_text(right + 6, y + 13, f'{after - before:+.{places}f}')}</g>"
    yield _end(len(walk.rows), f"at {walk.last}", values[-1], at, places)


def _end(row: int, label: str, value: float, at: At, places: int) -> str:
    y = 6 + ROW * row
    bar = f'<rect class="end" x="{LABEL}" y="{y}" width="{max(at(value) - LABEL, 1):.1f}" height="{ROW - 8}"/>'
    return _text(LABEL - 8, y + 13, label, "end") + bar + _text(at(value) + 6, y + 13, f"{value:.{places}f}")


def _text(x: float | int, y: float | int, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
