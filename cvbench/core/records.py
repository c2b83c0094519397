"""What a run leaves behind: strict JSON, read without torch by one reader that believes nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.protocol import EvalProtocol
from cvbench.core.signature import Signature

SCHEMA = 2
"""1: signatures are texts. 2: they are objects, and the protocol is the record's."""


@dataclass(frozen=True)
class Score:
    """A reduced number with its 95 % interval over `n` rows; two scores may share a column when their signatures agree.

    `note` is what a reader must know beside the number, such as a set too small for its metric.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    signature: Signature
    note: str = ""


class Scores(dict[str, Score]):
    """Scores by the metric's own name. Asking for one that is not there raises UnknownName, which names those there."""

    def __missing__(self, name: str) -> Score:
        raise UnknownName("score of this record", name, self)


@dataclass(frozen=True)
class ModelFacts:
    """What a table says of a model. `params` counts encoder and decoder; `bpp` is nominal bits of latent per pixel.

    `digest` stands for weights, options and code, `revision` is the commit of the repository that the weights came
    from. `computes_in` is the dtype that ran, where it is not the protocol's. `window` is that of
    `cvbench.core.types.Traits`, `spec` what a label stands for, "" where the name is no label, `encoder` the model
    that encodes for a decoder alone, and the commit of its weights. Records older than a field have its default.
    """

    name: str
    digest: str
    role: str = "network"
    about: str = ""
    params: tuple[int, int] | None = None
    temporal: int | None = None
    spatial: int | None = None
    channels: int | None = None
    bpp: float | None = None
    frame_rule: str = ""
    compatible: str = ""
    licence: str = ""
    init: str = "weights"
    window: int = 0
    revision: str = ""
    computes_in: str = ""
    spec: str = ""
    encoder: str = ""


@dataclass(frozen=True)
class DataFacts:
    """Which samples: `manifest` is the SHA-256 over ids and hashes of the prepared pixels that were scored."""

    name: str
    manifest: str
    n: int
    note: str = ""


@dataclass(frozen=True)
class SampleRecord:
    """Rows of one sample: by probe one value a frame, or one in all; `sha256` is of the prepared pixels."""

    id: str
    frames: int
    height: int
    width: int
    sha256: str
    facts: Mapping[str, Any]
    rows: Mapping[str, Sequence[float]]

    @property
    def clip(self) -> str:
        """The clip that it is a run of frames of, its own name where it is a whole one."""
        return self.id.rpartition("#")[0] if "windows" in self.facts else self.id

    def by_frame(self, probe: str) -> Sequence[float]:
        """Return a probe's values frame by frame; none of a probe that has one for a clip, or skips frames."""
        row = self.rows.get(probe, ())
        return row if len(row) == self.frames else ()


@dataclass(frozen=True)
class Failure:
    """A sample that gave no number, and why; `kind` is the name of the error's class, "" in older records."""

    id: str
    error: str
    kind: str = ""

    @property
    def told(self) -> str:
        """Which sample and why, the name once."""
        return self.error if self.error.startswith(f"{self.id}: ") else f"{self.id}: {self.error}"


@dataclass(frozen=True)
class RunRecord:
    """One model on one data set under one protocol.

    `unavailable` names metrics that could not be computed and why, `inapplicable` those of them that say nothing of
    such samples, as flicker of images: no failure. `error` is set when the model could not run at all, `error_kind`
    is then the name of the error's class (in `cvbench.core.errors`, where it is one of ours). `precision_db` is the
    PSNR between one clip's reconstructions in half precision and in float32. `crossing` is of the compat suite: which
    model encoded which view, which decoded, and what is known of the latents. `generation` is of samples that a
    generator drew: how, who decoded them, and whether that VAE can (`gate`). `notes` say what went wrong beside the
    scores. `environment` is of the runs that measured the rows; `speed`, `environment` and `created` are the parts in
    which two equal runs may differ.
    """

    model: ModelFacts
    data: DataFacts
    protocol: EvalProtocol
    probes: Mapping[str, str]
    scores: Mapping[str, Score]
    samples: Sequence[SampleRecord]
    failures: Sequence[Failure] = field(default_factory=list)
    unavailable: Mapping[str, str] = field(default_factory=dict)
    inapplicable: Sequence[str] = field(default_factory=list)
    error: str | None = None
    error_kind: str = ""
    speed: Mapping[str, Any] | None = None
    precision_db: float | None = None
    crossing: Mapping[str, Any] | None = None
    generation: Mapping[str, Any] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    notes: Sequence[str] = field(default_factory=list)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", Scores(self.scores))

    @property
    def values(self) -> dict[str, float]:
        """The numbers alone, by metric, as loggers take them."""
        return {name: score.value for name, score in self.scores.items()}

    @property
    def complete(self) -> bool:
        """True when nothing failed and nothing is missing."""
        missing = self.unavailable.keys() - set(self.inapplicable)
        return not (self.error or self.failures or missing or self.notes)

    def to_json(self) -> str:
        """Return strict JSON: no NaN, no Infinity; one sample a line."""
        bare = asdict(replace(self, samples=[], scores={}))  # copied value by value, which samples need not be
        late = ("notes", "inapplicable", "generation")  # older readers do not know them: left out while empty
        parts = {name: value for name, value in bare.items() if name != "samples" and (name not in late or value)}
        parts |= {"protocol": self.protocol.as_dict(), "scores": {k: _plain(s) for k, s in self.scores.items()}}
        head = json.dumps(parts, indent=1, ensure_ascii=False, allow_nan=False)
        lines = ",\n".join("  " + json.dumps(vars(s), ensure_ascii=False, allow_nan=False) for s in self.samples)
        return f'{head[:-2]},\n "samples": [\n{lines}\n ]\n}}\n'

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "record") -> "RunRecord":
        """Read what `to_json` wrote. Raises UsageError naming `where` and the field when it is something else."""
        try:
            raw = msgspec.json.decode(text, type=dict[str, Any])
            if raw.get("schema") not in (1, SCHEMA):
                raise UsageError(
                    f"schema {raw.get('schema')!r}; this cvbench reads schemas 1 and {SCHEMA}: run it again"
                )
            return _checked(_read(raw))
        except (msgspec.MsgspecError, UsageError, RecursionError, UnicodeError) as error:
            raise UsageError(f"{where} is no cvbench record: {error}") from error

    @classmethod
    def load(cls, path: Path) -> "RunRecord":
        """Read the record at `path`. Raises UsageError."""
        try:
            return cls.from_json(path.read_bytes(), str(path))
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


WALK = "explain.json"
"""The file in which `cvbench explain` leaves a walk: beside records, and none of them."""
ORDER = ".order"
"""Beside the records, in JSON."""


@dataclass(frozen=True)
class Order:
    """Models and data sets as they were typed."""

    models: Sequence[str] = ()
    data: Sequence[str] = ()

    def then(self, later: "Order") -> "Order":
        """Return the later order where it names all that this one does, else this one and what is new behind it."""
        pairs = ((self.models, later.models), (self.data, later.data))
        return Order(
            *(new if set(old) <= set(new) else (*old, *(n for n in new if n not in old)) for old, new in pairs)
        )


def _joined(old: Sequence[str], new: Sequence[str]) -> Sequence[str]:
    return new if set(old) <= set(new) else (*old, *(name for name in new if name not in old))


def _plain(score: Score) -> dict[str, Any]:
    return {**{f: getattr(score, f) for f in ("value", "low", "high", "n")}, "signature": score.signature.as_dict()} | (
        {"note": score.note} if score.note else {}
    )


def _read(raw: dict[str, Any]) -> RunRecord:
    protocol = EvalProtocol.from_dict(_table(raw, "protocol"))
    scores = {name: _score(name, score, protocol) for name, score in _table(raw, "scores").items()}
    return msgspec.convert({**raw, "schema": SCHEMA, "protocol": protocol, "scores": scores}, RunRecord)


def _table(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(raw.get(name), dict):
        raise UsageError(f"`{name}` is a table, not {type(raw.get(name)).__name__}")
    table: dict[str, Any] = raw[name]
    return table


def _score(name: str, raw: Any, protocol: EvalProtocol) -> Score:
    """Read a score; its signature is a text in schema 1, an object under the record's protocol in schema 2."""
    try:
        held = raw["signature"]
        signature = Signature.parse(held) if isinstance(held, str) else Signature.from_dict(held, protocol)
        return msgspec.convert({**raw, "signature": signature}, Score)
    except (msgspec.MsgspecError, UsageError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"the score of `{name}`: {error}") from error


def _checked(record: RunRecord) -> RunRecord:
    """Return the record. Raises UsageError for what types alone do not tell."""
    if not record.model.name or not record.data.name:
        raise UsageError("`model.name` and `data.name` are not empty")
    ids = [sample.id for sample in record.samples]
    if twice := next((name for name in ids if ids.count(name) > 1), None) if len(set(ids)) < len(ids) else None:
        raise UsageError(f"`samples` names {twice!r} twice")
    empty = next((s.id for s in record.samples if not all(s.rows.values())), None)
    if empty is not None:
        raise UsageError(f"`samples`: rows of {empty!r} are empty")
    return record


def read_records(paths: Sequence[Path]) -> list[RunRecord]:
    """Read records: files as they are, folders with all `*.json` in them or in their `records` folder.

    Those of a folder come in the order in which models and data sets were typed, as far as it was kept. Hidden files,
    such as a Mac leaves behind, are none of them.
    Raises UsageError when a path holds no record.
    """
    found: list[RunRecord] = []
    for path in paths:
        here = [RunRecord.load(path)] if path.is_file() else _records_of(path)
        if not here:
            raise UsageError(f"{path} holds no record; `cvbench run --out {path}` makes some")
        found += here
    return found


def _records_of(folder: Path) -> list[RunRecord]:
    inner = _inner(folder)
    return as_typed([RunRecord.load(path) for path in _records_in(inner)], read_order(inner))


def holds_records(folder: Path) -> bool:
    """Tell whether a folder holds records, as `read_records` looks for them."""
    return bool(_records_in(_inner(folder)))


def _inner(folder: Path) -> Path:
    return folder / "records" if (folder / "records").is_dir() else folder


def read_order(folder: Path) -> Order:
    """Return the order kept in a folder of records; none where there is none."""
    try:
        return msgspec.json.decode((folder / ORDER).read_bytes(), type=Order)
    except (OSError, msgspec.MsgspecError):
        return Order()


def as_typed(records: Sequence[RunRecord], order: Order) -> list[RunRecord]:
    """Sort records by their models and data sets; those that the order does not name come last."""
    models, data = ({name: i for i, name in enumerate(names)} for names in (order.models, order.data))

    def place(record: RunRecord) -> tuple[int, int]:
        return models.get(record.model.name, len(models)), data.get(record.data.name, len(data))

    return sorted(records, key=place)


def _may_be_record(file: Path) -> bool:
    return file.suffix == ".json" and file.name != WALK and not file.name.startswith(".")


def _records_in(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if _may_be_record(file))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror or error}") from error
