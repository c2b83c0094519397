"""What a table is: rows of cells under columns, with footnotes and what made the numbers."""

from dataclasses import dataclass, field
from itertools import groupby

NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """One cell: what it says, the number behind it, its rank (1 best, 2 second), and its footnotes (from 1).

    `plain` are the values under the `plain` columns of a CSV, where these are not the number or the text. `published`
    is the cell of a published table as printed there, `difference` is `value` minus it.
    """

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rank: int = 0
    notes: tuple[int, ...] = ()
    plain: tuple[object, ...] = ()
    published: str = ""
    difference: float | None = None

    @property
    def aside(self) -> str:
        """The published cell in brackets, with the difference to as many digits as were published."""
        if not self.published:
            return ""
        if self.difference is None:
            return f"({self.published})"
        return f"({self.published}; {signed(self.difference, len(self.published.partition('.')[2]))})"


def signed(difference: float, digits: int) -> str:
    """Return a difference with its sign; ± where nothing is left of it."""
    text = f"{abs(difference):.{digits}f}"
    return f"±{text}" if not float(text) else f"{'+' if difference > 0 else '−'}{text}"


@dataclass(frozen=True)
class Column:
    """A column: the heading in two lines (data set, then metric), and which way is better ("" for no score).

    `key` is what it is called on a command line; `plain` are its headings in a CSV where they are others.
    """

    group: str
    label: str
    better: str = ""
    key: str = ""
    plain: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The heading in one line."""
        return f"{self.group} {self.label}".strip()


@dataclass
class Table:
    """A table ready to print: rows of cells, footnotes, and the signature of each data set's scores.

    `remarks` are about the whole table; `below` are tables that belong to it and have columns of their own.
    """

    columns: list[Column]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)
    caption: str = ""
    remarks: list[str] = field(default_factory=list)
    below: list["Table"] = field(default_factory=list)

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Neighbouring columns of one data set: its name, and how many there are."""
        return [(group, len(list(columns))) for group, columns in groupby(self.columns, key=lambda c: c.group)]
