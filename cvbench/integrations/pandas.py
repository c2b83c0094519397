"""Records as pandas data frames. The only module that imports pandas; no torch."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cvbench import tables
from cvbench.compare import Comparison, compare_runs
from cvbench.core.errors import UsageError
from cvbench.core.records import RunRecord, read_records
from cvbench.metrics import METRICS

PLACE = ["model", "data", "protocol"]
"""What names a record; the first columns of every frame."""
SCORES = [*PLACE, "metric", "value", "low", "high", "n", "signature", "note"]
DIFFERENCES = [
    "data", "metric", "a", "b", "change", "low", "high", "p", "corrected", "n", "wins", "losses", "detectable",
    "differing",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Results:
    """Records of one or more runs; each view is made when it is first asked for."""

    records: Sequence[RunRecord]

    def __repr__(self) -> str:
        models, data = ({name(r): None for r in self.records} for name in (_model, _data))
        return f"{len(self.records)} records: {len(models)} models on {', '.join(data)}"

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row a score: its 95 % interval, the number of samples, the signature, and what a reader must know."""
        return pd.DataFrame(chain.from_iterable(map(_scores, self.records)), columns=SCORES).astype(
            {"value": float, "low": float, "high": float}
        )

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row a model and sample, one column a metric: the mean over its frames, or the error; as samples.csv."""
        return _read(tables.samples_csv(self.records))

    @cached_property
    def frames(self) -> pd.DataFrame:
        """One row a model, sample and frame, one column a metric that has a value for each frame."""
        names = [m for m in METRICS if any(m in r.scores for r in self.records) and not METRICS[m].distance]
        parts = [part for record in self.records if (part := _frames(record, names)) is not None]
        columns = [*PLACE, "sample", "frame", *names]
        return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)

    @cached_property
    def speed(self) -> pd.DataFrame:
        """One row a record that was timed: frames a second, latency, memory, and where and on what."""
        timed = [dict(zip(PLACE, _place(r), strict=True)) | dict(r.speed) for r in self.records if r.speed]
        return pd.DataFrame(timed, columns=None if timed else PLACE)

    @cached_property
    def missing(self) -> pd.DataFrame:
        """One row for each model, metric or sample without a number, and why."""
        rows = chain.from_iterable(map(_missing, self.records))
        return pd.DataFrame(rows, columns=[*PLACE, "what", "name", "why"])

    def compare(self, a: str, b: str) -> pd.DataFrame:
        """Compare two models on the samples that both have: `change` is b - a, `p` of the paired permutation test.

        One row a data set and metric, as `cvbench compare`. What could not be paired is in `attrs["unpaired"]`.
        Raises UnknownName for a model that is not there.
        """
        comparisons, alone = compare_runs(self.records, None, (a, b))
        frame = pd.DataFrame(chain.from_iterable(map(_differences, comparisons)), columns=DIFFERENCES)
        frame.attrs["unpaired"] = [*alone, *(f"{u.what}: {u.why}" for c in comparisons for u in c.unpaired)]
        return frame

    def table(self, *, allow_mixed: bool = False) -> pd.DataFrame:
        """Return the table that `cvbench table` prints, as table.csv has it.

        Raises SignatureMismatch where scores of one column were not made alike, unless `allow_mixed`.
        """
        table = tables.lay_out(self.records, allow_mixed=allow_mixed)
        return _read(tables.to_csv(replace(table, below=[])))


def load(*paths: str | Path) -> Results:
    """Read the records of runs, which may be folders or single files, for analysis with pandas.

    Raises UsageError for a path that holds no record.
    """
    if not paths:
        raise UsageError("name a run to load: cvbench.load('reports/recon')")
    return Results(read_records([Path(path) for path in paths]))


def _read(text: str) -> pd.DataFrame:
    """Return a CSV of ours as `pandas.read_csv` reads the file."""
    return pd.read_csv(io.StringIO(text))


def _model(record: RunRecord) -> str:
    return record.model.name


def _data(record: RunRecord) -> str:
    return record.data.name


def _place(record: RunRecord) -> list[str]:
    return [record.model.name, record.data.name, record.protocol.name]


def _scores(record: RunRecord) -> Iterator[list[Any]]:
    for name, s in record.scores.items():
        yield [*_place(record), name, s.value, s.low, s.high, s.n, s.signature.text, s.note]


def _missing(record: RunRecord) -> Iterator[list[str]]:
    if record.error:
        yield [*_place(record), "model", record.model.name, record.error]
    yield from ([*_place(record), "metric", name, why] for name, why in record.unavailable.items())
    yield from ([*_place(record), "sample", failure.id, failure.error] for failure in record.failures)


def _frames(record: RunRecord, names: Sequence[str]) -> pd.DataFrame | None:
    """Return a record's rows by frame, None where it has none; a metric that a sample lacks is NaN."""
    if not record.samples:
        return None
    counts = np.array([s.frames for s in record.samples])
    place = dict(zip(PLACE, _place(record), strict=True))
    ids = np.repeat(np.array([s.id for s in record.samples], object), counts)
    numbers = np.concatenate([np.arange(count) for count in counts])
    columns = {name: _column(record, METRICS[name].probe) for name in names}
    return pd.DataFrame({**place, "sample": ids, "frame": numbers, **columns})


def _column(record: RunRecord, probe: str) -> np.ndarray:
    filled = (s.by_frame(probe) or [float("nan")] * s.frames for s in record.samples)
    return np.fromiter(chain.from_iterable(filled), np.float64)


def _differences(comparison: Comparison) -> Iterator[list[Any]]:
    for m in comparison.metrics:
        yield [
            comparison.a.data.name, m.metric, m.a, m.b, *m.change, m.p, m.corrected, len(m.samples), m.wins, m.losses,
            m.detectable, m.differing,
        ]  # fmt: skip
