"""The regression gate: a run against a stored baseline, and what of it got worse."""

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cvbench.compare.collapse import collapsed
from cvbench.compare.finding import CheckResult, Finding, Moved, Verdict, finding_of
from cvbench.compare.paired import RESAMPLES, Comparison, MetricDifference, Unpaired, compare, some, told
from cvbench.compare.runs import match, title
from cvbench.compare.speed import speed_findings
from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.records import RunRecord
from cvbench.metrics import METRICS
from cvbench.metrics.statistics import EXACT, Difference, holm, paired_permutation

ALPHA = 0.01  # two-sided and over all tests of a check: noise of any size raises a false alarm once in 200 checks
TOLERANCES = {name: metric.tolerance for name, metric in METRICS.items() if metric.tolerance is not None}
"""How much worse a score may become, in its own unit; one that is not named: by a hundredth of its stored value."""
SPEED = "speed"
UNMOVED = 1e-3
"""Share of its tolerance up to which a score, of a set or of one sample, has not moved: other machines round so."""


def check(
    run: Sequence[RunRecord],
    baseline: Sequence[RunRecord],
    tolerance: Mapping[str, float] | None = None,
    reference: str | None = None,
) -> CheckResult:
    """Check a run against a baseline.

    A score regressed when its mean over the shared samples is worse by more than the metric's tolerance and the
    paired permutation test, corrected by Holm's rule over all tests of the check, gives p < 0.01, or when samples
    collapsed (`cvbench.compare.collapse`), whatever the mean. A model that no longer runs, or fails on samples that it
    coded before, regressed too. A score that cannot be compared like for like is incomplete, and so is one that got
    worse on a set too small for the test. What moved by less than a thousandth of the tolerance has not moved.
    `tolerance` overrides `TOLERANCES`; with "speed" it holds a factor too, by which encoding and decoding may become
    slower beside the model `reference` (default: a built-in floor or codec) of the same run.
    """
    allowed = {**TOLERANCES, **(tolerance or {})}
    matched = match(baseline, run)
    compared = [compare(old, new) for old, new in matched.pairs]
    comparisons = _corrected([replace(c, metrics=[_settled(d, allowed) for d in c.metrics]) for c in compared], allowed)
    tests = sum(d.has_moved for c in comparisons for d in c.metrics)
    findings = [f for c in comparisons for f in _findings(c, allowed, tests)]
    findings += [finding_of(old, "record", "incomplete", "the run has no such record") for old in matched.missing]
    if SPEED in allowed:
        findings += speed_findings(matched.pairs, allowed[SPEED], reference)
    notes = [f"{title(record)}: not in the baseline" for record in matched.extra]
    notes += [note for c in comparisons for note in _notes(c)]
    return CheckResult(findings, list(dict.fromkeys(notes)), max((r.created for r in run), default=""))


def _settled(found: MetricDifference, allowed: Mapping[str, float]) -> MetricDifference:
    """Return a difference in which what moved less than the floor has not moved at all."""
    floor = UNMOVED * tolerance_of(found, allowed)
    still = np.abs(found.after - found.before) <= floor
    if still.all() and abs(found.change.mean) <= floor:
        return replace(found, after=found.before, steps=0 * found.steps, change=Difference(0.0, 0.0, 0.0), p=1.0)
    if not (still & (found.steps != 0)).any():
        return found
    steps = np.where(still, 0.0, found.steps)
    p = paired_permutation(steps, 0 * steps, found.sources, RESAMPLES)
    return replace(found, after=np.where(still, found.before, found.after), steps=steps, p=p)


def _corrected(comparisons: Sequence[Comparison], allowed: Mapping[str, float]) -> list[Comparison]:
    """Correct p over all scores that moved at all: one that did not can raise no alarm (Tarone, Biometrics 46:515)."""
    moved = [d for c in comparisons for d in c.metrics if d.p is not None and d.has_moved]
    draws = max(RESAMPLES, math.ceil(2 * len(moved) / ALPHA))
    corrected = holm([_refined(d, allowed, draws) for d in moved])
    known = {id(d): p for d, p in zip(moved, corrected, strict=True)}
    return [replace(c, metrics=[replace(d, corrected=known.get(id(d), d.p)) for d in c.metrics]) for c in comparisons]


def _refined(found: MetricDifference, allowed: Mapping[str, float], draws: int) -> float:
    """Return p, from more draws where many tests ask for a smaller one and it matters."""
    if draws > RESAMPLES and len(set(found.clips)) > EXACT and _is_worse(found, allowed):
        return paired_permutation(found.steps, 0 * found.steps, found.sources, draws)
    return 1.0 if found.p is None else found.p


def _is_worse(found: MetricDifference, allowed: Mapping[str, float]) -> bool:
    return -found.gain > tolerance_of(found, allowed) * (1 + 1e-9)


def tolerance_of(found: MetricDifference, allowed: Mapping[str, float]) -> float:
    """Return how much worse a score may become."""
    return allowed.get(found.metric, abs(found.a) / 100)


def _findings(comparison: Comparison, allowed: Mapping[str, float], tests: int) -> Iterator[Finding]:
    """Yield a finding for each metric, and one for each kind of thing that the run lacks."""
    old = comparison.a
    for found in comparison.metrics:
        tolerance = tolerance_of(found, allowed)
        fallen = _fallen(found, allowed, tests)
        verdict, text = _judge(found, allowed, tests, fallen)
        finding = finding_of(old, found.metric, verdict, text)
        yield replace(finding, tolerance=tolerance, difference=found, collapsed=fallen)
    yield from _own_failures(comparison)
    lacking = [u for u in comparison.unpaired if u.kind != "extra" and not u.own]
    for what in dict.fromkeys(map(_place, lacking)):
        text = "; ".join(told([u for u in lacking if _place(u) == what]))
        yield finding_of(old, what, "incomplete", text)


def _own_failures(comparison: Comparison) -> Iterator[Finding]:
    """Yield what the model itself no longer does: run at all, or code samples that it coded before."""
    old, new = comparison.a, comparison.b
    lost = [u for u in comparison.unpaired if u.own]
    if lost and new.error:
        yield finding_of(old, "record", "regression", f"no longer runs: {new.error}")
    elif lost:
        text = f"fails on {len(lost)} of {len(old.samples)} samples that it coded before"
        yield finding_of(old, "samples", "regression", f"{text}: {'; '.join(told(lost))}")


def _place(unpaired: Unpaired) -> str:
    return f"{unpaired.metric}, samples" if unpaired.metric and unpaired.sample else unpaired.metric or "samples"


def _judge(
    found: MetricDifference, allowed: Mapping[str, float], tests: int, fallen: Sequence[str]
) -> tuple[Verdict, str]:
    """Return the verdict on a metric and what is to be said of it."""
    tolerance = tolerance_of(found, allowed)
    if found.differing:
        return "incomplete", f"not like for like: {found.differing}"
    if not found.has_moved:
        return "same", "unchanged"
    worse, text = _is_worse(found, allowed), _sentence(found, tolerance)
    real = found.corrected is not None and found.corrected < ALPHA
    if fallen or (worse and real):
        return "regression", text + (f"; collapsed: {some(fallen)}" if fallen else "")
    if not worse:
        return "improved" if real and found.gain > tolerance else "moved", text
    if found.p is None:
        return "incomplete", f"{text}: a score without interval cannot tell chance from change; raise its tolerance"
    if found.samples and _least_p(_carrying(found, tolerance)) * tests >= ALPHA:
        return "incomplete", f"{text}: too few samples to tell chance from change; check on more"
    return "unproven", text


def _fallen(found: MetricDifference, allowed: Mapping[str, float], tests: int) -> list[str]:
    """Name the samples that collapsed, the worst first."""
    digits = METRICS[found.metric].digits
    fallen = collapsed(found.worse, tolerance_of(found, allowed), tests, beyond=_is_worse(found, allowed))
    return [f"{found.samples[i]} ({found.before[i]:.{digits}f} → {found.after[i]:.{digits}f})" for i in fallen]


def _carrying(found: MetricDifference, tolerance: float) -> int:
    """Return how many clips got worse beyond the tolerance, where none got better by as much: they carry the mean."""
    carry = found.worse > tolerance if (found.worse >= -tolerance).all() else found.after != found.before
    return len({clip for clip, moved in zip(found.clips, carry, strict=True) if moved})


def _least_p(moved: int) -> float:
    """Return the smallest p that a change of this many clips can have."""
    return 2.0 ** (1 - moved)


def _sentence(found: MetricDifference, tolerance: float) -> str:
    metric, digits = METRICS[found.metric], METRICS[found.metric].digits + 2
    rose = "rose" if found.b > found.a else "fell"
    by = f"{abs(found.change.mean):.{digits}f} {metric.unit}".strip()
    p = "–" if found.corrected is None else f"{found.corrected:.2g}"
    n = f", {found.moved} of {len(found.samples)} samples moved" if found.samples else ""
    values = f"from {found.a:.{digits}f} to {found.b:.{digits}f}"
    return f"{metric.label} {rose} by {by}, {values} (tolerance {tolerance:g}, p = {p}{n})"


def _notes(comparison: Comparison) -> Iterator[str]:
    """Say what differs without being a score."""
    old, new = comparison.a, comparison.b
    if old.model.digest != new.model.digest:
        yield f"{old.model.name}: its code, options or weights are not the baseline's"
    keys = [k for k in old.environment if k in new.environment and old.environment[k] != new.environment[k]]
    if keys:
        yield "environment: " + ", ".join(f"{k} {new.environment[k]} instead of {old.environment[k]}" for k in keys)
    for text in told([u for u in comparison.unpaired if u.kind == "extra"]):
        yield f"{comparison.label}: {text}"
    for metric, why in new.unavailable.items():
        if metric not in old.scores and metric not in new.scores:
            yield f"{metric} on {new.data.name}: in neither ({why})"
    scored = {s.id for s in old.samples}
    for failure in new.failures:
        if failure.id not in scored:
            yield f"{new.data.name}: {failure.id} scored in neither ({failure.error})"


def most_moved(result: CheckResult, count: int = 10) -> list[Moved]:
    """Return the samples that moved most, whatever the direction, in units of each metric's default tolerance."""
    moved = (
        (abs(after - before) / _unit(d), Moved(f, sample, float(before), float(after)))
        for f in result.findings
        if (d := f.difference) is not None and d.moved
        for sample, before, after in zip(d.samples, d.before, d.after, strict=True)
        if abs(after - before) > UNMOVED * tolerance_of(d, TOLERANCES)
    )
    return [item for _, item in heapq.nlargest(count, moved, key=lambda pair: pair[0])]


def _unit(found: MetricDifference) -> float:
    return tolerance_of(found, TOLERANCES) or 1.0


def parse_tolerances(texts: Sequence[str]) -> dict[str, float]:
    """Read METRIC=VALUE: `psnr=0.05` in the metric's unit, `lpips` for both nets, `speed=1.2` as a factor.

    Raises UsageError for anything else, UnknownName for an unknown metric.
    """
    tolerances: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--tolerance takes METRIC=VALUE, as psnr=0.05, got {text!r}")
        names = [m for m in METRICS if m.startswith("lpips-")] if name == "lpips" else [name]
        if names[0] not in {*METRICS, SPEED}:
            raise UnknownName("metric", name, [*METRICS, "lpips", SPEED])
        tolerances.update(dict.fromkeys(names, _tolerance(name, value)))
    return tolerances


def _tolerance(name: str, text: str) -> float:
    least = 1.0 if name == SPEED else 0.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value >= least and math.isfinite(value)):
        raise UsageError(f"--tolerance {name}={text}: it takes a number from {least:g} upwards")
    return value
