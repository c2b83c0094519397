"""The chart of a metric over the frames of a clip, temporal groups shaded."""

from collections.abc import Sequence

from cvbench.metrics import METRICS
from cvbench.report.charts import Spec
from cvbench.report.content import Curve


def span_of(curves: Sequence[Curve]) -> float:
    """Return the height that all curves of a metric share, so that slopes compare: the largest of one, and air."""
    return 1.1 * max((max(c.high) - min(c.low) for c in curves), default=1.0) or 1.0


def curve(shown: Curve, metric: str, span: float) -> Spec:
    """Return the chart of one curve, `span` high about its middle."""
    middle = (max(shown.high) + min(shown.low)) / 2
    domain = [middle - span / 2, middle + span / 2]
    m = METRICS[metric]
    y = {"type": "quantitative", "title": f"{m.label} {m.arrow}", "axis": {"tickCount": 5}}
    y |= {"scale": {"domain": domain, "zero": False}}
    mean = {**y, "field": "mean"}
    x = _frames(shown)
    return {
        "description": describe_curve(shown, metric),
        "data": {"values": _values(shown, metric)},
        "layer": [
            *([_groups(shown, x)] if shown.spans[1:] else []),
            {
                "mark": {"type": "area", "style": "spread", "aria": False},
                "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
            },
            {"mark": {"type": "line", "style": "curve", "aria": False}, "encoding": {"x": x, "y": mean}},
            {
                "mark": {"type": "point", "opacity": 0, "size": 200},
                "encoding": {"x": x, "y": mean, "tooltip": {"field": "says"}, "description": {"field": "says"}},
            },
        ],
    }


def _groups(shown: Curve, x: Spec) -> Spec:
    """Shade every other temporal group."""
    return {
        "data": {"values": [{"start": a - 0.5, "stop": b + 0.5} for a, b in shown.spans[1::2]]},
        "mark": {"type": "rect", "style": "span", "aria": False},
        "encoding": {"x": {**x, "field": "start"}, "x2": {"field": "stop"}},
    }


def _frames(shown: Curve) -> Spec:
    scale = {"domain": [-0.5, shown.frames[-1] + 0.5], "nice": False, "zero": False}
    axis = {"grid": False, "tickMinStep": 1, "format": "d"}
    return {"field": "frame", "type": "quantitative", "title": "frame", "scale": scale, "axis": axis}


def _values(shown: Curve, metric: str) -> list[Spec]:
    m = METRICS[metric]
    return [
        {
            "frame": f, "mean": mean, "low": low, "high": high,
            "says": f"frame {f}: {m.label} {mean:.{m.digits}f} {m.unit}".strip(),
        }
        for f, mean, low, high in zip(shown.frames, shown.mean, shown.low, shown.high, strict=True)
    ]  # fmt: skip


def describe_curve(shown: Curve, metric: str) -> str:
    """Return the curve in words."""
    m = METRICS[metric]
    low, high = min(shown.mean), max(shown.mean)
    grouped = f", {len(shown.spans)} temporal groups" if shown.spans else ""
    values = f"{low:.{m.digits}f} to {high:.{m.digits}f} {m.unit}".strip()
    return f"{m.label} of {shown.model} over {shown.total} frames{grouped}, mean of {shown.clips} clips: {values}"


def grouping(shown: Curve) -> str:
    """Return in words which frames share a latent frame."""
    if shown.temporal < 2:
        return "no temporal groups"
    alone = ", the first alone" if shown.spans and shown.spans[0] == (0, 0) else ""
    return f"{shown.temporal} frames a latent frame{alone}"
