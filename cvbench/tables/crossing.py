"""The tables of the compat suite: what is lost when one model decodes another's latents, and what those are like."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

from cvbench.core.errors import UsageError
from cvbench.core.records import RunRecord
from cvbench.metrics import METRICS, Metric
from cvbench.metrics.pairing import Paired, paired
from cvbench.metrics.statistics import Difference
from cvbench.tables.beside import Beside
from cvbench.tables.build import build
from cvbench.tables.cells import SIGNS, Footnotes, Scores, Style, data_names, untrained
from cvbench.tables.ranking import FEWEST
from cvbench.tables.table import NOTHING, Cell, Column, Table

THRESHOLD = 0.5
"""Decibels that a compatible pair loses at most, on images and on static clips."""
VIEWS = ("images", "still", "static", "clips", "first", "average", "slice", "random")
"""What is reconstructed, in the order of the tables."""
JUDGED = ("images", "static", "still")
"""Targets on which both models see the same pixels, whatever the mapping."""
BY = "psnr"
"""The metric that compatibility is judged by."""
KINDS = {"images": "images", "static": "static clips", "still": "static clips"}
"""What a judged target is."""
VERDICT = (
    f"Comp.: {SIGNS['yes']} when decoding the other model's latents costs at most {THRESHOLD:g} dB of PSNR against "
    "decoding one's own, where both models see the same pixels: on images and on static clips, the larger loss of the "
    f"two, from at least {FEWEST} samples of each; the number is that loss. In brackets stands what it rests on, with "
    f"the number of samples. With fewer there is no sign; a larger loss is {SIGNS['no']} also where only one of the "
    f"two was measured, a smaller one {SIGNS['yes']} only where both were. Lost: mean over samples of own minus "
    "crossed, with its 95 % interval; `images` are single frames, `still` and `static` a repeated frame, the others "
    "the mapping functions of CV-VAE."
)


def lay_out(
    records: Sequence[RunRecord],
    *,
    intervals: bool = False,
    allow_mixed: bool = False,
    beside: Beside | None = None,
    percentiles: Sequence[str] = (),
) -> Table:
    """Return the table that records make: the compat suite's, else a row a model, below it where there are both.

    `beside` puts published scores beside those of the rows of models, `percentiles` stand behind these. Raises as
    `build` and `build_compat` do.
    """
    by_model = partial(build, intervals=intervals, allow_mixed=allow_mixed, beside=beside, percentiles=percentiles)
    others = [r for r in records if not _is_crossing(r)]
    if not is_compat(records):
        return by_model(records)
    if all(r.error for r in others) and percentiles:
        raise UsageError("--percentiles are of tables with a row a model; these records cross models")
    if all(r.error for r in others):
        return build_compat(records, intervals=intervals)
    table = build_compat([r for r in records if _is_crossing(r)], intervals=intervals)
    table.below.append(by_model(others))
    return table


def _is_crossing(record: RunRecord) -> bool:
    return bool(record.crossing) or record.model.role == "crossing"


def is_compat(records: Iterable[RunRecord]) -> bool:
    """Tell whether records are the compat suite's."""
    return any(record.crossing for record in records)


@dataclass(frozen=True)
class Loss:
    """A crossing beside the decoder's own reconstruction of the same targets."""

    crossed: RunRecord
    own: RunRecord

    def common(self, name: str) -> Paired | None:
        """Return own and crossed values of the common samples, on the scale on which samples are averaged."""
        if not (name in self.own.scores and name in self.crossed.scores):
            return None
        return paired(name, self.own, self.crossed)

    def of(self, name: str) -> Difference | None:
        """Return how much worse the crossing is by a metric, in the metric's unit; None without common samples."""
        if not (both := self.common(name)):
            return None
        metric, protocol = METRICS[name], self.own.protocol
        start, sign = both.means[0], 1 if metric.better == "higher" else -1
        score = metric.score(start, protocol)
        steps = both.difference()
        lost = [None if s is None else sign * (score - metric.score(start + s, protocol)) for s in steps]
        low, high = (lost[2], lost[1]) if sign > 0 else (lost[1], lost[2])
        return Difference(lost[0] or 0.0, low, high)


class Crossings:
    """The records of the compat suite by what they are."""

    def __init__(self, records: Sequence[RunRecord]) -> None:
        self.all = sorted((r for r in records if r.crossing and not r.error), key=_place)
        self.refused = sorted((r for r in records if r.error), key=lambda r: (r.model.name, r.data.name))
        self.own = {(_about(r)["decoder"], r.data.name): r for r in self.all if _is_own(r)}
        self.noisy = [record for record in self.all if _about(record)["noise"]]
        self.crossed = [r for r in self.all if _about(r)["encoder"] != _about(r)["decoder"]]

    @property
    def directions(self) -> list[tuple[str, str]]:
        """Encoder and decoder of every crossing, in order."""
        return list(dict.fromkeys((_about(r)["encoder"], _about(r)["decoder"]) for r in self.crossed))

    def losses(self, direction: tuple[str, str]) -> dict[str, Loss]:
        """Return by view what one direction loses; a video VAE's clips by the mapping their latents came through."""
        found = {}
        for record in self.crossed:
            about = _about(record)
            own = self.own.get((about["decoder"], record.data.name))
            if (about["encoder"], about["decoder"]) == direction and own:
                view = about["source"] if about["target"] == "clips" else about["target"]
                found[f"{record.data.name.rpartition(':')[0]}:{'static' if view == 'still' else view}"] = Loss(
                    record, own
                )
        return found


def build_compat(records: Sequence[RunRecord], *, intervals: bool = False) -> Table:
    """Lay out what the compat suite found: verdicts first, then the matrix, the latents, the channels.

    Raises UsageError for records of other suites.
    """
    if not is_compat(records):
        raise UsageError("these are no records of the compat suite: `cvbench run --suite compat` makes some")
    found, footnotes = Crossings(records), Footnotes()
    table = _verdicts(found, footnotes)
    below = [_matrix(found, intervals), _spaces(found), _channels(found), _codes(found)]
    table.below = [each for each in below if each.rows]
    return table


def _about(record: RunRecord) -> Mapping[str, Any]:
    return record.crossing or {}


def _place(record: RunRecord) -> tuple[str, int, str, str, str, float]:
    """Return what records are sorted by, so that a table does not depend on the order of files."""
    about = _about(record)
    data, _, view = record.data.name.rpartition(":")
    names = about["encoder"], about["decoder"], about["source"]
    return data, VIEWS.index(view.partition("-")[0]), *names, about["noise"]


def _is_own(record: RunRecord) -> bool:
    about = _about(record)
    return bool(about["encoder"] == about["decoder"] and not about["noise"])


def _verdicts(found: Crossings, footnotes: Footnotes) -> Table:
    losses = {direction: found.losses(direction) for direction in found.directions}
    views = list(dict.fromkeys(view for of_view in losses.values() for view in of_view))
    columns = [Column("", "Encoded by"), Column("", "Decoded by"), Column("", "Comp.")]
    columns += [Column("PSNR lost, dB", view, "lower") for view in views]
    rows = [
        [Cell(encoder), Cell(decoder), _verdict(of_view), *(_lost(of_view.get(view), BY) for view in views)]
        for (encoder, decoder), of_view in losses.items()
    ]
    for record in found.refused:
        encoder, _, decoder = record.model.name.partition(">")
        notes = footnotes.refer(record.error or "")
        rows.append(
            [Cell(encoder), Cell(decoder or NOTHING), Cell("refused", notes=notes), *[Cell(NOTHING)] * len(views)]
        )
    for record in found.all:
        footnotes.refer(untrained(record.model))
        for name, reason in record.unavailable.items():
            footnotes.refer(f"{METRICS[name].label}: {reason}")
        for failure in record.failures:
            footnotes.refer(f"{record.model.name} on {record.data.name}: {failure.id}: {failure.error}")
    return Table(columns, rows, footnotes.texts, [], "Compatibility of latent spaces", [VERDICT])


@dataclass(frozen=True)
class Verdict:
    """The decibels by which a direction is judged, the larger loss, and the fewest samples of each kind of target."""

    lost: float
    counts: Mapping[str, int]

    @property
    def sign(self) -> str:
        """Return ✓, × or why there is neither."""
        if min(self.counts.values()) < FEWEST:
            return "too few samples:"
        if self.lost > THRESHOLD:
            return SIGNS["no"]
        missing = [kind for kind in dict.fromkeys(KINDS.values()) if kind not in self.counts]
        return f"{' and '.join(missing)} not measured:" if missing else SIGNS["yes"]

    @property
    def text(self) -> str:
        """The verdict, its number, and what it rests on."""
        on = ", ".join(f"{kind} n = {n}" for kind, n in self.counts.items())
        return f"{self.sign} {self.lost:.2f} dB ({on})"


def verdict(losses: Mapping[str, Loss]) -> Verdict | None:
    """Return the verdict on a direction: None where neither images nor static clips were measured."""
    judged = [loss for loss in losses.values() if _about(loss.crossed)["target"] in JUDGED]
    found = [
        (KINDS[_about(o.crossed)["target"]], lost, len(both.samples))
        for o in judged
        if (both := o.common(BY)) and (lost := o.of(BY))
    ]
    counts: dict[str, int] = {}
    for kind, _, n in found:
        counts[kind] = min(n, counts.get(kind, n))
    return Verdict(max(difference.mean for _, difference, _ in found), counts) if found else None


def _verdict(losses: Mapping[str, Loss]) -> Cell:
    judged = verdict(losses)
    return Cell(judged.text, judged.lost) if judged else Cell(NOTHING)


def _lost(loss: Loss | None, name: str) -> Cell:
    difference = loss.of(name) if loss else None
    if difference is None:
        return Cell(NOTHING)
    digits = METRICS[name].digits
    text = f"{difference.mean:.{digits}f}"
    if difference.low is not None and difference.high is not None:
        text += f" [{difference.low:.{digits}f}, {difference.high:.{digits}f}]"
    return Cell(text, difference.mean, difference.low, difference.high)


def _matrix(found: Crossings, intervals: bool) -> Table:
    """Every encoder with every decoder, view by view, with what is lost by each metric."""
    records = [record for record in found.all if not _about(record)["noise"]]
    metrics = {
        name: METRICS[name] for name in METRICS if any(name in r.scores or name in r.unavailable for r in records)
    }
    footnotes = Footnotes()
    scores = Scores(records, metrics, footnotes, Style(intervals, allow_mixed=True))
    columns = [Column("", "Target"), Column("", "Encoded by"), Column("", "Decoded by")]
    for metric in metrics.values():
        columns += [Column("", metric.title, metric.better), Column("", f"{metric.label} lost")]
    rows = []
    for data in data_names(records):
        rows += [_matrix_row(record, found, metrics, scores) for record in records if record.data.name == data]
    signatures = scores.signatures()
    return Table(columns, rows, footnotes.texts, signatures, "Cross-decoding, each model against itself")


def _matrix_row(record: RunRecord, found: Crossings, metrics: Mapping[str, Metric], scores: Scores) -> list[Cell]:
    about = _about(record)
    source = about["source"] if about["source"] != about["target"] else ""
    cells = [
        Cell(record.data.name),
        Cell(f"{about['encoder']}{f' ({source})' if source else ''}"),
        Cell(about["decoder"]),
    ]
    own = found.own.get((about["decoder"], record.data.name))
    loss = Loss(record, own) if own and own is not record else None
    for name in metrics:
        cells += [scores.cell(record, name), _lost(loss, name)]
    return cells


def _spaces(found: Crossings) -> Table:
    """A row a model and view: what a diffusion config needs, dead channels, and what noise does."""
    levels = sorted({_about(record)["noise"] for record in found.noisy})
    columns = [Column("", name) for name in ("Model", "Data", "scaling_factor", "shift_factor", "KL, nats", "Dead")]
    columns += [Column("PSNR with noise, dB ↑", f"{level:g}σ", "higher") for level in [0.0, *levels] if levels]
    rows = []
    for record in found.all:
        about = _about(record)
        known = about["latents"] or {}
        if _is_own(record) and "std" in known:
            kl = [value for value in known["kl"] if value is not None]
            cells = [Cell(about["encoder"]), Cell(record.data.name), _factor(known["scaling_factor"])]
            cells += [_factor(known["shift_factor"]), _plain(fmean(kl) if kl else None, 3)]
            cells += [Cell(", ".join(map(str, known["dead"])) or "none")]
            rows.append([*cells, *(_noisy(found, record, level) for level in [0.0, *levels] if levels)])
    remark = (
        "scaling_factor and shift_factor are for a diffusion config: (z − shift) · scaling has mean 0 and standard "
        "deviation 1. KL: of each channel's Gaussian from the standard normal, mean over channels. Dead: channels with "
        "less than 1 % of the largest standard deviation. Noise: added to a clip's latents, in units of their "
        "standard deviation."
    )
    return Table(columns, rows, caption="Latent spaces", remarks=[remark])


def _noisy(found: Crossings, own: RunRecord, level: float) -> Cell:
    about = _about(own)
    same = (r for r in found.noisy if _about(r)["encoder"] == about["encoder"] and r.data.name == own.data.name)
    record = next((r for r in same if _about(r)["noise"] == level), None) if level else own
    score = record.scores.get(BY) if record else None
    return _plain(score.value if score else None, METRICS[BY].digits)


def _factor(value: float | None) -> Cell:
    return Cell(NOTHING) if value is None else Cell(f"{value:.5g}", value)


def _plain(value: float | None, digits: int) -> Cell:
    return Cell(NOTHING) if value is None else Cell(f"{value:.{digits}f}", value)


def _channels(found: Crossings) -> Table:
    """Statistics of each channel, and its correlation between two encoders."""
    lines: list[tuple[str, str, str, Sequence[float | None]]] = []
    for record in found.all:
        about = _about(record)
        known = about["latents"] or {}
        for label, key in (("mean", "mean"), ("standard deviation", "std"), ("KL, nats", "kl")):
            if key in known:
                lines.append((about["encoder"], record.data.name, label, known[key]))
        if "correlation" in known:
            label = f"correlation with {about['decoder']}"
            lines.append((about["encoder"], record.data.name, label, known["correlation"]))
    width = max((len(values) for *_, values in lines), default=0)
    columns = [Column("", "Encoder"), Column("", "Data"), Column("", "Of each channel")]
    columns += [Column("", str(channel)) for channel in range(width)]
    rows = [
        [Cell(model), Cell(data), Cell(label), *(_plain(v, 3) for v in [*values, *[None] * (width - len(values))])]
        for model, data, label, values in lines
    ]
    return Table(columns, rows, caption="Channels")


def _codes(found: Crossings) -> Table:
    columns = [Column("", name) for name in ("Model", "Data", "Codebook", "Codes seen", "Entropy, bits", "Perplexity")]
    made: list[list[Cell]] = []
    text: Callable[[float], str] = "{:,.0f}".format
    for record in found.all:
        known = _about(record)["latents"] or {}
        if "codebook" in known:
            seen, entropy = known["codes_seen"], known["entropy_bits"]
            cells = [Cell(record.model.name), Cell(record.data.name), Cell(text(known["codebook"]))]
            cells += [Cell(f"{text(seen)} ({seen / known['codebook']:.1%})", float(seen)), _plain(entropy, 2)]
            made.append([*cells, Cell(text(2**entropy), 2**entropy)])
    return Table(columns, made, caption="Use of the codebook")
