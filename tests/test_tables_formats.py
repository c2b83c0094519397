"""What the formats do with names that nobody expects."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_core_records import record

from cvbench import tables
from cvbench.core.records import Failure
from cvbench.tables import Cell, Column, Table

NAMES = [
    "a\nb",
    "a\r\n::error::x",
    "\x1b[31mred",
    "\u202elittle",
    "caf\udce9.png",
    "\x00",
    "a\u2028b",
    "\x9bx",
    "x|y",
    "<b>",
]


def table_of(text: str) -> Table:
    cells = [Cell(text, notes=(1,)), Cell(text, published=text), Cell("1.5", 1.5)]
    columns = [Column("", "Model"), Column(text, text), Column(text, "PSNR", "higher")]
    return Table(columns, [cells], [text], [text], text, [text])


@pytest.mark.parametrize("form", sorted(tables.FORMATS))
@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_a_terminal_obeys_is_in_any_format(form: str, name: str) -> None:
    text = tables.FORMATS[form](table_of(name))
    assert all(c.isprintable() or c in "\n\u2028" for c in text)
    assert text.encode()
    assert "\n::" not in text


@given(st.text(st.characters()))
def test_json_keeps_every_name(name: str) -> None:
    assert json.loads(tables.to_json(table_of(name)))["caption"] == name


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "＝1", "-", "--", "-x", "+"]


@pytest.mark.parametrize("name", FORMULAS)
def test_no_cell_of_a_csv_begins_as_a_formula_does(name: str) -> None:
    scored = record(name, failures=[Failure(name, name)])
    for text in (tables.to_csv(table_of(name)), tables.samples_csv([scored])):
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert not [cell for cell in cells if cell[:1] in set("=+-@\t\r＝") and cell != "-"]
    assert f"'{name.strip()}"[:2] in tables.to_csv(table_of(name)) or name == "-"


@pytest.mark.parametrize("number", ["-0.5", "+0.5", "-1e-05", "-12", "+.5", "-3."])
def test_numbers_stay_numbers_in_csv(number: str) -> None:
    table = Table([Column("", "Model"), Column("", "x", "higher")], [[Cell(number), Cell("–0.5", -0.5)]])
    assert list(csv.reader(io.StringIO(tables.to_csv(table))))[1] == [number, "-0.5", ""]


@given(st.text(st.characters()))
def test_every_csv_has_as_many_lines_as_rows(name: str) -> None:
    text = tables.samples_csv([record(failures=[Failure(name, name)])])
    assert len(text.splitlines()) == 3
