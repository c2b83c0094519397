"""The published tables: one TOML each in `benchmarks/`, printed in the paper's layout from records. No torch."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from cvbench.errors import UnknownName, UsageError
from cvbench.metrics import METRICS, Metric
from cvbench.protocols import PROTOCOLS
from cvbench.records import RunRecord
from cvbench.suites import folder
from cvbench.tables import Cell, Column, Footnotes, Scores, SignatureMismatch, Table
from cvbench.tables.build import Contestant, lineup
from cvbench.tables.cells import NOT_RUN, SIGNS, Style, compatibility, data_notes, parameters, untrained
from cvbench.tables.table import NOTHING

NOT_PUBLIC = "weights not public"
FACTS = {"params": "Params", "fcr": "FCR", "comp": "Comp.", "trainable": "Trainable", "frames": "Frames"}
"""What a table may say of a method beside its scores."""
LEGEND = "Cells: measured (published; measured − published, to the digits published)."
TIES = "Bold: best, underlined: second, each with all that tie with it."


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
class Block:
    """Rows under one head. `samples` is how many the paper scored on a data set, where it says so."""

    caption: str
    protocol: str
    facts: tuple[str, ...]
    columns: tuple[PaperColumn, ...]
    rows: tuple[PaperRow, ...]
    notes: tuple[str, ...]
    samples: Mapping[str, int]


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
        small = _block(raw["small"]) if "small" in raw else None
        return PaperTable(path.stem.removeprefix("table-"), raw["source"], _block(raw), small)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"{path} is no table: {error!r}; see the files of `benchmarks/`") from error


def _block(raw: Mapping[str, Any]) -> Block:
    data = raw.get("data", {})
    columns = tuple(_column(column, data) for column in raw["columns"])
    facts = tuple(raw.get("facts", ()))
    return Block(
        caption=raw["caption"],
        protocol=raw.get("protocol", ""),
        facts=facts,
        columns=columns,
        rows=tuple(_row(row, facts, len(columns)) for row in raw["rows"]),
        notes=tuple(raw.get("notes", ())),
        samples={name: about["samples"] for name, about in data.items() if "samples" in about},
    )


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


def build(
    paper: PaperTable,
    records: Sequence[RunRecord],
    *,
    published: bool = False,
    intervals: bool = False,
    allow_mixed: bool = False,
) -> Table:
    """Print records in a published table's layout, with `published` beside the paper's cells.

    A cell without a number says why: "not run", "weights not public", "weights missing", "failed". Records of other
    models or data sets are named under the table. Of several protocols the table's own is taken.
    Raises SignatureMismatch naming the fields that differ when scores of one column were not made alike, unless
    `allow_mixed`, which makes footnotes of them.
    """
    style = Style(intervals, allow_mixed)
    table = _Filling(paper.main, records, style, published).table()
    if published:
        table.remarks = [LEGEND, f"Published: {paper.source}.", *table.remarks]
    if paper.small:
        table.below = [_Filling(paper.small, records, style, published).table()]
    wanted = [block for block in (paper.main, paper.small) if block]
    table.remarks += _left_out(wanted, records)
    return table


class _Filling:
    """A block on its way to a table: the records that belong to it, and their footnotes."""

    def __init__(self, block: Block, records: Sequence[RunRecord], style: Style, published: bool) -> None:
        self.block, self.published, self.footnotes = block, published, Footnotes()
        mine = [r for r in records if _belongs(block, r)]
        rows = lineup(mine, self.footnotes, style)
        self.taken = {row.model: row for row in rows if row is _chosen(rows, row.model, block, style)}
        taken = [record for row in self.taken.values() for record in row.records.values()]
        self.scores = Scores(
            taken, {c.metric: replace(c.info, label=c.label) for c in block.columns}, self.footnotes, style
        )

    def table(self) -> Table:
        columns = [Column("", "Method"), *(Column("", FACTS[fact]) for fact in self.block.facts)]
        cells = [self._methods(), *(self._facts(fact) for fact in self.block.facts)]
        several = len({c.data for c in self.block.columns}) > 1
        for position, column in enumerate(self.block.columns):
            label = f"{column.label} {column.info.arrow}"
            columns.append(Column(column.heading if several else "", label, column.info.better))
            cells.append(self._column(position, column))
        rows = [list(row) for row in zip(*cells, strict=True)]
        remarks = [*(self._conditions() if self.taken else []), *self.block.notes]
        remarks = [TIES, *remarks] if any(_ties(column) for column in cells) else remarks
        for data, of_data in self.scores.of_data.items():
            for note in data_notes(data, of_data):
                self.footnotes.refer(note)
        return Table(columns, rows, self.footnotes.texts, self.scores.signatures(), self.block.caption, remarks)

    def _methods(self) -> list[Cell]:
        found = [self.taken.get(row.model) for row in self.block.rows]
        notes = [self.footnotes.refer(untrained(c.facts) if c else "") for c in found]
        return [Cell(row.method, notes=n) for row, n in zip(self.block.rows, notes, strict=True)]

    def _facts(self, fact: str) -> list[Cell]:
        return [self._fact(row, fact) for row in self.block.rows]

    def _fact(self, row: PaperRow, fact: str) -> Cell:
        """Return a fact of the model that ran, else of the paper's; both where they differ."""
        paper, found = row.facts.get(fact, ""), self.taken.get(row.model)
        known = {"params": parameters, "comp": compatibility}.get(fact)
        ours = known(found.facts) if known and found else ""
        differs = self.published and ours and paper and ours != paper
        return Cell(ours or paper or NOTHING, published=paper if differs else "")

    def _column(self, position: int, column: PaperColumn) -> list[Cell]:
        records = [self._record(row, column.data) for row in self.block.rows]
        cells = self.scores.column(records, column.metric)
        return [self._beside(row, position, cell) for row, cell in zip(self.block.rows, cells, strict=True)]

    def _record(self, row: PaperRow, data: str) -> RunRecord | None:
        """Return a row's record; none for weights that are not public, unless somebody had them."""
        found = self.taken[row.model].records.get(data) if row.model in self.taken else None
        return None if found and found.error and not row.reproducible else found

    def _beside(self, row: PaperRow, position: int, cell: Cell) -> Cell:
        """Put the published cell beside a measured one, or beside the reason why there is none."""
        if cell.text == NOT_RUN and not row.reproducible:
            cell = Cell(NOT_PUBLIC, notes=self.footnotes.refer(row.why))
        if not self.published or not row.published:
            return cell
        printed = row.published[position]
        return replace(cell, published=printed, difference=None if cell.value is None else cell.value - float(printed))

    def _conditions(self) -> list[str]:
        """Say where records were made otherwise than the published numbers, data set by data set."""
        texts = []
        for data, records in self.scores.of_data.items():
            ran = [r for r in records if not r.error]
            said = [*_other_protocol(self.block.protocol, ran), *_other_size(self.block.samples.get(data), ran)]
            texts += [f"{data}: {'; '.join(said)}."] if said else []
        return texts


def _belongs(block: Block, record: RunRecord) -> bool:
    models = {row.model for row in block.rows if row.model}
    return record.model.name in models and record.data.name in {c.data for c in block.columns}


def _chosen(rows: Sequence[Contestant], model: str, block: Block, style: Style) -> Contestant:
    """Return the row of a model under the table's protocol, else under the one there is."""
    own = [row for row in rows if row.model == model]
    right = [row for row in own if row.protocol == block.protocol] or own
    if len(right) > 1 and not style.allow_mixed:
        names = ", ".join(row.protocol for row in right)
        raise SignatureMismatch(f"{model} was run under {names}; tabulate one of them, or pass --allow-mixed")
    return right[0]


def _other_protocol(name: str, records: Sequence[RunRecord]) -> list[str]:
    """Name the fields in which records' protocols are not the published table's."""
    if name not in PROTOCOLS:
        return []
    asked = {k: v for k, v in PROTOCOLS[name].as_dict().items() if k != "name"}
    found = {str(r.protocol["name"]): r.protocol for r in records}
    differing = {
        other: ", ".join(f"{k} is {p[k]} instead of {v}" for k, v in asked.items() if k in p and p[k] != v)
        for other, p in found.items()
    }
    return [f"measured under {other}, not {name}: {text}" for other, text in differing.items() if text]


def _other_size(asked: int | None, records: Sequence[RunRecord]) -> list[str]:
    sizes = sorted({r.data.n for r in records})
    if asked is None or not sizes or sizes == [asked]:
        return []
    return [f"measured on {' to '.join(f'{n:,}' for n in dict.fromkeys((sizes[0], sizes[-1])))} samples, not {asked:,}"]


def _ties(column: Sequence[Cell]) -> bool:
    marks = [cell.rank for cell in column]
    return marks.count(1) > 1 or marks.count(2) > 1


def _left_out(blocks: Sequence[Block], records: Sequence[RunRecord]) -> list[str]:
    """Name the records that the table has no place for."""
    lost = [r for r in records if not any(_belongs(block, r) for block in blocks)]
    pairs = dict.fromkeys(f"{r.model.name} on {r.data.name}" for r in lost)
    shown = ", ".join(list(pairs)[:10]) + (", …" if len(pairs) > 10 else "")
    return [f"{len(pairs)} more in these records, not in this table: {shown}."] if pairs else []
