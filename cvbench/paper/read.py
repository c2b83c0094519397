"""The files of the published tables, read: rows, columns, protocol, and the published cells with their source."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.records import RunRecord
from cvbench.core.suites import folder
from cvbench.metrics import METRICS, Metric
from cvbench.tables.cells import SIGNS

FACTS = {
    "model": "Small model",
    "params": "Params",
    "fcr": "FCR",
    "comp": "Comp.",
    "trainable": "Trainable",
    "frames": "Frames",
}
"""What a table may say of a method beside its scores."""


@dataclass(frozen=True)
class PaperColumn:
    """A column of scores: the data set and metric of the records, and what the paper heads it with."""

    data: str
    metric: str
    heading: str
    label: str
    info: Metric


@dataclass(frozen=True)
class PaperRow:
    """A row: the method as printed, the model that stands for it, and the published cells as printed.

    `reproducible` is False where the weights are not public; `why` says more.
    """

    method: str
    model: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    published: tuple[str, ...] = ()
    reproducible: bool = True
    why: str = ""


@dataclass(frozen=True)
class Question:
    """What an ablation asks: is `reference` better than each other row by `column`? `role` says what it is."""

    reference: PaperRow
    role: str
    column: PaperColumn


@dataclass(frozen=True)
class Block:
    """Rows under one head. `samples` is how many the paper scored on a data set, where it says so.

    In a `small` block the published cells are of other networks and other data: `papers` says by data set which.
    """

    caption: str
    protocol: str
    facts: tuple[str, ...]
    columns: tuple[PaperColumn, ...]
    rows: tuple[PaperRow, ...]
    notes: tuple[str, ...]
    samples: Mapping[str, int]
    small: bool = False
    papers: Mapping[str, str] = field(default_factory=dict)
    question: Question | None = None

    @property
    def data(self) -> list[str]:
        """The data sets, in the order of the columns."""
        return list(dict.fromkeys(c.data for c in self.columns))

    def holds(self, record: RunRecord) -> bool:
        """Tell whether a record has a place here."""
        models = {row.model for row in self.rows if row.model}
        return record.model.name in models and record.data.name in self.data


@dataclass(frozen=True)
class PaperTable:
    """A published table; `small` is its counterpart with the project's own small models."""

    name: str
    source: str
    main: Block
    small: Block | None = None


def table_names() -> list[str]:
    """Return the published tables that can be printed."""
    return sorted(
        (path.stem.removeprefix("table-") for path in folder().glob("table-*.toml")), key=lambda n: (len(n), n)
    )


def load_table(name: str) -> PaperTable:
    """Read a published table: `1` to `8`, or the path of a TOML laid out as those in `benchmarks/`.

    Raises UnknownName, and UsageError naming what is wrong with the file.
    """
    path = Path(name) if name.endswith(".toml") else folder() / f"table-{name}.toml"
    if not name.endswith(".toml") and name not in table_names():
        raise UnknownName("table", name, table_names())
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)  # keeps the digits: 0.810
        small = _block(raw["small"], small=True) if "small" in raw else None
        return PaperTable(path.stem.removeprefix("table-"), raw["source"], _block(raw), small)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"{path} is no table: {error!r}; see the files of `benchmarks/`") from error


def _block(raw: Mapping[str, Any], small: bool = False) -> Block:
    data = raw.get("data", {})
    columns = tuple(_column(column, data) for column in raw["columns"])
    facts = tuple(raw.get("facts", ()))
    rows = tuple(_row(row, facts, len(columns)) for row in raw["rows"])
    return Block(
        caption=raw["caption"],
        protocol=raw.get("protocol", ""),
        facts=facts,
        columns=columns,
        rows=rows,
        notes=tuple(raw.get("notes", ())),
        samples={name: about["samples"] for name, about in data.items() if "samples" in about},
        small=small,
        papers={name: about["paper"] for name, about in data.items() if "paper" in about},
        question=_question(raw["question"], rows, columns) if "question" in raw else None,
    )


def _question(raw: Mapping[str, Any], rows: Sequence[PaperRow], columns: Sequence[PaperColumn]) -> Question:
    reference = [row for row in rows if row.method == raw["reference"]]
    asked = [column for column in columns if (column.data, column.metric) == (raw["data"], raw["metric"])]
    if not reference or not asked:
        raise ValueError(f"its question is about a row or column that it does not have: {dict(raw)}")
    return Question(reference[0], raw["role"], asked[0])


def _column(raw: Mapping[str, Any], data: Mapping[str, Any]) -> PaperColumn:
    name = raw["metric"]
    stated = METRICS.get(name) or Metric(name, raw["better"], raw.get("label", name), digits=raw.get("digits", 3))
    heading = data.get(raw["data"], {}).get("heading", raw["data"])
    return PaperColumn(raw["data"], name, heading, raw.get("label", stated.label), stated)


def _row(raw: Mapping[str, Any], facts: Sequence[str], width: int) -> PaperRow:
    published = tuple(str(cell) for cell in raw.get("published", ()))
    if published and len(published) != width:
        raise ValueError(f"{raw['method']} has {len(published)} published cells for {width} columns")
    return PaperRow(
        method=raw["method"],
        model=raw.get("model", ""),
        facts={name: _printed(name, raw[name]) for name in facts if name in raw},
        published=published,
        reproducible=raw.get("reproducible", True),
        why=raw.get("why", ""),
    )


def _printed(fact: str, value: Any) -> str:
    """Return a fact as the paper prints it."""
    if fact == "params":
        return " + ".join(f"{count}M" for count in value)
    return SIGNS.get(value, str(value))
