"""A run of generators from request to records."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cvbench import generators, weights
from cvbench.core.errors import CvbenchError, MissingWeights, UsageError
from cvbench.core.records import Failure, ModelFacts, RunRecord
from cvbench.data import Dataset
from cvbench.engine.coding import describe
from cvbench.engine.loop import Progress, silent
from cvbench.engine.measuring import Probes
from cvbench.engine.subject import Setting, Subject, subject_of
from cvbench.generators import Row
from cvbench.metrics import resolve
from cvbench.store import FileStore, Store
from cvbench.tasks.generation.cost import Cost
from cvbench.tasks.generation.decoding import Decoding
from cvbench.tasks.generation.drawing import Drawing, Source
from cvbench.tasks.generation.gate import Gate, gate
from cvbench.tasks.generation.pictures import keep_pictures
from cvbench.tasks.generation.record import Assembly
from cvbench.tasks.generation.request import GenerationRequest, check, metrics_for, protocol_of
from cvbench.tasks.generation.rows import Decoder
from cvbench.tasks.generation.timing import timed
from cvbench.tasks.request import Tell, failed_record, held_still, kept, say

Agree = Callable[[Cost], None]
"""Called with what a run will cost before it draws; raises UsageError where that is not wanted."""


@dataclass
class Part:
    """The rows of one generator on one data set, and what keeps them from running."""

    source: Source
    dataset: Dataset
    request: GenerationRequest
    rows: Sequence[Row]


def run(
    request: GenerationRequest,
    progress: Progress = silent,
    store: Store | None = None,
    tell: Tell | None = None,
    agree: Agree | None = None,
) -> list[RunRecord]:
    """Draw every sample once, decode it by every row's VAE, and return one record a row and data set.

    Rows are `request.models`, read by `cvbench.generators.parse`. Records are written to `request.out` where given.
    What lies in the store is not drawn, decoded or measured again. `agree` is called once with the cost of all that
    is to be drawn. Raises UsageError and UnknownName for a request that makes no sense.
    """
    store = store or FileStore()
    names = resolve(request.metrics, request.protocol, "drawing")
    parts = list(parts_of(request))
    drawings = [(part, drawing_of(part, names, store, progress)) for part in parts]
    if agree:
        agree(Cost.of([d for _, d in drawings if isinstance(d, Drawing)]))
    records: list[RunRecord] = []
    for part, drawing in drawings:
        records += run_part(part, drawing, names, store, progress, tell)
    order = {name: place for place, name in enumerate(request.models)}
    return sorted(records, key=lambda record: (record.data.name, order[record.model.name]))


def parts_of(request: GenerationRequest) -> Iterator[Part]:
    """Yield what is run apart: each generator with its rows on each data set."""
    rows = [generators.parse(name) for name in request.models]
    for dataset in request.samples():
        for name in dict.fromkeys(row.generator for row in rows):
            mine = [row for row in rows if row.generator == name]
            yield part_of(name, dataset, request, mine)


def part_of(name: str, dataset: Dataset, request: GenerationRequest, rows: Sequence[Row]) -> Part:
    """Return a generator with its rows on a data set. Raises UsageError for what it cannot be asked."""
    entry = generators.find(name)
    check(entry, name, dataset, request)
    try:
        settings = entry.settings(request.protocol)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    source = Source(name, entry, settings, request.setting.device)
    return Part(source, dataset, replace(request, protocol=protocol_of(request.protocol, settings)), rows)


def drawing_of(part: Part, names: Sequence[str], store: Store, progress: Progress) -> Drawing | Exception:
    """Find a generator's weights, and return what draws with them, or what went wrong."""
    try:
        locate(part)
    except UsageError:
        raise
    except Exception as error:  # the hub and its libraries raise many kinds
        if part.request.strict:
            raise
        return error
    wanted = metrics_for(names, part.dataset, part.source.entry, part.request)
    setting = part.request.setting
    probes = Probes(wanted, setting.device, part.request.weights, protocol=part.request.protocol)
    return Drawing(part.request, part.dataset, part.source, probes, store, progress)


def locate(part: Part) -> None:
    """Find or fetch a generator's weights, and what it is known by. Raises MissingWeights or BadWeights."""
    source, origin = part.source, generators.source_of(part.source.entry)
    if origin is None:
        from cvbench.generators import gaussian

        source.identity = gaussian.identity()
        return
    name = generators.weights_name(source.name)
    given = part.request.weights
    if origin.file == "model_index.json":
        from cvbench.generators.pipelines import folder_of

        source.path = folder_of(name, origin, given, part.source.entry)
    else:
        source.path = weights.fetch(name, origin, given)
    known = weights.identity(source.path, origin)
    source.identity, source.revision = known.sha256, known.revision


def run_part(
    part: Part, drawing: Drawing | Exception, names: Sequence[str], store: Store, progress: Progress, tell: Tell | None
) -> list[RunRecord]:
    """Draw, decode and measure one generator's samples; rows that cannot run have a record that says why."""
    if isinstance(drawing, Exception):
        return [_failed(row.name, drawing, part, tell) for row in part.rows]
    decoders, refused = line_up(part)
    gates: dict[str, Gate | None] = {}
    for decoder in list(decoders):
        try:
            gates[decoder.name] = gate(decoder, store)
        except Exception as error:  # latents of another shape, weights that do not load
            if part.request.strict:
                raise
            refused[decoder.name] = error
            decoders.remove(decoder)
    asked = {row.name for row in part.rows}
    records = [_failed(name, error, part, tell) for name, error in refused.items() if name in asked]
    if not asked & {decoder.name for decoder in decoders}:
        return records
    keys = drawing.drawn()
    size = part.source.settings.size
    decoding = Decoding(part.request, part.dataset, decoders, keys, size, drawing.probes, store, progress)
    with held_still(decoding.subjects):
        decoding.loop.run()
        for decoder in (d for d in decoders if d.name in asked):
            records.append(_record(Assembly, decoding, drawing, decoder, gates[decoder.name], part, tell))
        try:
            keep_pictures(decoding, records)
        except (OSError, CvbenchError, RuntimeError) as error:
            if part.request.strict:
                raise
            say(tell, f"no pictures of {part.dataset.name} for the report: {describe(error)}")
    return records


def _record(
    assemble: Any, decoding: Decoding, drawing: Drawing, decoder: Decoder, found: Gate | None, part: Part,
    tell: Tell | None,
) -> RunRecord:  # fmt: skip
    broken = decoding.loop.broken.get(decoder.name)
    if broken is not None:
        return _failed(decoder.name, broken.failure, part, tell)
    speed, notes = timed(decoding, decoder) if part.request.speed else (None, [])
    record: RunRecord = assemble(decoding, drawing, decoder, found).record(speed, notes)
    return kept(record, part.request.out, part.dataset.place, tell)


def _failed(name: str, error: Exception | Failure, part: Part, tell: Tell | None) -> RunRecord:
    facts = ModelFacts(name, "", about=part.source.entry.about, licence=part.source.entry.licence)
    record = failed_record(facts, error, part.dataset, part.request)
    return kept(record, part.request.out, part.dataset.place, tell)


def line_up(part: Part) -> tuple[list[Decoder], dict[str, Exception]]:
    """Return the rows that can run, the base VAE's first, and for each of the others what went wrong.

    The generator's own VAE takes part always: the others are held against its frames. It comes from the generator's
    own folder where that has one.
    """
    own = part.source.entry.vae
    setting = _with_own_vae(part, own)
    subjects: dict[str, Subject | Exception] = {}

    def subject(spec: str) -> Subject | Exception:
        if spec not in subjects:
            try:
                subjects[spec] = subject_of(spec, setting)
            except UsageError:
                raise
            except Exception as error:  # no weights, say
                if part.request.strict:
                    raise
                subjects[spec] = error
        return subjects[spec]

    rows = list(part.rows)
    if not any(not row.vae and row.decode == "together" for row in rows):
        rows.insert(0, Row(part.source.name, part.source.name))
    rows.sort(key=lambda row: bool(row.vae or row.decode != "together"))
    base, refused, decoders = subject(own), dict[str, Exception](), list[Decoder]()
    for row in rows:
        found = subject(row.vae or own)
        wrong = next((each for each in (base, found) if isinstance(each, Exception)), None)
        if wrong is not None or isinstance(base, Exception) or isinstance(found, Exception):
            refused[row.name] = _of_base(wrong, own) if wrong is base else wrong or MissingWeights(own)
        else:
            decoders.append(Decoder(row, found, base))
    return decoders, refused


def _of_base(error: Exception | None, own: str) -> Exception:
    """Return an error of the base VAE under its name."""
    if error is not None:
        error.add_note(f"the generator's own VAE, {own}")
    return error or MissingWeights(own)


def _with_own_vae(part: Part, own: str) -> Setting:
    """Return what models share, the generator's own VAE taken from beside its other networks."""
    setting, folder = part.request.setting, part.source.path
    beside: Path | None = folder / "vae" if folder and (folder / "vae").is_dir() else None
    if folder and folder.is_file() and folder.suffix == ".ckpt":
        beside = folder  # a checkpoint of all parts
    label = own.partition("@")[0]
    if beside is None or label in setting.weights:
        return setting
    return replace(setting, weights={**setting.weights, label: beside})


def draw(
    request: GenerationRequest,
    progress: Progress = silent,
    store: Store | None = None,
    agree: Agree | None = None,
) -> list[tuple[Drawing, dict[str, str]]]:
    """Draw every sample of the generators `request.models` once; return what drew, and by sample the latents' keys.

    Raises UsageError for a request that makes no sense, and what keeps a generator from running.
    """
    store = store or FileStore()
    drawings = []
    for part in parts_of(request):
        drawing = drawing_of(part, (), store, progress)
        if isinstance(drawing, Exception):
            raise drawing
        drawings.append(drawing)
    if agree:
        agree(Cost.of(drawings))
    return [(drawing, drawing.drawn()) for drawing in drawings]
