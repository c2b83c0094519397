"""Which rows can run: their models, and whether these can decode the generator's latents."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cvbench.core.digest import digest
from cvbench.core.errors import MissingWeights, Unavailable, UsageError
from cvbench.core.records import Failure
from cvbench.data import Dataset
from cvbench.engine.coding import describe
from cvbench.engine.measuring import Probes
from cvbench.engine.ranks import current
from cvbench.engine.subject import Setting, Subject, subject_of
from cvbench.generators import Row
from cvbench.store import Store
from cvbench.tasks.generation.drawing import Conditioner, Source
from cvbench.tasks.generation.gate import Gate, gate
from cvbench.tasks.generation.request import GenerationRequest
from cvbench.tasks.generation.rows import Decoder
from cvbench.tasks.request import DataTask


@dataclass
class Part:
    """The rows of one generator on one data set, and what keeps them from running."""

    source: Source
    dataset: Dataset
    request: GenerationRequest
    rows: Sequence[Row]
    error: Exception | None = None


@dataclass
class LineUp:
    """The rows that can run, the base VAE's first, what was found when they were tried, and why others cannot."""

    decoders: list[Decoder]
    refused: dict[str, Exception | Failure]
    gates: dict[str, Gate | None] = field(default_factory=dict)


class Trial(DataTask):
    """Every row is tried before anything is drawn. It has no samples: what processes tell each other is its outcome."""

    def __init__(self, part: Part, decoders: Sequence[Decoder], probes: Probes, store: Store) -> None:
        self.decoders = decoders
        super().__init__(part.request, replace(part.dataset, items=()), [d.subject for d in decoders], probes, store)
        self.loop.identity = digest([self.loop.identity, [[d.name, d.digest] for d in decoders]])

    def outcomes(self) -> dict[str, Gate | Failure | None]:
        """Try the rows where models may run, and return by row what all processes know."""
        if current().computes:
            self.loop.asides |= {decoder.name: self._tried(decoder) for decoder in self.decoders}
        self.loop.run()
        return {d.name: _read(self.loop.asides[d.name]) for d in self.decoders if d.name in self.loop.asides}

    def _tried(self, decoder: Decoder) -> Any:
        try:
            found = gate(decoder, self.store)
        except Exception as error:  # latents of another shape, weights that do not load
            if self.request.strict:
                raise
            return {"error": describe(error), "kind": type(error).__name__}
        return found and {"own": found.own, "through": found.through}


def _read(outcome: Any) -> Gate | Failure | None:
    if outcome is None:
        return None
    return Failure("", outcome["error"], outcome["kind"]) if "error" in outcome else Gate(**outcome)


def lined_up(part: Part, probes: Probes, store: Store) -> LineUp:
    """Find the rows that can run, and try them on a picture before anything is drawn."""
    decoders, refused = line_up(part)
    found = Trial(part, decoders, probes, store).outcomes()
    failed = {name: outcome for name, outcome in found.items() if isinstance(outcome, Failure)}
    gates = {name: outcome for name, outcome in found.items() if not isinstance(outcome, Failure)}
    return LineUp([d for d in decoders if d.name in gates], {**refused, **failed}, gates)


def line_up(part: Part) -> tuple[list[Decoder], dict[str, Exception]]:
    """Return the rows that can run, the base VAE's first, and for each of the others what went wrong.

    The generator's own VAE takes part always: the others are held against its frames. It comes from the generator's
    own folder where that has one.
    """
    own = part.source.entry.vae
    setting = _with_own_vae(part, own)
    subjects: dict[str, Subject | Exception] = {}

    if (held := part.source.conditioner) is not None:
        subjects |= {own: held.base, held.spec: held.subject}

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


def conditioner(part: Part) -> Conditioner | None:
    """Return what encodes the first frames of a part whose rows ask for their own VAE, None for the generator's own.

    Raises MissingWeights, BadWeights, and Unavailable for a VAE that is not known by its files.
    """
    row = part.rows[0]
    if row.condition != "own" or not row.vae:
        return None
    setting = _with_own_vae(part, part.source.entry.vae)
    subject, base = subject_of(row.vae, setting), subject_of(part.source.entry.vae, setting)
    if subject.key((1, *part.source.settings.size)) is None:
        raise Unavailable(f"{row.vae} is not known by its files, so that latents of its own could not be told apart")
    return Conditioner(row.vae, subject, base, row.space or subject.latents)


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
