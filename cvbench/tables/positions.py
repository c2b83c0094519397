"""A metric by where in the temporal group a frame stands, the first frame apart, with intervals over clips."""

from collections.abc import Sequence

import numpy as np

from cvbench.core.records import RunRecord
from cvbench.metrics import METRICS, Metric
from cvbench.metrics.statistics import bootstrap_mean
from cvbench.tables.table import NOTHING, Cell, Column, Table

Row = Sequence[float]
SHOWN = ("psnr", "lpips-vgg", "lpips-alex", "colour-drift")
"""Metrics of single frames that have such a table."""


def positions(rows: Sequence[Row], alone: int, size: int) -> list[list[float]]:
    """Return by column one value a clip: frame 0; each of `size` positions of the clips with a whole group; all others.

    `alone` frames precede the first group. A model that codes frame by frame has no positions.
    """
    whole = [row for row in rows if size > 1 and len(row) >= alone + size]
    places = [[float(np.mean(row[alone + p :: size])) for row in whole] for p in range(size if whole else 0)]
    return [[float(row[0]) for row in rows], *places, [float(np.mean(row[1:])) for row in rows]]


def build_positions(
    name: str, lines: Sequence[tuple[str, RunRecord]], alone: Sequence[int], *, intervals: bool = False
) -> Table | None:
    """Lay out one metric of SHOWN: a row a model and data set with clips; None where no record has it frame by frame.

    `lines` are records with the names that their rows have, `alone` how many frames precede the first group of each.
    """
    metric = METRICS[name]
    found = [
        (label, record.data.name, positions(rows, before, record.model.temporal or 1))
        for (label, record), before in zip(lines, alone, strict=True)
        if (rows := _rows(record, metric))
    ]
    if not found:
        return None
    most = max(len(values) for *_, values in found) - 2
    return Table(
        [Column("", "Model"), Column("", "Data"), *_columns(metric, most)],
        [[Cell(label), Cell(data), *_cells(metric, values, most, intervals)] for label, data, values in found],
        [],
        [],
        caption=f"{metric.label} by position in the temporal group",
    )


def _rows(record: RunRecord, metric: Metric) -> list[Row]:
    return [row for s in record.samples if s.frames > 1 and (row := s.by_frame(metric.probe))]


def _columns(metric: Metric, most: int) -> list[Column]:
    names = ["frame 0", *(f"position {p}" for p in range(1, most + 1)), "others"]
    return [Column(metric.label, f"{name} {metric.arrow}", metric.better) for name in names]


def _cells(metric: Metric, values: Sequence[Sequence[float]], most: int, intervals: bool) -> list[Cell]:
    first, *places, others = values
    padded = [first, *places, *[[]] * (most - len(places)), others]
    return [_cell(metric, each, intervals) for each in padded]


def _cell(metric: Metric, values: Sequence[float], intervals: bool) -> Cell:
    if not values:
        return Cell(NOTHING)
    mean, bounds = float(np.mean(values)), bootstrap_mean(values) if intervals else None
    low, high = bounds or (None, None)
    shown = [f"{v:.{metric.digits}f}" for v in (mean, *(bounds or ()))]
    return Cell(f"{shown[0]} [{shown[1]}, {shown[2]}]" if bounds else shown[0], mean, low, high)
