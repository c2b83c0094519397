"""What of a table is shown, and in which order."""

from pathlib import Path

import pytest
from conftest import record

from cvbench import tables
from cvbench.cli import run_program
from cvbench.core.errors import UnknownName
from cvbench.core.records import Order, RunRecord, read_records
from cvbench.store import keep_order, write_record

RECORDS = [
    record("b", value=20.0),
    record("a", value=30.0),
    record("gone", scores={}, samples=[], error="no weights"),
    record("c", value=25.0, unavailable={"ssim": "no"}),
]


def shown(table: tables.Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_a_column_sorts_best_first_and_what_has_no_number_comes_last() -> None:
    table = tables.build(RECORDS)
    assert [row[0] for row in shown(tables.arranged(table, sort="psnr"))] == ["a", "c", "b", "gone"]
    assert [row[0] for row in shown(tables.arranged(table, sort="Model"))] == ["a", "b", "c", "gone"]
    assert [row[0] for row in shown(tables.arranged(table))] == ["b", "a", "gone", "c"]


def test_columns_go_by_key_heading_and_pattern_and_unused_footnotes_go_with_the_others() -> None:
    table = tables.build(RECORDS)
    assert len(table.notes) == 2
    chosen = tables.arranged(table, ["psnr", "FCR", "par*"])
    assert [column.label for column in chosen.columns] == ["Model", "PSNR ↑", "FCR", "Params"]
    assert shown(chosen)[0] == ["b", "20.00", "1", "34M + 49M"]
    assert (chosen.notes, chosen.rows[2][1].notes) == (["gone: no weights"], (1,))
    assert tables.arranged(table, ["ssim"]).notes == ["gone: no weights", "SSIM: no"]
    two = tables.build([record("a"), record("a", "e", value=1.0)])
    assert [c.title for c in tables.arranged(two, ["e psnr"]).columns] == ["Model", "e PSNR ↑"]
    assert len(tables.arranged(two, ["psnr"]).columns) == 3
    for name in ("nope", "x*"):
        with pytest.raises(UnknownName, match="no column"):
            tables.arranged(table, [name])


def test_rows_go_by_name_and_pattern() -> None:
    assert [r.model.name for r in tables.chosen(RECORDS, ["c", "[ab]"])] == ["b", "a", "c"]
    assert tables.chosen(RECORDS, []) == RECORDS
    with pytest.raises(UnknownName, match="nope"):
        tables.chosen(RECORDS, ["nope"])


def names(folder: Path) -> list[str]:
    return [r.model.name for r in read_records([folder])]


def test_records_come_in_the_order_typed(tmp_path: Path) -> None:
    def keep(*models: str) -> None:
        made: list[RunRecord] = [record(model) for model in models]
        for each in made:
            write_record(tmp_path, each)
        keep_order(tmp_path, made)

    keep("b", "c", "a")
    assert names(tmp_path) == ["b", "c", "a"]
    keep("z", "a")
    assert names(tmp_path) == ["b", "c", "a", "z"]
    keep("z", "a", "b", "c")
    assert names(tmp_path) == ["z", "a", "b", "c"]
    write_record(tmp_path, record("late"))
    assert names(tmp_path)[-1] == "late"
    (tmp_path / "records" / ".order").write_text("{broken")
    assert names(tmp_path) == ["a", "b", "c", "late", "z"]


def test_an_order_that_names_less_moves_nothing() -> None:
    assert Order(("a", "b")).then(Order(("b",), ("d",))) == Order(("a", "b"), ("d",))


def test_the_command_line_chooses_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for each in RECORDS:
        write_record(tmp_path, each)
    words = ["--rows", "a,b", "--columns", "psnr", "--sort", "psnr", "--format", "csv"]
    assert run_program(["table", str(tmp_path), *words]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Model,PSNR,PSNR low,PSNR high,notes", "a,30.0,29.0,31.0,", "b,20.0,19.0,21.0,"
    ]  # fmt: skip
    assert run_program(["table", str(tmp_path), "--sort", "nope"]) == 2
    assert run_program(["table", "1", "--sort", "psnr"]) == 2
