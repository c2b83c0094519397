"""Run against run: which records belong together, and Holm's correction over models."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from cvbench.compare.paired import Comparison, compare
from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.records import RunRecord
from cvbench.metrics.statistics import holm

Key = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class Matched:
    """Records paired with their counterparts, those only in a, and those only in b."""

    pairs: Sequence[tuple[RunRecord, RunRecord]]
    missing: Sequence[RunRecord]
    extra: Sequence[RunRecord]


def compare_runs(
    a: Sequence[RunRecord], b: Sequence[RunRecord] | None = None, models: Sequence[str] = ()
) -> tuple[list[Comparison], list[str]]:
    """Compare runs; return the comparisons, corrected for their number, and in words what has no counterpart.

    Two runs: every model with its namesake, or the one in `models`; of two in `models`, the first in `a` with the
    second in `b`; runs of one model each, whatever their names. One run: the first of `models` with each other; of all
    its models where none is named.
    Raises UnknownName for a model that is not there and UsageError for a request that names too few or too many.
    """
    if b is None:
        models = models or list(dict.fromkeys(record.model.name for record in a))
        if len(models) < 2:
            raise UsageError(f"one run alone needs two models to compare, here is {models[0]}: --model X --model Y")
        matches = [match(_only(a, models[0]), _only(a, other), models=False) for other in models[1:]]
    elif models:
        if len(models) > 2:
            raise UsageError(f"two runs take at most two models to compare, got {', '.join(models)}")
        matches = [match(_only(a, models[0]), _only(b, models[-1]), models=False)]
    else:
        single = len({r.model.name for r in a}) == len({r.model.name for r in b}) == 1
        matches = [match(a, b, models=not single)]
    alone = [f"{title(record)}: only in A" for m in matches for record in m.missing]
    alone += [f"{title(record)}: only in B" for m in matches for record in m.extra]
    return correct([compare(*pair) for m in matches for pair in m.pairs]), list(dict.fromkeys(alone))


def correct(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct p values for the number of models compared: Holm's rule, for each metric of each data set."""
    places: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for i, comparison in enumerate(comparisons):
        for j, found in enumerate(comparison.metrics):
            if found.p is not None:
                places.setdefault((comparison.a.data.name, found.metric), []).append((i, j))
    metrics = [list(comparison.metrics) for comparison in comparisons]
    for family in places.values():
        for (i, j), p in zip(family, holm([metrics[i][j].p or 0.0 for i, j in family]), strict=True):
            metrics[i][j] = replace(metrics[i][j], corrected=p)
    return [replace(comparison, metrics=found) for comparison, found in zip(comparisons, metrics, strict=True)]


def match(a: Sequence[RunRecord], b: Sequence[RunRecord], *, models: bool = True) -> Matched:
    """Pair records of one model, data set and protocol; of one model and data set, where each has just one left.

    Without `models` the model's name does not count. Raises UsageError when two records have one name.
    """
    ours, theirs = _index(a, models), _index(b, models)
    counterpart = {key: key for key in ours if key in theirs}
    left, right = _single(ours.keys() - theirs.keys()), _single(theirs.keys() - ours.keys())
    counterpart |= {left[short]: right[short] for short in left if short in right}
    taken = set(counterpart.values())
    return Matched(
        [(record, theirs[counterpart[key]]) for key, record in ours.items() if key in counterpart],
        [record for key, record in ours.items() if key not in counterpart],
        [record for key, record in theirs.items() if key not in taken],
    )


def _index(records: Sequence[RunRecord], models: bool) -> dict[Key, RunRecord]:
    found: dict[Key, RunRecord] = {}
    for record in records:
        init = "+random" if record.model.init == "random" else ""
        key = ((record.model.name if models else "") + init, record.data.name, record.protocol.name)
        if key in found:
            raise UsageError(f"there are two records of {title(record)}; keep one of them")
        found[key] = record
    return found


def _single(keys: set[Key]) -> dict[tuple[str, str], Key]:
    """Return those of `keys` that are the only one of their model and data set."""
    groups = [(short, list(group)) for short, group in groupby(sorted(keys), key=lambda key: (key[0], key[1]))]
    return {short: group[0] for short, group in groups if len(group) == 1}


def title(record: RunRecord) -> str:
    """Name a record: model, data set and protocol."""
    untrained = " (untrained)" if record.model.init == "random" else ""
    return f"{record.model.name}{untrained} on {record.data.name} under {record.protocol.name}"


def _only(records: Sequence[RunRecord], model: str) -> list[RunRecord]:
    found = [record for record in records if record.model.name == model]
    if not found:
        raise UnknownName("model of this run", model, {record.model.name for record in records})
    return found
