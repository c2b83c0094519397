"""From generated samples to their record: rows are found or measured, paired, and reduced to scores."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack

from cvbench.core.config import load_config
from cvbench.core.digest import digest
from cvbench.core.errors import UnsuitableInput
from cvbench.core.fields import refuse_undone
from cvbench.core.protocol import PROTOCOLS, EvalProtocol, derive
from cvbench.core.protocol import protocol as named_protocol
from cvbench.core.records import DataFacts, Failure, ModelFacts, RunRecord, SampleRecord, Score
from cvbench.core.signature import Signature
from cvbench.data import DATASETS
from cvbench.engine.device import environment, now, pick_device
from cvbench.engine.loop import Prepared, Progress, silent
from cvbench.engine.measuring import Probes
from cvbench.engine.ranks import current
from cvbench.engine.subject import Init
from cvbench.metrics import METRICS, Metric, frechet_of_sets, set_score
from cvbench.metrics import resolve as resolve_metrics
from cvbench.metrics import score as mean_score
from cvbench.metrics.streams import Reread
from cvbench.probes import FEATURES, known_weights
from cvbench.store import FileStore, Store
from cvbench.tasks.scoring.partners import Held, held_against, leave_texts
from cvbench.tasks.scoring.rows import Row, Samples
from cvbench.tasks.scoring.sets import Compared, Prompts, check, open_all

PROTOCOL = derive(PROTOCOLS["cvbench-1"], ["frames=16"])
"""16 frames, on which FVD is mostly quoted."""
UNDONE = {"window": 0, "padding": "replicate", "remap": "none", "through_side": "both"}
"""Fields of a model's reconstructions, by the one value that holds where there is none."""
SHOWN = 3  # names and reasons of one kind that a record spells out


class Options(TypedDict, total=False):
    """What `score` takes by name; the defaults stand in `measure`."""

    limit: int | None
    device: str
    weights: Mapping[str, Path] | None
    init: Init
    progress: Progress
    store: Store | None
    workers: int


def score(
    generated: str | Path,
    reference: str | Path | None = None,
    metrics: Sequence[str] = ("fvd", "kvd"),
    prompts: Prompts | None = None,
    first_frames: str | Path | None = None,
    protocol: EvalProtocol | str = PROTOCOL,
    **options: Unpack[Options],
) -> RunRecord:
    """Measure generated pictures or videos: a folder, a CSV file (path, prompt, first_frame), or NAME=either.

    Sets are compared with `reference` (a path or a named data set); prompts and first frames belong to a sample by
    its file name. The record's model is the generated set, its data the reference. Nothing is written but cached
    rows, so that a second call builds no network. `init` "random" draws the networks with the protocol's seed.

    What fails is in the record: samples under `failures`, metrics under `unavailable`. Raises UsageError and
    UnknownName for a wrong request.
    """
    return measure(generated, reference, metrics, prompts, first_frames, protocol, **options).record()


def measure(
    generated: str | Path,
    reference: str | Path | None,
    metrics: Sequence[str],
    prompts: Prompts | None,
    first_frames: str | Path | None,
    protocol: EvalProtocol | str,
    *,
    limit: int | None = None,
    device: str = "auto",
    weights: Mapping[str, Path] | None = None,
    init: Init = "weights",
    progress: Progress = silent,
    store: Store | None = None,
    workers: int = 0,
) -> "Scoring":
    """Measure as `score` does, and reduce nothing yet: only the first of several processes has all that it takes."""
    chosen = named_protocol(protocol) if isinstance(protocol, str) else protocol
    config = load_config(Path.cwd(), DATASETS, known_weights())
    names = resolve_metrics(metrics, chosen, "generation")
    refuse_undone(chosen, UNDONE, "samples of sets")
    spec, target, frames = (str(given) if given else None for given in (generated, reference, first_frames))
    compared = open_all(spec or "", target, prompts, frames, config.data, limit, chosen.reader)
    check(names, compared)
    probes = Probes(names, pick_device(device), {**config.weights, **(weights or {})}, init, chosen.seed)
    return Scoring(compared, chosen, probes, store or FileStore(), progress, workers)


class Scoring:
    """One generated set on its way to a record."""

    def __init__(
        self,
        compared: Compared,
        protocol: EvalProtocol,
        probes: Probes,
        store: Store,
        progress: Progress,
        workers: int = 0,
    ) -> None:
        self.compared, self.protocol, self.probes = compared, protocol, probes
        of_sets = list(dict.fromkeys(METRICS[m].network for m in probes.metrics if METRICS[m].distance))
        target = compared.reference.items if compared.reference and of_sets else ()
        self.generated = Samples(compared.generated.items, protocol, probes.names, probes, store)
        self.reference = Samples(target, protocol, of_sets, probes, store)
        self.generated.loop.workers = self.reference.loop.workers = workers
        kinds = dict.fromkeys(METRICS[m].partner for m in probes.metrics)
        if "prompt" in kinds and compared.prompts:
            self.generated.loop.leave = partial(leave_texts, compared.prompts, self.generated)
        self.generated.measure(compared.generated.name, progress)
        if compared.reference and target:
            self.reference.measure(f"reference {compared.reference.name}", progress)
        self.held: dict[str, Held] = {kind: held_against(kind, compared, self.generated, progress) for kind in kinds}
        derived = [METRICS[m] for m in probes.metrics if METRICS[m].derive and current().assembles]
        self.derived = {metric.probe: self._derive(metric) for metric in derived}
        self.unavailable: dict[str, str] = {}

    def record(self) -> RunRecord:
        """Reduce the rows."""
        clips, name = self.generated.prepared, self.compared.generated.name
        scores = {m: found for m in self.probes.metrics if (found := self._score(m))}
        lost = f"none of {len(self.generated.items)} samples of {name} could be read"
        failures = self._failures()
        return RunRecord(
            model=ModelFacts(name, digest(content(clips)), about="generated samples", init=self.probes.init),
            data=self._data(),
            protocol=self.protocol,
            probes={name: version for name, version in self.probes.versions.items() if version},
            scores=scores,
            samples=[self._sample(clip) for clip in clips],
            failures=failures,
            unavailable=self.unavailable,
            error=None if clips else f"{lost}: {failures[0].error}",
            environment=environment(self.probes.device),
            created=now(),
        )

    def _derive(self, metric: Metric) -> dict[int, Row]:
        """Return by sample the rows of a metric of single samples, or why there are none."""
        return {clip.index: self._derive_one(metric, clip) for clip in self.generated.prepared}

    def _derive_one(self, metric: Metric, clip: Prepared) -> Row:
        features = self.generated.rows(clip, metric.network)
        partner = self.held[metric.partner].rows.get(clip.index) if metric.partner else None
        for found in (features, partner):
            if isinstance(found, str):
                return found
        if metric.derive is None or isinstance(features, str) or isinstance(partner, str):
            return "not measured"
        try:
            return metric.derive(features, partner)
        except UnsuitableInput as error:
            return str(error)

    def _score(self, name: str) -> Score | None:
        return self._of_sets(name) if METRICS[name].distance else self._of_samples(name)

    def _of_sets(self, name: str) -> Score | None:
        """Compare the sets, sorted by content: files may be named and ordered as they like."""
        network = METRICS[name].network
        sides = self.generated, self.reference
        mine, theirs = (sorted_rows(side, network) for side in sides)
        lacks = [*lacking(mine, "generated"), *lacking(theirs, "reference")]
        if lacks:
            self.unavailable[name] = "; ".join(dict.fromkeys(lacks))
        x, y = ([clip for clip, row in side if not isinstance(row, str)] for side in (mine, theirs))
        if not (x and y):
            return None
        text = self._signature(name, "reference", content(y), len(x))
        try:
            a, b = (Reread([partial(side.rows, c, network) for c in z]) for side, z in zip(sides, (x, y), strict=True))
            found = set_score(name, a, b, text, ([clip.clip for clip in x], [clip.clip for clip in y]))
        except UnsuitableInput as error:
            self.unavailable[name] = str(error)
            return None
        unlike = shapes_differ(x, y, still=FEATURES[network].per == "frame")
        return replace(found, note="; ".join(filter(None, (found.note, unlike))))

    def _of_samples(self, name: str) -> Score | None:
        """Average a metric of single samples."""
        metric = METRICS[name]
        found = [(clip, self.derived[metric.probe][clip.index]) for clip in self.generated.prepared]
        if lacks := lacking(found, "generated"):
            self.unavailable[name] = "; ".join(lacks)
        rows = {clip.index: row for clip, row in found if not isinstance(row, str)}
        if not rows:
            return None
        partners = self.held[metric.partner].contents if metric.partner else {}
        text = self._signature(name, metric.partner, sorted(partners[i] for i in rows if i in partners), len(rows))
        clips = [clip.clip for clip, row in found if not isinstance(row, str)]
        return mean_score(name, list(rows.values()), self.protocol, text, clips)

    def _signature(self, name: str, kind: str, contents: Sequence[str], n: int) -> Signature:
        """Say what must agree; of a distance that is biased by the number of samples, that number too."""
        metric, reference = METRICS[name], self.compared.reference
        source = reference.name if kind == "reference" and reference else kind.replace(" ", "-") + "s" if kind else "-"
        manifest = digest(contents) if contents else ""
        counted = n if metric.distance is frechet_of_sets else None
        return Signature(name, self.probes.versions[metric.network], source, manifest, self.protocol, counted)

    def _sample(self, clip: Prepared) -> SampleRecord:
        found = {probe: rows[clip.index] for probe, rows in self.derived.items()}
        rows = {probe: row.tolist() for probe, row in found.items() if not isinstance(row, str)}
        return SampleRecord(clip.item.id, *clip.shape, clip.sha256, clip.facts, rows)

    def _data(self) -> DataFacts:
        """Describe the reference; where there is none or none was measured, what samples were held against."""
        reference, clips = self.compared.reference, self.reference.prepared
        sources = [p.where for p in (self.compared.prompts, self.compared.first_frames) if p]
        name = reference.name if reference else next(iter(sources), "no reference")
        contents = content(clips) or sorted(c for held in self.held.values() for c in held.contents.values())
        return DataFacts(name, digest(contents), len(clips) or len(self.generated.prepared), self._note())

    def _note(self) -> str:
        drawn = f"the metrics' networks are drawn at random (seed {self.probes.seed}): the numbers mean nothing"
        said = [drawn] if self.probes.init == "random" else []
        said += [self.compared.reference.note] if self.compared.reference else []
        said += [f"generated: {self.compared.generated.note}"] if self.compared.generated.note else []
        for partners in self.compared.given if self.compared.limit is None else ():
            if alone := partners.unused():
                what = f"{partners.what}s of {partners.where}"
                said.append(f"{what} that belong to no generated sample: {len(alone)} ({few(alone)})")
        return "; ".join(filter(None, said))

    def _failures(self) -> list[Failure]:
        """Name all that is missing from a score: generated samples first, in their order."""
        mine = self.generated.failed + [pair for kind in self.held for pair in self._unpaired(kind)]
        found = [failure for _, failure in sorted(mine, key=lambda pair: pair[0])]
        found += [Failure(f"reference: {f.id}", f.error) for _, f in sorted(self.reference.failed, key=lambda p: p[0])]
        return found + [failure for held in self.held.values() for failure in held.failures]

    def _unpaired(self, kind: str) -> list[tuple[int, Failure]]:
        """Say of each sample without a partner which metrics it is missing from."""
        left_out = ", ".join(m for m in self.probes.metrics if METRICS[m].partner == kind)
        return [(index, Failure(f.id, f"{left_out}: {f.error}")) for index, f in self.held[kind].unpaired]


def sorted_rows(samples: Samples, network: str) -> list[tuple[Prepared, Row]]:
    """Return clips in the order of their content, each with no more than whether it has rows, or why it has none."""
    clips = sorted(samples.prepared, key=lambda clip: clip.sha256)
    return [(clip, row if isinstance(row := samples.rows(clip, network), str) else row[:0].copy()) for clip in clips]


def content(clips: Iterable[Prepared]) -> list[str]:
    """Return what stands for a set of clips, whatever their names and order."""
    return sorted(clip.sha256 for clip in clips)


def lacking(found: Sequence[tuple[Prepared, Row]], what: str) -> list[str]:
    """Say how many samples lack rows, and why; nothing when none does."""
    reasons = [row for _, row in found if isinstance(row, str)]
    if not found:
        return [f"no {what} sample could be read"]
    share = "" if len(reasons) == len(found) else f"{len(reasons)} of {len(found)} {what} samples: "
    return [share + few(sorted(set(reasons)), "; ")] if reasons else []


def few(names: Sequence[str], sign: str = ", ") -> str:
    """Spell the first names out."""
    return sign.join([*names[:SHOWN], *(["…"] if len(names) > SHOWN else [])])


def shapes_differ(generated: Sequence[Prepared], reference: Sequence[Prepared], *, still: bool) -> str:
    """Say so when the two sets were not prepared to the same sizes (of frames alone, for a network that sees those)."""
    sides = [sorted({clip.shape[1:] if still else clip.shape for clip in side}) for side in (generated, reference)]
    if sides[0] == sides[1]:
        return ""
    texts = [few(["×".join(map(str, shape)) for shape in side]) for side in sides]
    return f"sizes differ: generated {texts[0]}, reference {texts[1]}"
