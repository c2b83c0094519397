"""The files of the published tables, read: rows, columns, protocol, and the published cells with their source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path

from cvbench.core.errors import UnknownName
from cvbench.core.protocol import PROTOCOLS
from cvbench.core.records import RunRecord
from cvbench.core.suites import folder
from cvbench.metrics import METRICS, Metric
from cvbench.paper.fields import Fields, read_toml, shortened
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
    `suite` is the one that makes its records.
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
    suite: str = "recon"

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
    raw = read_toml(path)
    raw.only("source", "small", *BLOCK)
    source, main = raw.get("source", str), _block(raw)
    small = _block(raw.table("small"), small=True) if "small" in raw.raw else None
    return PaperTable(path.stem.removeprefix("table-"), source, main, small)


BLOCK = ("caption", "protocol", "facts", "columns", "rows", "notes", "data", "question", "suite")
"""Fields of a block; the main one has the source beside it, and the small one within."""


def _block(raw: Fields, small: bool = False) -> Block:
    if small:
        raw.only(*BLOCK)
    about = {name: raw.table("data").table(name) for name in raw.table("data").raw}
    columns = tuple(_column(column, about) for column in raw.tables("columns"))
    facts = _facts(raw)
    rows = tuple(_row(row, facts, len(columns)) for row in raw.tables("rows"))
    return Block(
        caption=raw.get("caption", str),
        protocol=_protocol(raw),
        facts=facts,
        columns=columns,
        rows=rows,
        notes=raw.texts("notes"),
        samples={name: count for name, of in about.items() if (count := _samples(of, name, columns)) is not None},
        small=small,
        papers={name: of.get("paper", str) for name, of in about.items() if "paper" in of.raw},
        question=_question(raw.table("question"), rows, columns) if "question" in raw.raw else None,
        suite=raw.get("suite", str, "recon"),
    )


def _facts(raw: Fields) -> tuple[str, ...]:
    facts = raw.texts("facts")
    for number, fact in enumerate(facts):
        if fact not in FACTS:
            raw.unknown("fact", fact, FACTS, f"facts[{number}]")
    return facts


def _protocol(raw: Fields) -> str:
    """Return the protocol of the published numbers: "" where none of ours is theirs."""
    name = raw.get("protocol", str, "")
    if name and name.partition("+")[0] not in PROTOCOLS:
        raw.unknown("protocol", name, PROTOCOLS, "protocol")
    return name


def _samples(about: Fields, name: str, columns: Sequence[PaperColumn]) -> int | None:
    """Return how many samples the paper scored on a data set, None where it does not say."""
    about.only("heading", "samples", "paper")
    data = {column.data: None for column in columns}
    if name not in data:
        about.unknown("data set of the columns", name, data)
    return about.get("samples", int) if "samples" in about.raw else None


def _question(raw: Fields, rows: Sequence[PaperRow], columns: Sequence[PaperColumn]) -> Question:
    raw.only("reference", "role", "data", "metric")
    place = (raw.get("data", str), raw.get("metric", str))
    reference = [row for row in rows if row.method == raw.get("reference", str)]
    asked = [column for column in columns if (column.data, column.metric) == place]
    if not reference or not asked:
        raw.refuse(f"it is about a row or column that it does not have: {raw.raw['reference']}, {' '.join(place)}")
    return Question(reference[0], raw.get("role", str), asked[0])


def _column(raw: Fields, about: Mapping[str, Fields]) -> PaperColumn:
    raw.only("data", "metric", "label", "better", "digits")
    data, name = raw.get("data", str), raw.get("metric", str)
    stated = METRICS.get(name) or _foreign(raw, name)
    heading = about[data].get("heading", str, data) if data in about else data
    return PaperColumn(data, name, heading, raw.get("label", str, stated.label), stated)


def _foreign(raw: Fields, name: str) -> Metric:
    """Return a metric that only the paper has; it says which way is better, or it is misspelt."""
    if "better" not in raw.raw:
        raw.refuse(f"no metric is called {name!r}; try {_nearest(name)}, or say which way the paper's own is 'better'")
    better, digits = raw.get("better", str), raw.get("digits", int, 3)
    if better not in ("higher", "lower"):
        raw.refuse(f"must be higher or lower, got {better!r}", "better")
    if not 0 <= digits <= 12:
        raw.refuse(f"must be 0 to 12, got {shortened(digits)}", "digits")
    return Metric(name, "higher" if better == "higher" else "lower", raw.get("label", str, name), digits=digits)


def _nearest(name: str) -> str:
    return ", ".join(get_close_matches(name, METRICS) or sorted(METRICS))


def _row(raw: Fields, facts: Sequence[str], width: int) -> PaperRow:
    raw.only("method", "model", "published", "reproducible", "why", *FACTS)
    method, published = raw.get("method", str), tuple(map(str, raw.numbers("published")))
    if published and len(published) != width:
        raw.refuse(f"{method} has {len(published)} published cells for {width} columns")
    return PaperRow(
        method=method,
        model=raw.get("model", str, ""),
        facts={name: _printed(raw, name) for name in facts if name in raw.raw},
        published=published,
        reproducible=raw.get("reproducible", bool, True),
        why=raw.get("why", str, ""),
    )


def _printed(raw: Fields, fact: str) -> str:
    """Return a fact as the paper prints it."""
    if fact == "params":
        return " + ".join(f"{count}M" for count in raw.numbers(fact))
    value = raw.raw[fact]
    if type(value) not in (str, int, Decimal):
        raw.refuse(f"must be a text or a number, got {shortened(value)}", fact)
    return SIGNS.get(value, str(value))
