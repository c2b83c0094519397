import csv
import dataclasses
import io
import json

import pytest

from cvbench import tables
from cvbench.errors import UsageError
from cvbench.records import Failure, ModelFacts
from test_records import record


def test_the_layout_is_that_of_table_1() -> None:
    table = tables.build([record("a", value=28.94), record("b", value=26.7)])
    assert [c.title for c in table.columns] == ["Model", "Params", "FCR", "Comp.", "PSNR ↑"]
    assert [c.text for c in table.rows[0]] == ["a", "34M + 49M", "1", "–", "28.94"]


def test_best_is_bold_and_second_underlined_but_not_the_identity() -> None:
    reference = dataclasses.replace(record(value=100.0), model=ModelFacts("identity", "0", role="reference"))
    text = tables.markdown(
        tables.build([reference, record("a", value=28.0), record("b", value=27.0), record("c", value=20.0)])
    )
    assert "**28.00**" in text
    assert "<u>27.00</u>" in text
    assert "**100.00**" not in text


def test_untrained_models_never_win() -> None:
    untrained = dataclasses.replace(record(value=99.0), model=ModelFacts("u", "0", init="random"))
    table = tables.build([untrained, record("a", value=28.0), record("b", value=27.0)])
    assert [row[-1].rank for row in table.rows] == [0, 1, 2]
    assert "untrained" in tables.markdown(table)


def test_scores_of_other_protocols_are_refused_with_the_fields_that_differ() -> None:
    mixed = [record("a"), record("b"), record("c", signature="psnr:1 data=d#1 size=512")]
    with pytest.raises(tables.SignatureMismatch, match="size is 512 instead of 256"):
        tables.build(mixed)
    assert "not comparable: c, PSNR on d: size is 512" in tables.markdown(tables.build(mixed, allow_mixed=True))


def test_what_is_missing_has_a_footnote_and_no_number() -> None:
    gone = record("a", scores={}, samples=[], error="weights of a are not on this machine")
    text = tables.markdown(tables.build([gone, record("b", unavailable={"lpips-vgg": "vgg16 is missing"})]))
    assert "<sup>1</sup> a: weights of a are not on this machine" in text
    assert "LPIPS-VGG: vgg16 is missing" in text


def test_a_shared_failure_is_the_data_sets_and_an_own_one_the_models() -> None:
    shared = Failure("broken.png", "truncated")
    own = record("b", failures=[shared, Failure("big.png", "out of memory")], signature="psnr:1 data=d#2 size=256")
    table = tables.build([record("a", failures=[shared]), record("c", failures=[shared]), own])
    text = "\n".join(table.notes)
    assert "d: 1 samples not scored: broken.png: truncated" in text
    assert "b on d: scored on 1 samples, failed on 1: big.png: out of memory" in text


def test_markdown_escapes_what_would_break_it() -> None:
    text = tables.markdown(tables.build([record("<script>|x|"), record("b")]))
    assert "<script>" not in text
    assert "&lt;script>\\|x\\|" in text


def test_csv_has_plain_numbers_and_intervals() -> None:
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(tables.build([record("a", value=28.9412345), record("b")])))))
    assert (rows[0]["PSNR"], rows[0]["PSNR low"], rows[0]["Params"]) == ("28.9412345", "27.9412345", "34M + 49M")


def test_latex_is_booktabs_and_escaped() -> None:
    text = tables.latex(tables.build([record("vae_sd&21"), record("b", value=20.0)]))
    assert r"vae\_sd\&21" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\textbf{30.00}")] == [1, 1, 1, 1]
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") - line.count(r"\&") for line in body} == {4}


def test_json_has_numbers() -> None:
    parsed = json.loads(tables.to_json(tables.build([record("a", value=28.5)])))
    assert parsed["rows"][0]["PSNR ↑"]["value"] == 28.5


def test_two_data_sets_stand_side_by_side() -> None:
    table = tables.build([record("a", "x"), record("a", "y", 20.0, "psnr:1 data=y#1"), record("b", "x")])
    assert [c.title for c in table.columns][-2:] == ["x PSNR ↑", "y PSNR ↑"]
    assert table.rows[1][-1].text == "not run"


def test_samples_csv_has_a_line_a_sample_and_failure() -> None:
    text = tables.samples_csv([record("a", failures=[Failure("b.png", "truncated")])])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(r["sample"], r["psnr"], r["error"]) for r in rows] == [
        ('a/ü "1".png', "30.0", ""),
        ("b.png", "", "truncated"),
    ]


def test_no_records_make_no_table() -> None:
    with pytest.raises(UsageError, match="no records"):
        tables.build([])
