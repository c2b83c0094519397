"""Scores over the steps of a training: models of one run whose names differ in one number."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cvbench.core.records import RunRecord
from cvbench.metrics import METRICS
from cvbench.models import MODELS
from cvbench.report.charts import Spec
from cvbench.report.scatter import amount

NUMBER = re.compile(r"(\d+(?:\.\d+)?)([kKmM]?)(?![a-zA-Z])")
UNITS = {"": 1.0, "k": 1e3, "m": 1e6}


@dataclass(frozen=True)
class Series:
    """Checkpoints of one training: its name with … for the step, and the records by step, in order."""

    name: str
    records: Sequence[tuple[float, RunRecord]]


def series(records: Sequence[RunRecord]) -> list[Series]:
    """Return the checkpoints among records: users' models whose names differ in one number, `step1k` and `step2k`.

    Names of the registry and the hub hold versions, not steps.
    """
    found: dict[tuple[str, int], list[tuple[float, RunRecord]]] = {}
    own = [r for r in records if r.scores and r.model.init != "random" and _is_own(r.model.name)]
    for record in own:
        for place, match in enumerate(NUMBER.finditer(record.model.name)):
            name = f"{record.model.name[: match.start()]}…{record.model.name[match.end() :]}"
            step = float(match[1]) * UNITS[match[2].lower()]
            found.setdefault((name, place), []).append((step, record))
    return [
        Series(name, sorted(steps, key=lambda pair: pair[0]))
        for (name, _), steps in found.items()
        if len({step for step, _ in steps}) > 1
    ]


def _is_own(name: str) -> bool:
    return name.partition("@")[0] not in MODELS and not name.startswith("hf:")


def over_steps(found: Sequence[Series], metric: str) -> Spec | None:
    """Return the chart of a metric over steps, a line a series with its intervals; None where there is none."""
    values = [value for each in found for value in _values(each, metric)]
    if not values:
        return None
    m = METRICS[metric]
    title = f"{m.label} {m.arrow}" + (f" ({m.unit})" if m.unit else "")
    y = {"field": "value", "type": "quantitative", "title": title, "scale": {"zero": False, "padding": 14}}
    x = {
        "field": "step", "type": "quantitative", "title": "step", "axis": {"format": "~s", "tickCount": 6},
        "scale": {"padding": 24, "nice": False, "zero": False},
    }  # fmt: skip
    several = len({value["series"] for value in values}) > 1
    told: Spec = {"tooltip": {"field": "says"}, "description": {"field": "says"}}
    dash = {"strokeDash": {"field": "series", "type": "nominal", "legend": {"title": None, "orient": "bottom"}}}
    return {
        "description": _alternative(found, metric),
        "data": {"values": values},
        "encoding": {"x": x, "y": y},
        "layer": [
            {
                "transform": [{"filter": "isValid(datum.low)"}],
                "mark": {"type": "rule", "style": "interval", "aria": False},
                "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}},
            },
            {"mark": {"type": "line", "style": "curve", "aria": False}, "encoding": dash if several else {}},
            {"mark": {"type": "point", "filled": True, "style": "front"}, "encoding": told},
        ],
    }


def _values(shown: Series, metric: str) -> list[Spec]:
    m = METRICS[metric]
    return [
        {
            "step": step, "value": score.value, "low": score.low, "high": score.high, "series": shown.name,
            "says": f"{record.model.name}: {m.label} {score.value:.{m.digits}f} {m.unit} at step {amount(step)}",
        }
        for step, record in shown.records
        if (score := record.scores.get(metric))
    ]  # fmt: skip


def _alternative(found: Sequence[Series], metric: str) -> str:
    names = ", ".join(each.name for each in found)
    return f"{METRICS[metric].label} over the steps of {names}."
