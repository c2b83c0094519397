"""Scores to cells: what a cell says, its footnotes, and whether it may stand in its column."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cvbench.core.errors import UsageError
from cvbench.core.records import Failure, ModelFacts, RunRecord, SampleRecord, Score
from cvbench.core.signature import Signature
from cvbench.metrics import METRICS, Metric
from cvbench.tables.beside import Beside
from cvbench.tables.ranking import Key, Ranked, is_paired, ranks
from cvbench.tables.table import NOTHING, Cell

NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
NOT_RUN = "not run"
FAILED = "failed"
ABSENT = {"MissingWeights": "weights missing", "BadWeights": "weights unusable"}
"""What a cell says of a model that could not run, by the record's `error_kind`."""
TOLD = {
    "available": "clips shorter than asked, their stride or length reduced by the protocol's rule",
    "interlaced": "interlaced, the fields not separated",
    "pixel_aspect": "with pixels that are not square, not stretched",
    "alpha": "transparent, shown over white",
}
"""Facts of samples that a reader of their scores must know, said of how many there are."""
ASSUMED = " assumed"
"""What the name of a colour matrix ends with that no file stated."""
SIGNS = {"yes": "✓", "no": "×"}


class SignatureMismatch(UsageError):
    """Scores that may not share a column."""


class Footnotes:
    """Footnotes, numbered in the order in which they are first needed."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def refer(self, text: str) -> tuple[int, ...]:
        """Return the number of a footnote, adding it when it is new; no number for an empty one. A long one is cut."""
        text = brief(text)
        if text and text not in self.texts:
            self.texts.append(text)
        return (self.texts.index(text) + 1,) if text else ()


LONG = 160
"""Characters of a footnote beyond which the whole stands in `cvbench show`."""
WHOLE = "… `cvbench show` has the whole."


def brief(text: str) -> str:
    """Return a footnote of a line or two, cut where a sentence or word ends."""
    if len(text) <= LONG + len(WHOLE):
        return text
    cut = text[:LONG]
    ends = [cut.rfind(sign) for sign in (". ", "; ", " (")]
    end = max(ends) if max(ends) > LONG // 4 else cut.rfind(" ")
    return f"{cut[: end if end > 0 else LONG].rstrip(' .;')}{WHOLE}"


@dataclass(frozen=True)
class Style:
    """How scores are shown: with 95 % intervals, with footnotes where signatures differ instead of refused, what was
    published beside them, and percentiles behind them.
    """

    intervals: bool = False
    allow_mixed: bool = False
    beside: Beside | None = None
    percentiles: Sequence[str] = ()


class Scores:
    """The scores of records as cells with footnotes; those of one data set and metric make a column."""

    def __init__(
        self, records: Sequence[RunRecord], metrics: Mapping[str, Metric], footnotes: Footnotes, style: Style
    ) -> None:
        self.records, self.metrics, self.footnotes, self.style = records, metrics, footnotes, style
        self.of_data = {data: [r for r in records if r.data.name == data] for data in data_names(records)}
        self.shared = {data: shared_failures(of_data) for data, of_data in self.of_data.items()}
        self.standard = {(data, name): self._standard(data, name) for data in self.of_data for name in metrics}
        self.samples = {(data, name): self._samples(data, name) for data in self.of_data for name in metrics}
        self.remarks: list[str] = []

    def column(self, records: Sequence[RunRecord | None], name: str) -> list[Cell]:
        """Return the cells of one metric, the best of them marked; None stands for a model that was not run."""
        cells = [self.cell(record, name) for record in records]
        marks, remark = ranks([self._ranked(record, name) for record in records])
        self.remarks += [remark] if remark and remark not in self.remarks else []
        return [replace(cell, rank=mark) for cell, mark in zip(cells, marks, strict=True)]

    def cell(self, record: RunRecord | None, name: str) -> Cell:
        """Return one cell. Raises SignatureMismatch for a score that was not made as the others of its column."""
        if record is None:
            return Cell(NOT_RUN)
        if record.error:
            notes = self.footnotes.refer(f"{record.model.name}: {record.error}")
            return Cell(ABSENT.get(record.error_kind, FAILED), notes=notes)
        reason = record.unavailable.get(name, "")
        notes = self.footnotes.refer(reason and f"{self.metrics[name].label}: {reason}")
        score = record.scores.get(name)
        if score is None:
            return Cell(NOTHING if reason or _is_base(record) else NOT_RUN, notes=notes)
        notes += self.footnotes.refer(score.note and f"{self.metrics[name].label} of {record.model.name}: {score.note}")
        notes += self._own_failures(record, name) + self._mixed(record, name)
        text = show(score, self.metrics[name].digits, self.style.intervals) + self._share(record, name)
        printed = self.style.beside.cell(record, name) if self.style.beside else ""
        difference = score.value - float(printed) if NUMBER.fullmatch(printed) else None
        return Cell(text, score.value, score.low, score.high, notes=notes, published=printed, difference=difference)

    def signatures(self) -> list[str]:
        """Return one line a protocol: metrics with the versions of their probes, and the data that they were scored on.

        The protocol's name says all that makes it another than its base.
        """
        lines: dict[str, dict[str, list[str]]] = {}
        for (data, name), standard in self.standard.items():
            if standard and self.metrics[name].ranked:
                n = max(r.scores[name].n for r in self.of_data[data] if name in r.scores)
                generated = f" generated={standard.generated}" if standard.generated is not None else ""
                places = lines.setdefault(f"protocol={standard.named}{generated}", {})
                places.setdefault(f"data={standard.held} n={n}", []).append(standard.head)
        return [f"{_alike(places)} {protocol}" for protocol, places in lines.items()]

    def _ranked(self, record: RunRecord | None, name: str) -> Ranked | None:
        """Return a score that competes: identity, untrained models and what is not comparable do not."""
        if record is None or name not in record.scores or not self.metrics[name].ranked:
            return None
        rivals = record.model.role != "reference" and record.model.init != "random" and not self._unlike(record, name)
        whole = is_paired(METRICS[name]) or self.standard[record.data.name, name] == record.scores[name].signature
        return Ranked(record, name) if rivals and whole else None

    def _samples(self, data: str, name: str) -> set[Key]:
        """Return the samples that any comparable model of a column has."""
        alike = [r for r in self.of_data[data] if name in r.scores and not self._unlike(r, name)]
        return set().union(*(_keys(r, name) for r in alike))

    def _share(self, record: RunRecord, name: str) -> str:
        """Say how many of a column's samples a score is of, where it is not of all."""
        everything, mine = self.samples[record.data.name, name], _keys(record, name)
        lacks = METRICS[name].task == "reconstruction" and mine and not self._unlike(record, name) and mine < everything
        return f" ({len(mine)}/{len(everything)})" if lacks else ""

    def _standard(self, data: str, name: str) -> Signature | None:
        """Return the signature that most scores of a column have; of those that are whole, where there are any."""
        scored = [r for r in self.of_data[data] if name in r.scores]
        whole = [r for r in scored if not self._lost(r)] or scored
        signatures = [r.scores[name].signature for r in whole]
        return max(signatures, key=signatures.count) if signatures else None

    def _lost(self, record: RunRecord) -> list[Failure]:
        """Return the samples that only this model failed on; unreadable ones are the data set's."""
        return [f for f in record.failures if (f.id, f.error) not in self.shared[record.data.name]]

    def _own_failures(self, record: RunRecord, name: str) -> tuple[int, ...]:
        lost = self._lost(record)
        if not lost or not self.metrics[name].ranked:
            return ()
        shown = "; ".join(f.told for f in lost[:3]) + ("; …" if len(lost) > 3 else "")
        where = f"{record.model.name} on {record.data.name}"
        return self.footnotes.refer(f"{where}: scored on {record.data.n} samples, failed on {len(lost)}: {shown}")

    def _mixed(self, record: RunRecord, name: str) -> tuple[int, ...]:
        differing = self._unlike(record, name)
        if not differing:
            return ()
        text = f"{record.model.name}, {self.metrics[name].label} on {record.data.name}: {differing}"
        if self.style.allow_mixed:
            return self.footnotes.refer(f"not comparable: {text}")
        raise SignatureMismatch(
            f"these scores may not share a column. {text}. Tabulate one protocol at a time, or pass --allow-mixed"
        )

    def _unlike(self, record: RunRecord, name: str) -> str:
        """Say in what a score's signature differs from its column's; for a model that lost samples, in what else."""
        signature = record.scores[name].signature
        standard = self.standard[record.data.name, name] or signature
        if self._lost(record):
            signature, standard = signature.without_samples(), standard.without_samples()
        return standard.difference(signature)


def _alike(places: Mapping[str, list[str]]) -> str:
    """Say what was measured where, places of the same metrics together."""
    found: dict[str, list[str]] = {}
    for place, heads in places.items():
        found.setdefault(", ".join(heads), []).append(place)
    return "; ".join(f"{heads} {' '.join(held)}" for heads, held in found.items())


def _keys(record: RunRecord, name: str) -> set[Key]:
    """Return the samples that a score is of."""
    of_sets, probe = METRICS[name].distance, METRICS[name].probe
    return {(s.id, s.sha256) for s in record.samples if of_sets or probe in s.rows}


def data_names(records: Iterable[RunRecord]) -> list[str]:
    """Return the data sets of records, in their order."""
    return list(dict.fromkeys(r.data.name for r in records))


def shared_failures(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Return the failures that all records of a data set have, in order: its unreadable samples."""
    found = [[(f.id, f.error) for f in r.failures] for r in records if r.samples]
    return [failure for failure in found[0] if all(failure in others for others in found[1:])] if found else []


def data_notes(data: str, records: Sequence[RunRecord]) -> list[str]:
    """Say what concerns a data set whatever the model: its note, unreadable files, shortened strides."""
    ran = [r for r in records if not r.error]
    if not ran:
        return []
    failed = [Failure(i, e).told for i, e in shared_failures(records)]
    shown = "; ".join(failed[:5]) + ("; …" if len(failed) > 5 else "")
    samples = {(s.id, s.sha256): s for r in ran for s in r.samples}.values()
    texts = [
        ran[0].data.note,
        f"{len(failed)} samples not scored: {shown}" if failed else "",
        *(f"{count} {told}" for fact, told in TOLD.items() if (count := sum(_is_told(s, fact) for s in samples))),
        *_matrices(samples),
    ]
    return [f"{data}: {text}" for text in texts if text]


def _is_told(sample: SampleRecord, fact: str) -> bool:
    return sample.facts.get(fact) not in (None, "", False)


def _matrices(samples: Iterable[SampleRecord]) -> Iterator[str]:
    """Say of how many samples the colour matrix was assumed, matrix by matrix."""
    named = [str(s.facts.get("matrix", "")) for s in samples]
    for matrix in dict.fromkeys(name for name in named if name.endswith(ASSUMED)):
        known = matrix.removesuffix(ASSUMED).upper().replace("BT", "BT.")
        yield f"{named.count(matrix)} without a colour matrix, {known} assumed"


def parameters(facts: ModelFacts) -> str:
    """Return the parameters of encoder and decoder in millions, "" when there are none."""
    if not facts.params or not sum(facts.params):
        return ""
    return " + ".join(map(amount, facts.params))


def amount(count: int) -> str:
    """Return a number of parameters in three digits or so."""
    if count < 10_000:
        return f"{count / 1e3:.1f}k" if count >= 1000 else str(count)
    return f"{count / 1e6:.{2 if count < 2_000_000 else 0}f}M"


def compatibility(facts: ModelFacts) -> str:
    """Return ✓, ×, or what else is known of the compatibility with an image model's latents."""
    return SIGNS.get(facts.compatible, facts.compatible)


def _is_base(record: RunRecord) -> bool:
    """Tell the row that others are held against, which has nothing to be held against itself."""
    return bool((record.generation or {}).get("base"))


def decoded(record: RunRecord) -> list[str]:
    """Say what a reader must know of samples that a generator drew and a VAE decoded."""
    made = record.generation or {}
    gate = made.get("gate") or {}
    found = [f"{record.model.name}: {gate['note']}"] if gate.get("note") else []
    if gate and not found:
        both = f"{gate['through_db']:.1f} dB, by its own encoder {gate['own_db']:.1f} dB"
        found = [f"{record.model.name}: a picture that the generator's own VAE encodes comes out at {both}"]
    if made.get("base"):
        found.append(f"PSNR, SSIM, LPIPS and Δ: against what {record.model.name} made of the same latents")
    return [*found, *(f"{record.model.name}: {note}" for note in made.get("told", ()))]


def untrained(facts: ModelFacts) -> str:
    """Return the footnote of a model without trained weights, "" for the others."""
    return "untrained: random weights, for shape and speed only" if facts.init == "random" else ""


def show(score: Score, digits: int, intervals: bool) -> str:
    """Return a score as text, with its interval when asked."""
    text = f"{score.value:.{digits}f}"
    if intervals and score.low is not None and score.high is not None:
        text += f" [{score.low:.{digits}f}, {score.high:.{digits}f}]"
    return text
