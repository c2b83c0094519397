"""Records in the layout of a published table."""

from collections.abc import Sequence
from dataclasses import replace

from cvbench.core.protocol import PROTOCOLS
from cvbench.core.records import RunRecord
from cvbench.paper.ablation import Ablation
from cvbench.paper.finding import finding
from cvbench.paper.read import FACTS, Block, PaperColumn, PaperRow, PaperTable
from cvbench.paper.stored import filled_up, how_to_run
from cvbench.tables import Cell, Column, Footnotes, Scores, SignatureMismatch, Table
from cvbench.tables.build import TableRow, lineup
from cvbench.tables.cells import NOT_RUN, Style, compatibility, data_notes, decoded, parameters, untrained
from cvbench.tables.ranking import tie_remark
from cvbench.tables.table import NOTHING

NOT_PUBLIC = "weights not public"
LEGEND = "Cells: measured (published; measured − published, to the digits published)."


def build(
    paper: PaperTable,
    records: Sequence[RunRecord],
    *,
    stored: Sequence[RunRecord] = (),
    published: bool = False,
    intervals: bool = False,
    allow_mixed: bool = False,
) -> Table:
    """Print records in a published table's layout, with `published` beside the paper's cells.

    A cell without a number says why: "not run", "weights not public", "weights missing", "failed". Records of other
    models or data sets are named under the table. Of several protocols the table's own is taken. The small
    counterpart below has intervals always, `stored` records where none are given, paired tests and their finding.
    Raises SignatureMismatch naming the fields that differ when scores of one column were not made alike, unless
    `allow_mixed`, which makes footnotes of them.
    """
    style = Style(intervals, allow_mixed)
    table = _Filling(paper.main, records, style, published).table()
    said = [LEGEND, f"Published: {paper.source}."] if published else [f"In the layout of {paper.source}."]
    table.remarks = [*said, *table.remarks]
    if paper.small:
        table.below = _small(paper.small, records, stored, Style(True, allow_mixed), published)
    wanted = [block for block in (paper.main, paper.small) if block]
    table.remarks += _left_out(wanted, records)
    return table


def _small(
    block: Block, given: Sequence[RunRecord], stored: Sequence[RunRecord], style: Style, published: bool
) -> list[Table]:
    """Fill a small counterpart; where it asks a question, the paired tests that answer it follow."""
    records, shipped = filled_up(block, given, stored, allow_mixed=style.allow_mixed)
    filling = _Filling(block, records, style, published)
    table, tests = filling.table(), []
    said = [_direction_only(block)] if published and block.papers else []
    if block.question:
        held = {(model, data): record for model, row in filling.taken.items() for data, record in row.records.items()}
        ablation = Ablation(block, block.question, held)
        said = [*finding(ablation), *said]
        tests = [ablation.table()] if ablation.tests else []
    table.remarks = [*said, *table.remarks, *shipped, *how_to_run(block, records)]
    return [table, *tests]


def _direction_only(block: Block) -> str:
    places = ", ".join(f"{theirs} where {ours} stands here" for ours, theirs in block.papers.items())
    return (
        "In brackets what the paper prints for its own networks, trained longer, on other data, and measured on "
        f"{places}: for the direction of a difference only. The numbers themselves do not compare."
    )


class _Filling:
    """A block on its way to a table: the records that belong to it, and their footnotes."""

    def __init__(self, block: Block, records: Sequence[RunRecord], style: Style, published: bool) -> None:
        self.block, self.published, self.footnotes = block, published, Footnotes()
        mine = [record for record in records if block.holds(record)]
        self.taken = self._take(lineup(mine, self.footnotes, style), style)
        taken = [record for row in self.taken.values() for record in row.records.values()]
        metrics = {c.metric: replace(c.info, label=c.label) for c in block.columns}
        self.scores = Scores(taken, metrics, self.footnotes, style)

    def _take(self, rows: Sequence[TableRow], style: Style) -> dict[str, TableRow]:
        """Return by model its record on each data set, under the table's protocol where it was run under several."""
        places: dict[str, dict[str, list[RunRecord]]] = {}
        for row in rows:
            if row.facts.init == "random" and any(r.model == row.model and r.facts.init != "random" for r in rows):
                continue
            for data, record in row.records.items():
                places.setdefault(row.model, {}).setdefault(data, []).append(record)
        return {
            model: TableRow(model, "", {data: self._one(found, style) for data, found in of_model.items()})
            for model, of_model in places.items()
        }

    def _one(self, found: Sequence[RunRecord], style: Style) -> RunRecord:
        """Return a place's record. Raises SignatureMismatch for several, none of them under the table's protocol."""
        chosen = next((r for r in found if r.protocol.name == self.block.protocol), found[0])
        if len(found) == 1:
            return chosen
        where = f"{chosen.model.name} on {chosen.data.name}"
        protocols = ", ".join(r.protocol.name for r in found)
        if chosen.protocol.name != self.block.protocol and not style.allow_mixed:
            raise SignatureMismatch(f"{where} was run under {protocols}; tabulate one of them, or pass --allow-mixed")
        self.footnotes.refer(f"{where}: run under {protocols}; shown: {chosen.protocol.name}")
        return chosen

    def table(self) -> Table:
        columns = [Column("", "Method"), *(Column("", FACTS[fact]) for fact in self.block.facts)]
        cells = [self._methods(), *(self._facts(fact) for fact in self.block.facts)]
        several = len({c.data for c in self.block.columns}) > 1
        for position, column in enumerate(self.block.columns):
            label = f"{column.label} {column.info.arrow}"
            columns.append(Column(column.heading if several else "", label, column.info.better))
            cells.append(self._column(position, column))
        rows = [list(row) for row in zip(*cells, strict=True)]
        about = [note for data, of_data in self.scores.of_data.items() for note in data_notes(data, of_data)]
        about += [note for of_data in self.scores.of_data.values() for record in of_data for note in decoded(record)]
        remarks = [*about, *tie_remark(cells), *self.scores.remarks, *self._conditions(), *self.block.notes]
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
        ours = known(found.facts) if known and found else _frames(found) if fact == "frames" and found else ""
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
        """Put the published cell beside a measured one, or beside the reason why there is none.

        In a small block nothing is subtracted: the two are of other networks and other data.
        """
        if cell.text == NOT_RUN and not row.reproducible:
            cell = Cell(NOT_PUBLIC, notes=self.footnotes.refer(row.why))
        if not self.published or not row.published:
            return cell
        printed = row.published[position]
        if cell.value is None or self.block.small:
            return replace(cell, published=printed)
        return replace(cell, published=printed, difference=cell.value - float(printed))

    def _conditions(self) -> list[str]:
        """Say where records were made otherwise than the published numbers, data set by data set."""
        texts = []
        for data, records in self.scores.of_data.items():
            ran = [r for r in records if not r.error]
            said = [*_other_protocol(self.block.protocol, ran), *_other_size(self.block.samples.get(data), ran)]
            texts += [f"{data}: {'; '.join(said)}."] if said else []
        return texts


def _frames(row: TableRow) -> str:
    """Return how many frames a generator's samples have, "" of other records."""
    counts = (record.generation["frames"] for record in row.records.values() if record.generation)
    return ", ".join(dict.fromkeys(str(count) for count in counts if count))


def _other_protocol(name: str, records: Sequence[RunRecord]) -> list[str]:
    """Name the fields in which records' protocols are not the published table's."""
    if name not in PROTOCOLS:
        return []
    asked = {k: v for k, v in PROTOCOLS[name].as_dict().items() if k != "name"}
    found = {r.protocol.name: r.protocol.as_dict() for r in records}
    differing = {
        other: ", ".join(f"{k} is {p[k]} instead of {v}" for k, v in asked.items() if p[k] != v)
        for other, p in found.items()
    }
    return [f"measured under {other}, not {name}: {text}" for other, text in differing.items() if text]


def _other_size(asked: int | None, records: Sequence[RunRecord]) -> list[str]:
    sizes = sorted({r.data.n for r in records})
    if asked is None or not sizes or sizes == [asked]:
        return []
    return [f"measured on {' to '.join(f'{n:,}' for n in dict.fromkeys((sizes[0], sizes[-1])))} samples, not {asked:,}"]


def _left_out(blocks: Sequence[Block], records: Sequence[RunRecord]) -> list[str]:
    """Name the records that the table has no place for."""
    lost = [r for r in records if not any(block.holds(r) for block in blocks)]
    models: dict[str, dict[str, None]] = {}
    for record in lost:
        models.setdefault(record.model.name, {})[record.data.name] = None
    shown = [f"{model} ({', '.join(data)})" for model, data in models.items()]
    more = ", …" if len(shown) > 10 else ""
    return [f"Also in these records, but not in this table: {', '.join(shown[:10])}{more}."] if shown else []
