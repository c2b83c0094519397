"""What an ablation found, in words made from its numbers. No torch."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from cvbench.paper.ablation import ALPHA, Ablation, PairedTest, show_p
from cvbench.paper.read import PaperRow

VERDICTS = ("better than", "worse than", "not told apart from")
Scored = Mapping[str, float]
"""Values of the column asked about by method."""


def finding(ablation: Ablation) -> list[str]:
    """Say which row is best by the column asked about, what the reference is against each other, and the paper's order.

    Nothing where the reference, or all others, were not measured.
    """
    column = ablation.question.column
    tests = [test for test in ablation.tests if test.column is column]
    if not tests:
        return []
    found = {row.method: score.value for row in ablation.block.rows if (score := ablation.score(row, column))}
    best = _best(ablation, found)
    where = f"{column.label} on {column.heading}"
    said = f"Finding: best by {where} is {best}. At p < {ALPHA} after Holm's correction {_verdicts(ablation, tests)}."
    return [" ".join([said, *_papers_order(ablation, found)])]


def _best(ablation: Ablation, found: Scored) -> str:
    question, digits = ablation.question, ablation.question.column.info.digits
    best, reference = _in_order(ablation, found)[0], question.reference.method
    shown = f"{best} ({found[best]:.{digits}f})"
    if best == reference:
        return f"{shown}, {question.role}"
    return f"{shown}, not {question.role}, {reference} ({found[reference]:.{digits}f})"


def _in_order(ablation: Ablation, found: Scored) -> list[str]:
    """Return methods, the best first."""
    return sorted(found, key=lambda m: found[m], reverse=ablation.question.column.info.better == "higher")


def _verdicts(ablation: Ablation, tests: Sequence[PairedTest]) -> str:
    """Say of every other row what the reference is against it."""
    parts = []
    for verdict in VERDICTS:
        rows = [f"{t.row.method} ({_told(t)})" for t in tests if t.verdict == verdict]
        parts += [f"{verdict} {', '.join(rows)}"] if rows else []
    text = f"{ablation.question.reference.method} is {'; '.join(parts)}"
    tested = {test.row.method for test in tests}
    untested = [row.method for row in ablation.others if row.method not in tested]
    return f"{text}; not tested against {', '.join(untested)}" if untested else text


def _told(test: PairedTest) -> str:
    info = test.column.info
    amount = f"{abs(test.gain):.{info.digits + 1}f} {info.unit}".strip()
    side = "ahead" if test.gain >= 0 else "behind"
    by = f"{amount} {side}" if test.verdict == "not told apart from" else f"by {amount}"
    return f"{by}, p = {show_p(test.p)}".replace("= <", "< ")


def _papers_order(ablation: Ablation, found: Scored) -> list[str]:
    """Hold the order of the means against the paper's, for the rows that both have."""
    column = ablation.question.column
    position = ablation.block.columns.index(column)
    printed = {r.method: float(r.published[position]) for r in _published(ablation, found)}
    if len(printed) < 2:
        return []
    ours = _in_order(ablation, {method: found[method] for method in printed})
    theirs = _in_order(ablation, printed)
    agrees = all((printed[a] - printed[b]) * (found[a] - found[b]) >= 0 for a, b in combinations(printed, 2))
    here = "the same" if agrees else ", ".join(ours).removesuffix(".")  # of "Enc. + Dec."
    place = ablation.block.papers.get(column.data)
    where = f" on {place}" if place else ""
    return [f"Order in the paper{where}, best first: {', '.join(theirs)}; here {here}."]


def _published(ablation: Ablation, found: Scored) -> list[PaperRow]:
    return [row for row in ablation.block.rows if row.published and row.method in found]
