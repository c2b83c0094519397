"""A run of generators from request to records."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from cvbench import generators, weights
from cvbench.core.errors import BadWeights, CvbenchError, MissingWeights, Unavailable, UsageError
from cvbench.core.records import Failure, ModelFacts, RunRecord
from cvbench.data import Dataset
from cvbench.engine.coding import describe
from cvbench.engine.loop import Progress, silent
from cvbench.engine.measuring import Probes
from cvbench.engine.ranks import current
from cvbench.generators import GeneratorEntry, Row, Settings
from cvbench.metrics import resolve
from cvbench.store import FileStore, Store
from cvbench.tasks.generation.beside import leave_beside, speed_of
from cvbench.tasks.generation.cost import Cost
from cvbench.tasks.generation.decoding import Decoding
from cvbench.tasks.generation.drawing import Drawing, Source
from cvbench.tasks.generation.gate import Gate
from cvbench.tasks.generation.lineup import Part, conditioner, lined_up
from cvbench.tasks.generation.pictures import keep_pictures
from cvbench.tasks.generation.record import Assembly
from cvbench.tasks.generation.request import GenerationRequest, check, metrics_for, protocol_of
from cvbench.tasks.generation.rows import Decoder
from cvbench.tasks.request import Tell, failed_record, held_still, kept, say

NOBODY = GeneratorEntry("", "t2i", "", "", (0, 0, 0, 0), {})
"""What is known of a generator that cannot be asked."""
Agree = Callable[[Cost], None]
"""Called with what a run will cost before it draws; raises UsageError where that is not wanted."""


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
    for word in left_out(drawings, names):
        say(tell, word)
    if agree and current().computes:
        agree(Cost.of([d for _, d in drawings if isinstance(d, Drawing)]))
    records: list[RunRecord] = []
    for part, drawing in drawings:
        records += run_part(part, drawing, store, progress, tell)
    order = {name: place for place, name in enumerate(request.models)}
    return sorted(records, key=lambda record: (record.data.name, order[record.model.name]))


def parts_of(request: GenerationRequest) -> Iterator[Part]:
    """Yield what is run apart: each generator with its rows on each data set."""
    rows = [generators.parse(name) for name in request.models]
    for dataset in request.samples():
        for name, own in dict.fromkeys(map(_drawn_by, rows)):
            yield part_of(name, dataset, request, [row for row in rows if _drawn_by(row) == (name, own)])


def _drawn_by(row: Row) -> tuple[str, str]:
    """Return the generator that draws a row's latents, and the VAE that encodes its first frames."""
    return row.generator, row.vae if row.condition == "own" else ""


def part_of(name: str, dataset: Dataset, request: GenerationRequest, rows: Sequence[Row]) -> Part:
    """Return a generator with its rows on a data set. Raises UsageError for what it cannot be asked."""
    try:
        entry = generators.find(name)
    except (MissingWeights, BadWeights, Unavailable) as error:  # on a hub that cannot be asked, gated, of another class
        if request.strict:
            raise
        return Part(
            Source(name, NOBODY, Settings((0, 0), 0, {}), request.setting.device), dataset, request, rows, error
        )
    check(entry, name, dataset, request)
    try:
        settings = entry.settings(request.protocol)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    source = Source(name, entry, settings, request.setting.device)
    return Part(source, dataset, replace(request, protocol=protocol_of(request.protocol, settings)), rows)


def drawing_of(part: Part, names: Sequence[str], store: Store, progress: Progress) -> Drawing | Exception:
    """Find a generator's weights, and return what draws with them, or what went wrong."""
    if part.error:
        return part.error
    try:
        locate(part)
        part.source.conditioner = conditioner(part)
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


def left_out(drawings: Sequence[tuple[Part, Drawing | Exception]], names: Sequence[str]) -> Iterator[str]:
    """Say which of a suite's metrics the samples cannot have."""
    for part, drawing in drawings:
        lost = [name for name in names if isinstance(drawing, Drawing) and name not in drawing.probes.metrics]
        if lost:
            yield f"{', '.join(lost)}: left out on {part.dataset.name}, which has no prompts or no pictures for them"


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
    part: Part, drawing: Drawing | Exception, store: Store, progress: Progress, tell: Tell | None
) -> list[RunRecord]:
    """Draw, decode and measure one generator's samples; rows that cannot run have a record that says why.

    Of several processes the first has the records.
    """
    if isinstance(drawing, Exception):
        return _failed({row.name: drawing for row in part.rows}, part, tell)
    lineup = lined_up(part, drawing.probes, store)
    asked = {row.name for row in part.rows}
    records = _failed({name: error for name, error in lineup.refused.items() if name in asked}, part, tell)
    if not asked & {decoder.name for decoder in lineup.decoders}:
        return records
    keys, size = drawing.drawn(), part.source.settings.size
    decoding = Decoding(part.request, part.dataset, lineup.decoders, keys, size, drawing.probes, store, progress)
    decoding.loop.leave = partial(leave_beside, decoding)
    with held_still(decoding.subjects):
        decoding.loop.run()
        if not current().assembles:
            return []
        for decoder in (d for d in lineup.decoders if d.name in asked):
            records += _record(decoding, drawing, decoder, lineup.gates[decoder.name], part, tell)
        _keep_pictures(decoding, records, tell)
    return records


def _keep_pictures(decoding: Decoding, records: Sequence[RunRecord], tell: Tell | None) -> None:
    name = decoding.dataset.name
    if not current().computes:
        say(tell, f"no pictures of {name}: they need the models; type the run's line again without --shard")
        return
    try:
        keep_pictures(decoding, records)
    except (OSError, CvbenchError, RuntimeError) as error:
        if decoding.request.strict:
            raise
        say(tell, f"no pictures of {name} for the report: {describe(error)}")


def _record(
    decoding: Decoding, drawing: Drawing, decoder: Decoder, found: Gate | None, part: Part, tell: Tell | None
) -> list[RunRecord]:
    broken = decoding.loop.broken.get(decoder.name)
    if broken is not None:
        return _failed({decoder.name: broken.failure}, part, tell)
    record = Assembly(decoding, drawing, decoder, found).record(*speed_of(decoding, decoder))
    return [kept(record, part.request.out, part.dataset.place, tell)]


def _failed(errors: Mapping[str, Exception | Failure], part: Part, tell: Tell | None) -> list[RunRecord]:
    """Return a record for each row that cannot run, in the process that has records."""
    entry, made = part.source.entry, []
    for name, error in errors.items() if current().assembles else ():
        facts = ModelFacts(name, "", about=entry.about, licence=entry.licence)
        record = failed_record(facts, error, part.dataset, part.request)
        made.append(kept(record, part.request.out, part.dataset.place, tell))
    return made


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
