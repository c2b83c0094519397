"""An ablation tested: every row against a reference row, sample by sample. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from cvbench.core.records import RunRecord, Score
from cvbench.metrics.pairing import paired
from cvbench.metrics.statistics import EXACT, Difference, holm
from cvbench.paper.read import Block, PaperColumn, PaperRow, Question
from cvbench.tables import NOTHING, Cell, Column, Footnotes, Table
from cvbench.tables.cells import ABSENT, FAILED, NOT_RUN
from cvbench.tables.table import signed

ALPHA = 0.05


@dataclass(frozen=True)
class PairedTest:
    """A row against the reference in one column, over the `n` samples that both were measured on.

    `change` is row minus reference in the metric's unit with its 95 % interval; `p` is of the two-sided paired
    permutation test, in an `Ablation` after Holm's correction.
    """

    row: PaperRow
    column: PaperColumn
    n: int
    change: Difference
    p: float

    @property
    def gain(self) -> float:
        """How much better the reference is than the row; negative when it is worse."""
        return -self.change.mean if self.column.info.better == "higher" else self.change.mean

    @property
    def verdict(self) -> Literal["better than", "worse than", "not told apart from"]:
        """What the reference is, at p < 0.05."""
        if self.p >= ALPHA:
            return "not told apart from"
        return "better than" if self.gain > 0 else "worse than"


@dataclass(frozen=True, eq=False)
class Ablation:
    """A block that asks a question, with its records by model and data set."""

    block: Block
    question: Question
    taken: Mapping[tuple[str, str], RunRecord]

    @property
    def others(self) -> list[PaperRow]:
        """All rows but the reference."""
        return [row for row in self.block.rows if row is not self.question.reference]

    @cached_property
    def tests(self) -> list[PairedTest]:
        """Every test that can be made, corrected by Holm's rule for the rows of its column.

        That is the family of `cvbench compare`: the models, for each metric of each data set.
        """
        found = []
        for column in self.block.columns:
            tests = [test for row in self.others if (test := self._test(row, column))]
            found += [replace(test, p=p) for test, p in zip(tests, holm([t.p for t in tests]), strict=True)]
        return found

    def record(self, row: PaperRow, column: PaperColumn) -> RunRecord | None:
        """Return a row's record on the data set of a column."""
        return self.taken.get((row.model, column.data))

    def score(self, row: PaperRow, column: PaperColumn) -> Score | None:
        """Return a row's score in a column, where it has one."""
        record = self.record(row, column)
        return record.scores.get(column.metric) if record and not record.error else None

    def table(self) -> Table:
        """Lay the tests out: a line a data set and row, for each metric the difference with its interval, and p."""
        metrics = {column.metric: column for column in self.block.columns}
        heads = [Column("", "Method"), Column("", "Data"), Column("", "Samples")]
        for column in metrics.values():
            heads += [Column(column.label, f"difference {column.info.arrow}", column.info.better)]
            heads += [Column(column.label, "p")]
        footnotes = Footnotes()
        rows = [self._line(row, data, list(metrics), footnotes) for data in self.block.data for row in self.others]
        caption = f"Small scale: each row minus {self.question.reference.method}, sample by sample"
        return Table(heads, rows, footnotes.texts, caption=caption, remarks=self._stated())

    def _test(self, row: PaperRow, column: PaperColumn) -> PairedTest | None:
        records = [self.record(r, column) for r in (row, self.question.reference)]
        if any(_absent(record, column) for record in records) or self._unlike(row, column):
            return None
        ours, theirs = (r for r in records if r)
        if not (shared := paired(column.metric, theirs, ours)):
            return None
        return PairedTest(row, column, len(shared.samples), shared.difference(), shared.p())

    def _unlike(self, row: PaperRow, column: PaperColumn) -> str:
        """Say in what a score was made otherwise than the reference's; which samples agree is found one by one."""
        ours, theirs = self.score(row, column), self.score(self.question.reference, column)
        if ours is None or theirs is None:
            return ""
        return theirs.signature.without_samples().difference(ours.signature.without_samples())

    def _line(self, row: PaperRow, data: str, metrics: list[str], footnotes: Footnotes) -> list[Cell]:
        columns = {c.metric: c for c in self.block.columns if c.data == data}
        tests = {t.column.metric: t for t in self.tests if t.row is row and t.column.data == data}
        sizes = sorted({t.n for t in tests.values()})
        line = [
            Cell(row.method),
            Cell(next(c.heading for c in columns.values())),
            Cell(" to ".join(str(n) for n in dict.fromkeys(sizes[:1] + sizes[-1:])) or NOTHING),
        ]
        for name in metrics:
            line += _tested(tests[name]) if name in tests else self._untested(row, columns.get(name), footnotes)
        return line

    def _untested(self, row: PaperRow, column: PaperColumn | None, footnotes: Footnotes) -> list[Cell]:
        """Return the two cells of a test that cannot be made: why not, as the row's or the reference's cell says."""
        if column is None:
            return [Cell(NOTHING)] * 2
        reasons = [_absent(self.record(r, column), column) for r in (row, self.question.reference)]
        unlike = self._unlike(row, column)
        note = unlike and f"not comparable: {row.model}, {column.label} on {column.data}: {unlike}"
        return [Cell(next(filter(None, reasons), NOTHING), notes=footnotes.refer(note)), Cell(NOTHING)]

    def _stated(self) -> list[str]:
        """Say what the test is, and the smallest p that so few samples can give."""
        told = (
            f"Row minus {self.question.reference.method}: the mean of the differences on the samples that both were "
            "measured on, with its 95 % interval (studentised bootstrap over samples); p of the two-sided paired "
            "permutation test, after Holm's correction for the rows compared on one data set by one metric."
        )
        n, rows = max(t.n for t in self.tests), len({t.row.method for t in self.tests})
        if n > EXACT:
            return [told]
        least = [show_p(min(1.0, 2 * many / 2**n)) for many in (rows, len(self.tests))]
        return [f"{told} On {n} samples no p can be below {least[0]} (corrected for the whole table: {least[1]})."]


def _absent(record: RunRecord | None, column: PaperColumn) -> str:
    """Say why a record has no score in a column, as its cell does; "" where it has one."""
    if record is None:
        return NOT_RUN
    if record.error:
        return ABSENT.get(record.error_kind, FAILED)
    if column.metric in record.scores:
        return ""
    return NOTHING if column.metric in record.unavailable else NOT_RUN


def _tested(test: PairedTest) -> list[Cell]:
    digits, (mean, low, high) = test.column.info.digits + 1, test.change
    text = signed(mean, digits)
    if low is not None and high is not None:
        text += f" [{signed(low, digits)}, {signed(high, digits)}]"
    return [Cell(text, mean, low, high), Cell(show_p(test.p), test.p)]


def show_p(p: float) -> str:
    """Return a p value as text."""
    return f"{p:.3f}" if p >= 0.001 else "<0.001"
