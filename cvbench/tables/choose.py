"""What of a table is shown, and in which order."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from cvbench.core.errors import UnknownName
from cvbench.core.records import RunRecord
from cvbench.tables.table import Cell, Column, Table


def chosen(records: Sequence[RunRecord], rows: Sequence[str]) -> list[RunRecord]:
    """Return the records of the models `rows`, names or patterns; all where there is none. Raises UnknownName."""
    names = list(dict.fromkeys(record.model.name for record in records))
    wanted = {name for row in rows for name in _matching("model in these records", row, names)}
    return [record for record in records if not rows or record.model.name in wanted]


def arranged(table: Table, columns: Sequence[str] = (), sort: str = "") -> Table:
    """Return a table with these columns alone, behind the first, in the order given, and sorted by one, best first.

    Columns go by key (psnr, params, encode_fps), heading, or both with the data set (`clips psnr`), or a pattern of
    these. A text sorts by the alphabet; what has no number comes last. Raises UnknownName.
    """
    rows = _sorted(table, _places(table.columns, sort)[0]) if sort else table.rows
    places = list(dict.fromkeys([0, *(place for name in columns for place in _places(table.columns, name))]))
    return with_columns(replace(table, rows=rows), places) if columns else replace(table, rows=rows)


def with_columns(table: Table, places: Sequence[int]) -> Table:
    """Return a table with the columns at these places, in this order, and the footnotes that they refer to."""
    notes = _Renumbered(table.notes)
    cells = [[notes.of(row[place]) for place in places] for row in table.rows]
    return replace(table, columns=[table.columns[place] for place in places], rows=cells, notes=notes.kept)


def _places(columns: Sequence[Column], name: str) -> list[int]:
    names = [_names(column) for column in columns]
    asked = name.lower()
    found = [i for i, each in enumerate(names) if any(fnmatchcase(known, asked) for known in each)]
    if not found:
        raise UnknownName("column", name, [each[0] for each in names])
    return found


def _names(column: Column) -> list[str]:
    """Return what a column may be called, its key first."""
    label = column.label.rstrip(" ↑↓")
    plain = [name for name in (column.key, label) if name]
    return [name.lower() for name in (*plain, *(f"{column.group} {name}" for name in plain if column.group))]


def _sorted(table: Table, place: int) -> list[list[Cell]]:
    sign = -1 if table.columns[place].better == "higher" else 1

    def key(row: Sequence[Cell]) -> tuple[bool, float, str]:
        cell = row[place]
        number = sign * cell.value if cell.value is not None else 0.0
        return cell.value is None, number, "" if cell.value is not None else cell.text.lower()

    return sorted(table.rows, key=key)


def _matching(kind: str, name: str, known: Iterable[str]) -> list[str]:
    names = list(known)
    found = [each for each in names if each == name] or [each for each in names if fnmatchcase(each, name)]
    if not found:
        raise UnknownName(kind, name, names)
    return found


class _Renumbered:
    """Footnotes that cells still refer to, numbered anew."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts, self.kept = texts, list[str]()

    def of(self, cell: Cell) -> Cell:
        for number in cell.notes:
            if self.texts[number - 1] not in self.kept:
                self.kept.append(self.texts[number - 1])
        return replace(cell, notes=tuple(self.kept.index(self.texts[number - 1]) + 1 for number in cell.notes))
