"""Two records in words: in what they differ, and what of their difference a walk between their protocols leaves."""

from collections.abc import Sequence

from cvbench.compare.walk_text import digits
from cvbench.compare.walked import Walked
from cvbench.core.records import RunRecord
from cvbench.core.walk import differing
from cvbench.metrics.registry import meant

Pair = tuple[RunRecord, RunRecord]


def of_records(ours: Sequence[RunRecord], theirs: Sequence[RunRecord]) -> Pair:
    """Return the first pair of one model on one data set; else the first of each. Raises UsageError for none."""
    alike = [(a, b) for a in ours for b in theirs if (a.model.name, a.data.name) == (b.model.name, b.data.name)]
    return alike[0] if alike else (ours[0], theirs[0])


def said(a: RunRecord, b: RunRecord) -> list[str]:
    """Return in words all in which two records differ, and their scores."""
    found = {
        "model": (a.model.name, b.model.name), "weights and code": (a.model.digest[:12], b.model.digest[:12]),
        "data": (f"{a.data.name}#{a.data.manifest[:12]}", f"{b.data.name}#{b.data.manifest[:12]}"),
        "samples": (a.data.n, b.data.n),
        **{f"probe {n}": (a.probes.get(n), b.probes.get(n)) for n in dict.fromkeys([*a.probes, *b.probes])},
        **{n: (a.environment.get(n), b.environment.get(n)) for n in dict.fromkeys([*a.environment, *b.environment])},
    }  # fmt: skip
    lines = [f"- {what}: {old} → {new}" for what, (old, new) in found.items() if old != new]
    fields = differing(a.protocol, b.protocol)
    lines += [f"- protocol, {name}: {getattr(a.protocol, name)} → {getattr(b.protocol, name)}" for name in fields]
    scores = [f"- {n}: {a.scores[n].value:.4f} → {b.scores[n].value:.4f}" for n in a.scores if n in b.scores]
    head = f"{a.model.name} on {a.data.name}, what differs between the records:"
    return [head, *(lines or ["- nothing"]), "", "Their scores:", *(scores or ["- none in both"]), ""]


def left_over(walk: Walked, a: RunRecord, b: RunRecord) -> list[str]:
    """Say of each metric what of two records' difference their protocols do not explain."""
    words = []
    for name in walk.metrics:
        ours, theirs = (record.scores.get(meant(name, record.protocol)) for record in (a, b))
        total, places = (None if walk.error else walk.total(name)), digits(name) + 1
        if ours is None or theirs is None or total is None:
            continue
        whole, start = theirs.value - ours.value, walk.start.by_metric[name].value or 0.0
        rest = f"the rest, {whole - total:+z.{places}f}, is not of the protocol (model, weights, data or versions)"
        words.append(
            f"{name.upper()}: the records differ by {whole:+z.{places}f}, the walk by {total:+z.{places}f}; {rest}"
        )
        if f"{start:.{places}f}" != f"{ours.value:.{places}f}":
            words.append(
                f"{name.upper()}: the walk begins at {start:.{places}f}, and the record of A says"
                f" {ours.value:.{places}f}: --data, weights or versions are not those of the record"
            )
    return words
