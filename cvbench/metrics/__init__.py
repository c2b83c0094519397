"""From stored rows to numbers: the table of metrics, distances of sets, intervals and tests. No torch."""

from cvbench.metrics.registry import (
    ALIASES,
    METRICS,
    Metric,
    Rows,
    few,
    frame_consistency,
    frechet_infinite,
    frechet_of_sets,
    resolve,
    sample_values,
    score,
    set_score,
)

__all__ = [
    "ALIASES",
    "METRICS",
    "Metric",
    "Rows",
    "few",
    "frame_consistency",
    "frechet_infinite",
    "frechet_of_sets",
    "resolve",
    "sample_values",
    "score",
    "set_score",
]
