"""The chart of quality against what it costs, with the Pareto front."""

import math
from collections.abc import Sequence

from cvbench.metrics import METRICS
from cvbench.report.charts import Spec
from cvbench.report.content import Axis, Point

SHAPES = {"network": "circle", "codec": "square", "floor": "triangle-up"}
LABEL = 24
"""Characters of a model's name beside its point; the whole name is in the tooltip and the table."""


def scatter(points: Sequence[Point], metric: str, axis: Axis) -> Spec:
    """Return the chart: points with their intervals, shaped by role; those of the front filled and joined."""
    m, values = METRICS[metric], _values(points, metric, axis)
    arrow = "→" if axis.better == "higher" else "←"
    x = {
        "field": "x", "type": "quantitative", "title": f"{axis.label}, {arrow} better",
        "scale": {"type": "log", "padding": 24, "nice": False},
        "axis": {"tickCount": 5, "format": "~s" if axis.key == "params" else ".3~r", "labelOverlap": True},
    }  # fmt: skip
    title = f"{m.label} {m.arrow}" + (f" ({m.unit})" if m.unit else "")
    y = {"field": "y", "type": "quantitative", "scale": {"zero": False, "padding": 14}, "title": title}
    layers = [
        *([_edge(axis)] if any(p.front for p in points) else []),
        *([_intervals(y)] if any(p.low is not None for p in points) else []),
        *(_points(points, on_front) for on_front in (False, True) if any(p.front == on_front for p in points)),
        *(
            _names(right, style)
            for style in ("halo", "name")  # the page's own colour around a name keeps lines off it
            for right in (False, True)
            if any(v["label"] and v["right"] == right for v in values)
        ),
    ]  # a layer without data would warn
    alternative = _alternative(points, metric, axis)
    return {"description": alternative, "data": {"values": values}, "encoding": {"x": x, "y": y}, "layer": layers}


def _edge(axis: Axis) -> Spec:
    """Join the points of the front by steps."""
    step = "step-after" if axis.better == "lower" else "step-before"
    mark = {"type": "line", "style": "edge", "aria": False, "interpolate": step}
    return {"transform": [{"filter": "datum.front"}], "mark": mark}


def _intervals(y: Spec) -> Spec:
    return {
        "transform": [{"filter": "isValid(datum.low)"}],
        "mark": {"type": "rule", "style": "interval", "aria": False},
        "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}},
    }


def _values(points: Sequence[Point], metric: str, axis: Axis) -> list[Spec]:
    named, middle = without_overlap(points), _middle(points)
    return [
        {
            "x": p.x, "y": p.y, "low": p.low, "high": p.high, "role": p.role, "front": p.front, "right": p.x > middle,
            "label": _short(p.model) if p in named else "", "says": says(p, metric, axis),
        }
        for p in points
    ]  # fmt: skip


def _points(points: Sequence[Point], on_front: bool) -> Spec:
    roles = [role for role in SHAPES if any(p.role == role for p in points)]
    scale = {"domain": roles, "range": [SHAPES[role] for role in roles]}
    legend = {"title": None, "orient": "bottom"} if len(roles) > 1 else None
    return {
        "transform": [{"filter": "datum.front" if on_front else "!datum.front"}],
        "mark": {"type": "point", "filled": on_front, "style": "front" if on_front else "behind"},
        "encoding": {
            "shape": {"field": "role", "type": "nominal", "scale": scale, "legend": legend},
            "description": {"field": "says"},
            "tooltip": {"field": "says"},
        },
    }


def _names(right: bool, style: str) -> Spec:
    """Write names to the inner side of their points."""
    side = {"align": "right", "dx": -9} if right else {"align": "left", "dx": 9}
    return {
        "transform": [{"filter": f"datum.label && {'' if right else '!'}datum.right"}],
        "mark": {"type": "text", "style": style, "aria": False, **side},
        "encoding": {"text": {"field": "label"}},
    }


def _short(name: str) -> str:
    return name if len(name) <= LABEL else name[: LABEL - 1] + "…"


def says(point: Point, metric: str, axis: Axis) -> str:
    """Return what a point stands for, to read or hear."""
    m = METRICS[metric]
    value = f"{m.label} {point.y:.{m.digits}f}"
    if point.low is not None and point.high is not None:
        value += f" [{point.low:.{m.digits}f}, {point.high:.{m.digits}f}]"
    place = ", on the Pareto front" if point.front else ""
    return f"{point.model}: {value}{' ' if m.unit else ''}{m.unit} at {amount(point.x)} {axis.unit}{place}"


def amount(value: float) -> str:
    """Return a positive number with three digits and k, M or G."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _alternative(points: Sequence[Point], metric: str, axis: Axis) -> str:
    best = ", ".join(p.model for p in sorted(points, key=lambda p: p.x) if p.front)
    return (
        f"{METRICS[metric].label} against {axis.label} of {len(points)} models. On the Pareto front: {best or 'none'}."
    )


def _middle(points: Sequence[Point]) -> float:
    """Return the middle of the logarithmic axis."""
    return math.sqrt(min(p.x for p in points) * max(p.x for p in points)) if points else 0.0


Box = tuple[float, float, float]
"""Left, right and middle height of a line of text."""


def without_overlap(points: Sequence[Point], width: int = 330, height: int = 260) -> list[Point]:
    """Return the points whose names touch no other name or point in a chart as narrow as a phone.

    Those of the front come first and may cover points.
    """
    places = _places(points, width, height)
    taken: dict[int, Box] = {}
    for i in sorted(range(len(points)), key=lambda i: not points[i].front):
        x, y = places[i]
        reach = (9 + 6.2 * len(_short(points[i].model))) * (-1 if points[i].x > _middle(points) else 1)
        box = (min(x, x + reach), max(x, x + reach), y)
        marks = [(a - 5, a + 5, b) for k, (a, b) in enumerate(places) if k != i and not points[i].front]
        if not any(_touch(box, other) for other in (*taken.values(), *marks)):
            taken[i] = box
    return [points[i] for i in taken]


def _touch(a: Box, b: Box) -> bool:
    return a[0] <= b[1] and b[0] <= a[1] and abs(a[2] - b[2]) <= 14


def _places(points: Sequence[Point], width: int, height: int) -> list[tuple[float, float]]:
    """Estimate where points lie, in pixels."""
    left, right = (f((p.x for p in points), default=1.0) for f in (min, max))
    bottom, top = (f((p.y for p in points), default=0.0) for f in (min, max))
    across, up = (width - 100) / (math.log(right / left) or 1), height / ((top - bottom) or 1)
    return [(24 + across * math.log(p.x / left), up * (p.y - bottom)) for p in points]
