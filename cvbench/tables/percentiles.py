"""Percentiles over samples, behind a column of means: a mean hides what fails."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from cvbench.core.errors import UsageError
from cvbench.core.records import RunRecord
from cvbench.metrics import METRICS, sample_values
from cvbench.tables.table import NOTHING, Cell, Column

WORST = "worst"
PERCENTILE = re.compile(r"p(100|[0-9]{1,2}(\.[0-9]{1,3})?)", re.ASCII)


def checked(names: Iterable[str]) -> tuple[str, ...]:
    """Return what --percentiles names, each once. Raises UsageError for what is neither p0 to p100 nor worst."""
    for name in (found := tuple(dict.fromkeys(names))):
        if name != WORST and not PERCENTILE.fullmatch(name):
            raise UsageError(f"--percentiles takes p0 to p100 and worst, got {name!r}; try p5,p95,worst")
    return found


def percentiles(
    records: Sequence[RunRecord | None], name: str, group: str, wanted: Sequence[str]
) -> list[tuple[Column, list[Cell]]]:
    """Return a column for each percentile of a metric's values of samples; none for metrics of sets, and for bits.

    They are numerical: p5 of PSNR are the bad samples, of LPIPS the good ones. `worst` is the worst sample of either.
    A percentile between two samples lies on the straight line between them. Nothing is marked best.
    """
    metric = METRICS[name]
    if metric.distance or not metric.ranked:
        return []
    heads = [
        Column(group, f"{metric.label} {each} {metric.arrow}".rstrip(), metric.better, f"{name}-{each}")
        for each in wanted
    ]
    return [(head, [_cell(r, name, each) for r in records]) for head, each in zip(heads, wanted, strict=True)]


def _cell(record: RunRecord | None, name: str, which: str) -> Cell:
    if record is None or name not in record.scores or not (held := sample_values(record, name)):
        return Cell(NOTHING)
    metric, values = METRICS[name], list(held.values())
    place = (0.0 if metric.better == "higher" else 100.0) if which == WORST else float(which[1:])
    value = metric.score(float(np.percentile(values, place)), record.protocol)
    return Cell(f"{value:.{metric.digits}f}", value)
