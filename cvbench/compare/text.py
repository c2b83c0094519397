"""Comparisons and checks as Markdown and JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from tabulate import tabulate

from cvbench.compare.finding import CheckResult, Finding, Moved, Verdict
from cvbench.compare.gate import most_moved
from cvbench.compare.paired import Comparison, MetricDifference, told
from cvbench.metrics import METRICS

COMPARED = (
    "Model", "Data", "Metric", "A", "B", "B − A", "95 %", "p", "p, Holm", "detectable", "n", "wins", "losses", "ties",
)  # fmt: skip
CAPTION = (
    "Means over the samples that A and B share. p: paired permutation test. 95 %: the differences that this test does "
    "not reject at 5 %, so 0 lies inside when p is 0.05 or more; none below six samples. p, Holm: corrected for the "
    "number of models. Detectable: the smallest true difference that such a set shows in four of five cases. Wins: "
    "samples on which B is better."
)
CHECKED = ("Verdict", "Model", "Data", "Metric", "baseline", "run", "change", "95 %", "p, Holm", "tolerance")
WORDS: dict[Verdict, str] = {
    "regression": "regressed", "incomplete": "not checked", "unproven": "worse, but perhaps by chance",
    "moved": "moved within the tolerance or by chance", "improved": "improved", "same": "unchanged",
}  # fmt: skip
SAMPLES = ("Sample", "Model", "Data", "Metric", "baseline", "run", "change")


def comparison_markdown(comparisons: Sequence[Comparison], alone: Sequence[str] = ()) -> str:
    """Return comparisons as a Markdown table, under it what differs and what could not be paired."""
    differing = [(c, found) for c in comparisons for found in c.metrics if METRICS[found.metric].ranked or found.moved]
    rows = [_compared(comparison, found) for comparison, found in differing]
    parts = [_table(COMPARED, rows, 3), CAPTION] if rows else ["Nothing to compare."]
    return "\n\n".join([*parts, *_list("Not like for like", remarks(comparisons, alone))]) + "\n"


def remarks(comparisons: Sequence[Comparison], alone: Sequence[str] = ()) -> list[str]:
    """Return in words every difference that is not one of the scores."""
    lines = list(alone)
    for comparison in comparisons:
        fields: dict[str, list[str]] = {}
        for found in comparison.metrics:
            if found.differing:
                fields.setdefault(found.differing, []).append(found.metric)
        lines += [f"{comparison.label}: {text} ({', '.join(names)})" for text, names in fields.items()]
        lines += [f"{comparison.label}: {text}" for text in told(comparison.unpaired)]
    return lines


def _compared(comparison: Comparison, found: MetricDifference) -> list[str]:
    counts = (len(found.samples), found.wins, found.losses, len(found.samples) - found.moved)
    return [
        comparison.models,
        comparison.a.data.name,
        *_values(found),
        _p(found.p),
        _p(found.corrected),
        "–" if found.detectable is None else f"{found.detectable:.2g}",
        *(map(str, counts) if found.samples else ["–"] * 4),
    ]


def _values(found: MetricDifference) -> list[str]:
    """Return metric, both values, change and interval as text; the change two digits finer than a score."""
    metric = METRICS[found.metric]
    digits = metric.digits + 2
    mean, low, high = found.change
    interval = "–" if low is None or high is None else f"{low:+.{digits}f} to {high:+.{digits}f}"
    values = (f"{value:.{metric.digits + 1}f}" for value in (found.a, found.b))
    return [f"{metric.label} {metric.arrow}", *values, f"{mean:+.{digits}f}", interval]


def _p(p: float | None) -> str:
    return "–" if p is None else f"{p:.2g}"


def check_markdown(result: CheckResult) -> str:
    """Return a check as Markdown: the outcome, what moved, what could not be checked, the samples that moved most."""
    rows = [_checked(f, d) for f in ordered(result.findings) if (d := f.difference) and f.verdict != "same"]
    moved = most_moved(result)
    other = [f for f in ordered(result.findings) if f.difference is None or f.verdict == "incomplete"]
    told_apart = [f"{f.verdict}: {place(f)}: {f.text}" for f in other if f.verdict != "same"]
    parts = [f"**{outcome(result)}**"]
    parts += ["What moved:", _table(CHECKED, rows, 4)] if rows else []
    parts += _list(
        "Collapsed", [f"{place(f)}: {', '.join(f.collapsed)}" for f in result.of("regression") if f.collapsed]
    )
    parts += _list("Beside these" if rows else "Findings", told_apart)
    parts += ["The samples that moved most:", _table(SAMPLES, list(map(_moved, moved)), 4)] if moved else []
    return "\n\n".join([*parts, *_list("Notes", result.notes)]) + "\n"


def outcome(result: CheckResult) -> str:
    """Return the result of a check in one line."""
    counts = [f"{len(found)} {word}" for verdict, word in WORDS.items() if (found := result.of(verdict))]
    head = {0: "No regression", 1: "Regression", 3: "Not everything could be checked"}[result.code]
    return f"{head}: {', '.join(counts) or 'nothing to check'}"


def place(finding: Finding) -> str:
    """Name what a finding is about."""
    what = METRICS[finding.what].label if finding.what in METRICS else finding.what
    return f"{finding.model} on {finding.data}, {what}"


def ordered(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings, the worst verdicts first."""
    return sorted(findings, key=lambda finding: get_args(Verdict).index(finding.verdict))


def _checked(finding: Finding, found: MetricDifference) -> list[str]:
    tolerance = "–" if finding.tolerance is None else f"{finding.tolerance:g}"
    return [finding.verdict, finding.model, finding.data, *_values(found), _p(found.corrected), tolerance]


def _moved(moved: Moved) -> list[str]:
    finding, sample, before, after = moved
    metric = METRICS[finding.what]
    digits = metric.digits + 2
    values = f"{before:.{digits}f}", f"{after:.{digits}f}", f"{after - before:+.{digits}f}"
    return [sample, finding.model, finding.data, f"{metric.label} {metric.arrow}", *values]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """Return a Markdown table whose first `words` columns are aligned left."""
    align = ["left"] * words + ["right"] * (len(head) - words)
    escaped = [[escape(cell) for cell in row] for row in rows]
    return tabulate(escaped, head, "pipe", colalign=align, disable_numparse=True)


def _list(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title}:", "\n".join(f"- {escape(line)}" for line in lines)] if lines else []


MARKS = {"&": "&amp;", "<": "&lt;", "|": "\\|", "`": "\\`", "*": "\\*", "[": "\\[", "\r": " ", "\n": " "}


def escape(text: str) -> str:
    """Return text so that Markdown shows it as it is, in one line."""
    return "".join(MARKS.get(c, c) for c in text)


def comparison_json(comparisons: Sequence[Comparison], alone: Sequence[str] = ()) -> str:
    """Return comparisons as strict JSON, one object each, with all that could not be paired."""
    value = {"comparisons": [_json(comparison) for comparison in comparisons], "alone": list(alone)}
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _json(comparison: Comparison) -> Mapping[str, Any]:
    a, b = (
        {"model": r.model.name, "digest": r.model.digest, "protocol": r.protocol.name}
        for r in (comparison.a, comparison.b)
    )
    return {
        "a": a,
        "b": b,
        "data": comparison.a.data.name,
        "metrics": [_json_metric(found) for found in comparison.metrics],
        "unpaired": [{"what": u.what, "kind": u.kind, "why": u.why} for u in comparison.unpaired],
    }


def _json_metric(found: MetricDifference) -> Mapping[str, Any]:
    mean, low, high = found.change
    return {
        "metric": found.metric, "a": found.a, "b": found.b, "difference": mean, "low": low, "high": high,
        "p": found.p, "p_holm": found.corrected, "detectable": found.detectable, "n": len(found.samples),
        "wins": found.wins, "losses": found.losses, "ties": len(found.samples) - found.moved,
        "differing": found.differing,
    }  # fmt: skip
