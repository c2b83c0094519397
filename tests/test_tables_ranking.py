"""Marks of tables: windows of one clip are no independent evidence, and weigh as the protocol says."""

from dataclasses import replace

import numpy as np
from conftest import PROTOCOL, in_windows, scored

from cvbench.tables.ranking import TOO_FEW, Ranked, ranks


def test_windows_of_few_clips_rank_nothing() -> None:
    good, bad = (in_windows([[30.0 + step] * 20] * 3, name) for name, step in (("good", 1), ("bad", 0)))
    assert ranks([Ranked(good, "psnr"), Ranked(bad, "psnr")]) == ([0, 0], TOO_FEW)


def test_models_that_differ_in_windows_alone_are_tied_as_their_clips_are() -> None:
    steps = np.random.default_rng(2).normal(0.4, 1, 9)
    base = in_windows([[30.0] * 20] * 9, "base")
    other = in_windows([[30.0 + step] * 20 for step in steps], "other")
    by_clip = [scored({"psnr": 30 + on * steps}, f"m{on}") for on in (0, 1)]
    assert ranks([Ranked(base, "psnr"), Ranked(other, "psnr")]) == ranks([Ranked(r, "psnr") for r in by_clip])
    assert ranks([Ranked(base, "psnr"), Ranked(other, "psnr")]).marks == [1, 1]


def test_the_best_is_best_by_the_mean_that_the_protocol_asks_for() -> None:
    """Of nine clips, one long: the other model is better on it alone."""
    clips = [[30.0]] * 8 + [[30.0] * 100], [[29.0]] * 8 + [[30.5] * 100]
    marks = {}
    for average in ("clips", "items"):
        a, b = (in_windows(side, protocol=replace(PROTOCOL, average=average)) for side in clips)
        marks[average] = ranks([Ranked(a, "psnr"), Ranked(b, "psnr")]).marks
    assert marks == {"clips": [1, 2], "items": [2, 1]}
