"""What a run leaves behind: strict JSON, read without torch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cvbench.core.errors import UsageError

SCHEMA = 1


def digest(value: object) -> str:
    """SHA-256 of `value` in canonical JSON: the one way keys are made."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Score:
    """A reduced number with its 95 % interval over `n` rows; two scores may share a column when their signatures agree.

    `note` is what a reader must know beside the number, such as a set too small for its metric.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    signature: str
    note: str = ""


@dataclass(frozen=True)
class ModelFacts:
    """What a table says of a model. `params` counts encoder and decoder; `bpp` is nominal bits of latent per pixel.

    `window` is that of `cvbench.core.types.Traits`; records older than the field have 0.
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


@dataclass(frozen=True)
class Failure:
    """A sample that gave no number, and why."""

    id: str
    error: str


@dataclass(frozen=True)
class RunRecord:
    """One model on one data set under one protocol.

    `unavailable` names metrics that could not be computed and why; `error` is set when the model could not run at
    all, `error_kind` is then the name of the error's class (in `cvbench.core.errors`, where it is one of ours).
    `precision_db` is the PSNR between one clip's reconstructions in half precision and in float32. `crossing`
    is of the compat suite: which model encoded which view, which decoded, and what is known of the latents. `speed`,
    `environment` and `created` are the parts in which two equal runs may differ.
    """

    model: ModelFacts
    data: DataFacts
    protocol: Mapping[str, Any]
    probes: Mapping[str, str]
    scores: Mapping[str, Score]
    samples: Sequence[SampleRecord]
    failures: Sequence[Failure] = ()
    unavailable: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    error_kind: str = ""
    speed: Mapping[str, Any] | None = None
    precision_db: float | None = None
    crossing: Mapping[str, Any] | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    schema: int = SCHEMA

    @property
    def complete(self) -> bool:
        """True when nothing failed and nothing is missing."""
        return not (self.error or self.failures or self.unavailable)

    def to_json(self) -> str:
        """Return strict JSON: no NaN, no Infinity; one sample a line."""
        parts = asdict(self)
        samples = parts.pop("samples")
        head = json.dumps(parts, indent=1, ensure_ascii=False, allow_nan=False)
        lines = ",\n".join("  " + json.dumps(s, ensure_ascii=False, allow_nan=False) for s in samples)
        return f'{head[:-2]},\n "samples": [\n{lines}\n ]\n}}\n'

    @classmethod
    def from_json(cls, text: str, where: str = "record") -> "RunRecord":
        """Read what `to_json` wrote. Raises UsageError naming `where` when it is something else."""
        try:
            raw = json.loads(text)
            if raw["schema"] != SCHEMA:
                raise UsageError(f"{where}: schema {raw['schema']}, this cvbench reads schema {SCHEMA}; run it again")
            return _from_dict(raw)
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UsageError(f"{where} is no cvbench record: {error!r}") from error

    @classmethod
    def load(cls, path: Path) -> "RunRecord":
        """Read the record at `path`."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from error


def _from_dict(raw: dict[str, Any]) -> RunRecord:
    model = raw.pop("model")
    model["params"] = tuple(model["params"]) if model["params"] else None
    return RunRecord(
        model=ModelFacts(**model),
        data=DataFacts(**raw.pop("data")),
        scores={k: Score(**v) for k, v in raw.pop("scores").items()},
        samples=[SampleRecord(**s) for s in raw.pop("samples")],
        failures=[Failure(**f) for f in raw.pop("failures")],
        **raw,
    )


def read_records(paths: Sequence[Path]) -> list[RunRecord]:
    """Read records: files as they are, folders with all `*.json` in them or in their `records` folder, sorted by name.

    Raises UsageError when a path holds no record.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_file():
            here = [path]
        else:
            inner = path / "records" if (path / "records").is_dir() else path
            here = sorted(inner.glob("*.json"))
        if not here:
            raise UsageError(f"{path} holds no record; `cvbench run --out {path}` makes some")
        found += here
    return [RunRecord.load(path) for path in found]
