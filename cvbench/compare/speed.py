"""Speed against the baseline's, by ratio only: times of another day are worth nothing, ratios within one run are."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cvbench.compare.finding import Finding, Verdict, finding_of
from cvbench.core.records import RunRecord

Pair = tuple[RunRecord, RunRecord]
STANDARD = ("floor", "codec", "network", "reference")  # which role is timed against; the identity takes no time


def speed_findings(pairs: Sequence[Pair], factor: float, reference: str | None) -> Iterator[Finding]:
    """Yield a finding for encoding and decoding of each model: slower by more than `factor` beside one model.

    That model is `reference`, or the first of a run's floors, codecs, networks. `pairs` are baseline and run.
    """
    timed = [(old, new) for old, new in pairs if old.speed]
    if not timed and pairs:
        yield _of_all(pairs[0][0], "the baseline holds no speed; save it with --speed")
    for place in dict.fromkeys((old.data.name, old.protocol.name) for old, _ in timed):
        yield from _of_group([p for p in timed if (p[0].data.name, p[0].protocol.name) == place], factor, reference)


def _of_group(group: Sequence[Pair], factor: float, reference: str | None) -> Iterator[Finding]:
    """Yield the findings of one data set."""
    usable = [pair for pair in group if not _obstacle(*pair)]
    yield from (
        finding_of(old, "speed", "incomplete", _obstacle(old, new)) for old, new in group if _obstacle(old, new)
    )
    standard = _standard(usable, reference)
    if standard is None:
        needed = f"the model {reference}" if reference else "a second model to be timed against"
        yield _of_all(group[0][0], f"run and baseline lack the speed of {needed}")
        return
    for pair in usable:
        for side in ("encoding", "decoding") if pair is not standard else ():
            yield from _findings(side, pair, standard, factor)


def _of_all(record: RunRecord, text: str) -> Finding:
    return replace(finding_of(record, "speed", "incomplete", text), model="every model")


def _obstacle(old: RunRecord, new: RunRecord) -> str:
    """Say why two timings cannot be compared; nothing when they can."""
    if not new.speed:
        return "the run was not timed; run it with --speed"
    for key, word in (("shape", "on a clip of {}"), ("threads", "with {} threads")):
        before, after = ((r.speed or {}).get(key) for r in (old, new))
        if before != after:
            return f"timed {word.format(after)} instead of {before}"
    return ""


def _place(record: RunRecord) -> tuple[object, object]:
    speed = record.speed or {}
    return speed.get("device"), speed.get("threads")


def _standard(pairs: Sequence[Pair], reference: str | None) -> Pair | None:
    """Return baseline and run of the model that others are timed against."""
    if reference:
        return next((pair for pair in pairs if pair[0].model.name == reference), None)
    return min(pairs, key=lambda pair: STANDARD.index(pair[0].model.role)) if len(pairs) > 1 else None


def _findings(side: str, pair: Pair, standard: Pair, factor: float) -> Iterator[Finding]:
    """Yield the finding of one side; none where the model does nothing on that side, before and after."""
    old, new, standard_old, standard_new = (_milliseconds(record, side) for record in (*pair, *standard))
    beside = standard[0].model.name
    if old is None and new is None:
        return
    if any(_place(mine) != _place(theirs) for mine, theirs in zip(pair, standard, strict=True)):
        text = f"timed on another machine, or with other threads, than {beside} of the same run"
        yield finding_of(pair[0], side, "incomplete", text)
    elif old is None or new is None or standard_old is None or standard_new is None:
        yield finding_of(pair[0], side, "incomplete", f"nothing to be timed in the run, the baseline, or of {beside}")
    else:
        yield _finding(side, pair, beside, (new / standard_new) / (old / standard_old), factor)


def _finding(side: str, pair: Pair, beside: str, ratio: float, factor: float) -> Finding:
    text = f"{side} takes {ratio:.2f} times the baseline's time, beside {beside} in both (tolerance {factor:g})"
    before, after = (_place(record)[0] for record in pair)
    text += f", on {after} instead of {before}" if before != after else ""
    verdict: Verdict = "regression" if ratio > factor else "improved" if ratio < 1 / factor else "same"
    return replace(finding_of(pair[0], side, verdict, text), tolerance=factor)


def _milliseconds(record: RunRecord, side: str) -> float | None:
    """Return the time of a side, None for one that does nothing."""
    value = (record.speed or {}).get("encode_ms" if side == "encoding" else "decode_ms")
    return float(value) if value else None
