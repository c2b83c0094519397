"""From stored rows to numbers: the table of metrics, distances of sets, intervals and tests. No torch."""

from cvbench.metrics.registry import (
    ALIASES,
    METRICS,
    Metric,
    Rows,
    clip_psnr,
    few,
    frame_consistency,
    frechet_infinite,
    frechet_of_sets,
    resolve,
    score,
    set_score,
    signature,
)

__all__ = [
    "ALIASES",
    "METRICS",
    "Metric",
    "Rows",
    "clip_psnr",
    "few",
    "frame_consistency",
    "frechet_infinite",
    "frechet_of_sets",
    "resolve",
    "score",
    "set_score",
    "signature",
]
