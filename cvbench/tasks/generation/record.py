"""From the rows of what was decoded to a row's record: against references, prompts, first frames, and the base VAE."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from cvbench.core.digest import digest
from cvbench.core.errors import UnsuitableInput
from cvbench.core.records import DataFacts, ModelFacts, RunRecord, SampleRecord, Score
from cvbench.core.signature import Signature
from cvbench.engine.device import now
from cvbench.engine.loop import Prepared, Rows
from cvbench.engine.measuring import is_measured
from cvbench.metrics import METRICS, Metric, frechet_of_sets, set_score
from cvbench.metrics import score as mean_score
from cvbench.metrics.registry import FEW
from cvbench.metrics.streams import Reread
from cvbench.probes import FEATURES, PROBES
from cvbench.tasks.assembly import without_features
from cvbench.tasks.generation.beside import source_of, texts_of
from cvbench.tasks.generation.decoding import ALIGNED, FIRST, Decoding, asked_frames, every
from cvbench.tasks.generation.drawing import Drawing
from cvbench.tasks.generation.gate import Gate
from cvbench.tasks.generation.rows import Decoder
from cvbench.tasks.request import environment_of
from cvbench.tasks.scoring.rows import Row
from cvbench.tasks.scoring.score import lacking
from cvbench.tasks.targets import TARGET


@dataclass(frozen=True)
class Made:
    """A sample that a row decoded: its rows, those of the base VAE's frames, those of the reference.

    Of features that sets are compared by, no more than whether there are any: `read` gives them by owner.
    """

    sample: Prepared
    rows: Rows
    base: Rows
    target: Rows
    read: Callable[[str], Rows]


class Assembly:
    """The record of one row."""

    def __init__(self, decoding: Decoding, drawing: Drawing, decoder: Decoder, gate: Gate | None) -> None:
        self.decoding, self.drawing, self.decoder, self.gate = decoding, drawing, decoder, gate
        self.probes, self.protocol = decoding.probes, decoding.protocol
        self.base = next(d for d in decoding.decoders if d.is_base)
        self.made = [made for sample in decoding.loop.samples if (made := self._made(sample)).rows]
        self.count = decoding.frames(decoder)
        self.unavailable: dict[str, str] = {}
        self.texts = texts_of(decoding)

    def _made(self, sample: Prepared) -> Made:
        of_sets = (METRICS[name].network for name in self.probes.metrics if METRICS[name].distance)
        large, read = tuple(self.probes.columns(of_sets)), partial(self._read, sample)
        owners = (self.decoder.name, self.base.name, TARGET)
        rows, base, target = (without_features(read(owner), large) for owner in owners)
        return Made(sample, rows, base, target, read)

    def _read(self, sample: Prepared, owner: str) -> Rows:
        unit = next((unit for unit in self.decoding.units(sample) if unit.owner == owner), None)
        return self.decoding.loop.rows(sample, unit) if unit else {}

    def record(self, speed: Mapping[str, Any] | None, notes: Sequence[str]) -> RunRecord:
        """Reduce the rows. The metrics of the base VAE's own row are those that compare it with something else."""
        scores = {name: found for name in self.probes.metrics if self._is_asked(name) and (found := self._score(name))}
        failures = [*self.drawing.failures(), *self._own_failures()]
        lost = f"none of {len(self.drawing.dataset.items)} samples was decoded"
        first = f": {failures[0].error}" if failures else ""
        return RunRecord(
            model=self._facts(),
            data=self._data(),
            protocol=self.protocol,
            probes={name: version for name, version in self.probes.versions.items() if version},
            scores=scores,
            samples=[self._sample(made) for made in self.made],
            failures=failures,
            unavailable=self.unavailable,
            error=None if self.made else lost + first,
            generation=self._generation(),
            speed=speed,
            environment=environment_of([made.rows for made in self.made], self.decoding.here),
            created=now(),
            notes=list(notes),
        )

    def _own_failures(self) -> list[Any]:
        """Return what this row failed on; files that cannot be read are failures of the drawing already."""
        told = {index for index, _ in self.drawing.loop.unread}
        found = [p for p in self.decoding.loop.unread if p[0] not in told]
        found += self.decoding.loop.failed.get(self.decoder.name, []) + self.decoding.loop.failed.get("", [])
        return [failure for _, failure in sorted(found, key=lambda pair: pair[0])]

    def _is_asked(self, name: str) -> bool:
        metric = METRICS[name]
        return not (self.decoder.is_base and (metric.change_of or metric.network in PROBES))

    def _facts(self) -> ModelFacts:
        vae, each = self.decoder.subject.facts, self.decoder.row.decode == "each"
        made = [self.drawing.source.key, self.decoder.digest]
        temporal = 1 if each or self.decoder.row.decode == "after" else vae.temporal
        entry = self.drawing.source.entry
        return replace(
            vae, name=self.decoder.name, digest=digest(made), about=f"{entry.about}; {vae.about}", role="network",
            temporal=vae.temporal if self.decoder.row.decode == "after" else temporal, bpp=None,
            licence=" + ".join(dict.fromkeys(filter(None, (entry.licence, vae.licence)))),
        )  # fmt: skip

    def _generation(self) -> dict[str, Any]:
        source, hashes = self.drawing.source, [self.decoding.hash(made.sample) for made in self.made]
        return {
            "generator": source.name,
            "weights": source.identity,
            "revision": source.revision,
            "settings": source.settings.as_dict(),
            **self.drawing.facts,
            "latents": digest(sorted(hashes)),
            "vae": self.decoder.subject.name,
            "decode": self.decoder.row.decode,
            "space": self.decoder.space,
            "condition": self.decoder.row.condition,
            "base": self.decoder.is_base,
            "frames": self.count,
            "told": self._told(),
            "gate": self.gate and {"own_db": self.gate.own, "through_db": self.gate.through, "note": self.gate.note},
        }

    def _told(self) -> list[str]:
        """Return what a table must say of a generator that is not the published one."""
        made, published = self.drawing.facts.get("params"), self.drawing.source.entry.params
        if not published or not made or made == published:
            return []
        return [f"not the published network: it has {made:,} parameters, {self.drawing.source.name} has {published:,}"]

    def _data(self) -> DataFacts:
        dataset, entry = self.drawing.dataset, self.drawing.source.entry
        manifest = digest([[m.sample.id, self.decoding.hash(m.sample)] for m in self.made]) if self.made else ""
        texture = "generated textures, not pictures" if entry.build.endswith(":Gaussian") else ""
        wanted = asked_frames(self.protocol)
        short = sum(1 for m in self.made if m.sample.pixels is None and 0 < m.sample.shape[0] < wanted)
        told = f"{short} clips shorter than {self.protocol.frames} frames" if short and not self._still else ""
        limited = "**under-sampled**: a trial" if self.decoding.request.limit and len(self.made) < FEW else ""
        note = "; ".join(filter(None, (dataset.note, limited, texture, told)))
        return DataFacts(dataset.name, manifest, len(self.made), note)

    @property
    def _still(self) -> bool:
        return self.drawing.source.entry.task == "t2i"

    def _sample(self, made: Made) -> SampleRecord:
        """Keep rows of single samples: of pairs, and what was derived from features."""
        found: dict[str, Row | None] = {name: made.rows.get(self.probes.column(name)) for name in self._pairs()}
        for name in self.probes.metrics:
            if METRICS[name].features and self._is_asked(name):
                found[METRICS[name].probe] = self._derived(METRICS[name], made)
        numbers = {k: row for k, row in found.items() if isinstance(row, np.ndarray) and is_measured(row) and row.size}
        rows = {name: row.tolist() for name, row in numbers.items()}
        height, width = self.decoding.size
        facts = {"latents": self.decoding.hash(made.sample), **made.sample.facts}
        return SampleRecord(made.sample.id, self.count, height, width, self._content(made), facts, rows)

    def _content(self, made: Made) -> str:
        """Return what a sample is known by in comparisons: the latents, which all rows share."""
        return self.decoding.hash(made.sample)

    def _pairs(self) -> list[str]:
        return [] if self.decoder.is_base else [name for name in self.probes.names if name in PROBES]

    # scores

    def _score(self, name: str) -> Score | None:
        return self._of_sets(name) if METRICS[name].distance else self._of_samples(name)

    def _of_sets(self, name: str) -> Score | None:
        """Compare what was decoded with the reference at as many frames, both sorted by content."""
        metric = METRICS[name]
        column = self.probes.column(metric.network)
        step = self.decoding.step(self.decoding.frames(self.base) if metric.aligned else self.count)
        ours, reference = (ALIGNED if metric.aligned else "") + column, every(step) + column
        mine = [(m, self._row(m.rows, ours, metric.network)) for m in self.made]
        theirs = [(m, self._row(m.target, reference, metric.network)) for m in self.made]
        mine.sort(key=lambda pair: self.decoding.hash(pair[0].sample))
        theirs.sort(key=lambda pair: pair[0].sample.sha256)
        lacks = [f for side, what in ((mine, "generated"), (theirs, "reference")) for f in _lacking(side, what)]
        if lacks:
            self.unavailable[name] = "; ".join(dict.fromkeys(lacks))
        x = [partial(_feature, m, self.decoder.name, ours) for m, row in mine if not isinstance(row, str)]
        y = [partial(_feature, m, TARGET, reference) for m, row in theirs if not isinstance(row, str)]
        if not (x and y):
            return None
        contents = sorted(m.sample.sha256 for m, row in theirs if not isinstance(row, str))
        counted = len(x) if metric.distance is frechet_of_sets else None
        signature = self._signature(name, self.decoding.dataset.name, contents, counted)
        try:
            found = set_score(name, Reread(x), Reread(y), signature)
        except UnsuitableInput as error:
            self.unavailable[name] = str(error)
            return None
        return replace(found, note="; ".join(filter(None, (found.note, self._frames_note(metric, step)))))

    def _frames_note(self, metric: Metric, step: int) -> str:
        """Say what was compared with what, of videos."""
        if self._still or FEATURES[metric.network].per == "frame":
            return ""
        mine = self.decoding.frames(self.base) if metric.aligned else self.count
        theirs = len(range(0, asked_frames(self.protocol), step))
        return f"{mine} frames against {theirs} of the reference, every {step}" if mine != theirs or step > 1 else ""

    def _of_samples(self, name: str) -> Score | None:
        """Average a metric of single samples."""
        metric = METRICS[name]
        found = [(m, self._derived(metric, m) if metric.features else self._pair(metric, m)) for m in self.made]
        if lacks := _lacking(found, "generated"):
            self.unavailable[name] = "; ".join(lacks)
        rows = [(m, row) for m, row in found if not isinstance(row, str)]
        if not rows:
            return None
        contents = sorted(self.decoding.hash(m.sample) for m, _ in rows)
        beside_base = metric.change_of or not metric.features
        if beside_base:  # two VAEs of one name are two references
            contents.append(self.base.subject.facts.digest)
        where = self.base.name if beside_base else source_of(metric).partner.replace(" ", "-")
        signature = self._signature(name, where or "-", contents, None)
        return mean_score(name, [row for _, row in rows], self.protocol, signature)

    def _pair(self, metric: Metric, made: Made) -> Row:
        return self._row(made.rows, self.probes.column(metric.probe), metric.probe)

    def _derived(self, metric: Metric, made: Made) -> Row:
        """Return a sample's row of a metric that features and a partner give; of a change, the difference of means."""
        if not metric.change_of:
            return self._one(metric, made.rows, made)
        both = [self._one(METRICS[metric.change_of], rows, made) for rows in (made.rows, made.base)]
        reason = next((row for row in both if isinstance(row, str)), None)
        return reason if reason is not None else np.array([np.mean(both[0]) - np.mean(both[1])])  # type: ignore[arg-type]

    def _one(self, metric: Metric, rows: Rows, made: Made) -> Row:
        features = self._row(rows, self.probes.column(metric.network), metric.network)
        partner = self._partner(metric, made)
        for found in (features, partner):
            if isinstance(found, str):
                return found
        if metric.derive is None or isinstance(features, str) or isinstance(partner, str):
            return "not measured"
        try:
            return metric.derive(features, partner)
        except UnsuitableInput as error:
            return str(error)

    def _partner(self, metric: Metric, made: Made) -> Row | None:
        if metric.partner == "prompt":
            caption = made.sample.item.caption
            return self.texts.get(caption, self._reason(metric.network)) if caption else "has no prompt"
        if metric.partner == "first frame":
            return self._row(made.target, FIRST + self.probes.column(metric.network), metric.network)
        return None

    def _row(self, rows: Rows, column: str, probe: str) -> Row:
        row = rows.get(column)
        if row is None:
            return self._reason(probe)
        return row if is_measured(row) else str(row)

    def _reason(self, probe: str) -> str:
        return self.probes.reasons.get(probe, "not measured")

    def _signature(self, name: str, data: str, contents: Sequence[str], counted: int | None) -> Signature:
        version = self.probes.versions[METRICS[name].network]
        return Signature(name, version, data, digest(list(contents)), self.protocol, counted)


def _lacking(found: Sequence[tuple[Made, Row]], what: str) -> list[str]:
    return lacking([(made.sample, row) for made, row in found], what)


def _feature(made: Made, owner: str, column: str) -> np.ndarray:
    return made.read(owner)[column]
