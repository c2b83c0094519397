import csv
import dataclasses
import io
import json

import pytest
from conftest import PROTOCOL, record, signature
from scipy.special import stdtrit

from cvbench import tables
from cvbench.core.errors import UsageError
from cvbench.core.records import Failure, ModelFacts, RunRecord, SampleRecord, Score
from cvbench.tables.ranking import student

SIZED = dataclasses.replace(PROTOCOL, size=512)
OTHER = dataclasses.replace(SIZED, name="q")


def test_the_layout_is_that_of_table_1() -> None:
    table = tables.build([record("a", value=28.94), record("b", value=26.7)])
    assert [c.title for c in table.columns] == ["Model", "Params", "FCR", "Comp.", "PSNR ↑"]
    assert [c.text for c in table.rows[0]] == ["a", "34M + 49M", "1", "–", "28.94"]


def test_best_is_bold_and_second_underlined_but_not_the_identity() -> None:
    reference = dataclasses.replace(record(value=100.0), model=ModelFacts("identity", "0", role="reference"))
    text = tables.markdown(
        tables.build([reference, record("a", value=28.0), record("b", value=25.0), record("c", value=20.0)])
    )
    assert "**28.00**" in text
    assert "<u>25.00</u>" in text
    assert "**100.00**" not in text


def test_untrained_models_never_win() -> None:
    untrained = dataclasses.replace(record(value=99.0), model=ModelFacts("u", "0", init="random"))
    table = tables.build([untrained, record("a", value=28.0), record("b", value=25.0)])
    assert [row[-1].rank for row in table.rows] == [0, 1, 2]
    assert "untrained" in tables.markdown(table)


def clips(model: str, values: list[float], half: float) -> RunRecord:
    """A record of one frame a clip, whose score's interval is its mean ± half."""
    mean = sum(values) / len(values)
    samples = [SampleRecord(f"c{i}", 1, 8, 8, f"{i:064x}", {}, {"psnr": [v]}) for i, v in enumerate(values)]
    score = Score(mean, mean - half, mean + half, len(values), signature())
    return record(model, samples=samples, scores={"psnr": score})


HARD_AND_EASY = [20.0, 25.0, 30.0, 35.0] * 3  # clips differ by far more than models


@pytest.mark.parametrize(
    ("second", "half", "marks"),
    [
        ([v - 0.5 for v in HARD_AND_EASY], 3.0, [1, 2]),  # overlapping, but worse on every clip
        ([v + (1.0 if i % 2 else -1.01) for i, v in enumerate(HARD_AND_EASY)], 3.0, [1, 1]),  # better on every other
        ([v + (1.0 if i % 2 else -1.01) for i, v in enumerate(HARD_AND_EASY)], 0.001, [1, 2]),  # no overlap
        ([v - 0.5 for v in HARD_AND_EASY][:7], 3.0, [1, 1]),  # seven common clips are too few to tell
    ],
)
def test_scores_tie_when_intervals_overlap_and_clips_do_not_tell_them_apart(
    second: list[float], half: float, marks: list[int]
) -> None:
    first = HARD_AND_EASY[: len(second)]
    table = tables.build([clips("a", first, half), clips("b", second, half)])
    assert [row[-1].rank for row in table.rows] == marks
    assert any("tie" in remark for remark in table.remarks) == (marks == [1, 1])


def test_what_ties_with_the_second_is_underlined_too() -> None:
    table = tables.build(
        [record("a", value=v) for v in (28.0,)]
        + [record(m, value=v) for m, v in (("b", 20.0), ("c", 19.0), ("e", 10.0))]
    )
    assert [row[-1].rank for row in table.rows] == [1, 2, 2, 0]


def test_scores_without_intervals_tie_only_when_equal() -> None:
    def bare(model: str, value: float) -> RunRecord:
        return record(model, scores={"psnr": Score(value, None, None, 1, signature())})

    table = tables.build([bare("a", 30.0), bare("b", 30.0), bare("c", 29.999)])
    assert [row[-1].rank for row in table.rows] == [1, 1, 2]


@pytest.mark.parametrize("freedom", [7, 8, 12, 30, 1000])
def test_the_quantile_of_student_is_that_of_scipy(freedom: int) -> None:
    assert student(freedom) == pytest.approx(stdtrit(freedom, 0.975), abs=1e-3)


def test_scores_of_other_protocols_are_refused_with_the_fields_that_differ() -> None:
    mixed = [record("a"), record("b"), record("c", signed=signature(protocol=SIZED))]
    with pytest.raises(tables.SignatureMismatch, match="size is 512 instead of 256"):
        tables.build(mixed)
    assert "not comparable: c, PSNR on d: size is 512" in tables.markdown(tables.build(mixed, allow_mixed=True))


def test_what_is_not_comparable_is_never_best() -> None:
    other = record("c", value=99.0, signed=signature(protocol=SIZED))
    table = tables.build([record("a", value=28.0), record("b", value=25.0), other], allow_mixed=True)
    assert [row[-1].rank for row in table.rows] == [1, 2, 0]


def test_speed_stands_behind_the_scores_with_the_machine_as_a_footnote() -> None:
    speed = {"encode_fps": 3.456, "decode_fps": 12.34, "peak_mib": None, "device": "CPU", "threads": 2, "shape": "1x3"}
    table = tables.build([record("a", speed=speed), record("b")])
    assert [c.label for c in table.columns[-3:]] == ["enc. fps", "dec. fps", "peak MiB"]
    assert [[c.text for c in row[-3:]] for row in table.rows] == [["3.5", "12", "–"], ["–", "–", "–"]]
    assert table.notes == ["speed on CPU, 2 threads, clip 1x3; peak memory beyond the weights"]


def test_a_lost_sample_excuses_other_samples_but_no_other_protocol() -> None:
    lost = [Failure("big.png", "out of memory")]
    other = record("b", failures=lost, signed=signature(manifest="2"))
    tables.build([record("a"), other])
    with pytest.raises(tables.SignatureMismatch, match="size is 512 instead of 256"):
        tables.build([record("a"), record("b", failures=lost, signed=signature(manifest="2", protocol=SIZED))])


def test_signatures_are_compared_also_where_every_record_has_an_unreadable_sample() -> None:
    broken = [Failure("broken.png", "truncated")]
    with pytest.raises(tables.SignatureMismatch, match="size is 512"):
        tables.build([record("a", failures=broken), record("b", failures=broken, signed=signature(protocol=SIZED))])


def test_a_model_under_two_protocols_has_two_rows() -> None:
    other = record("a", protocol=OTHER, value=20.0, signed=signature(protocol=OTHER))
    with pytest.raises(tables.SignatureMismatch, match="size is 512"):
        tables.build([record("a"), record("a"), other])
    table = tables.build([record("a"), other], allow_mixed=True)
    assert [row[0].text for row in table.rows] == ["a (p)", "a (q)"]


def test_of_two_records_of_one_place_the_newer_is_shown_and_others_are_refused() -> None:
    old, new = record("a", value=30.0, created="2024"), record("a", value=31.0, created="2025")
    assert tables.build([new, old]).rows[0][-1].text == "31.00"
    changed = dataclasses.replace(new, model=dataclasses.replace(new.model, digest="9"))
    with pytest.raises(tables.SignatureMismatch, match="two records of a on d under p: weights or options differ"):
        tables.build([old, changed])
    table = tables.build([old, changed], allow_mixed=True)
    assert (table.rows[0][-1].text, "weights or options differ" in table.notes[0]) == ("31.00", True)


def test_metrics_of_one_model_in_two_folders_make_one_row() -> None:
    lpips = record("a", scores={"lpips-vgg": Score(0.1, None, None, 1, signature("lpips-vgg"))})
    table = tables.build([record("a", unavailable={"lpips-vgg": "vgg16 is missing"}), lpips])
    assert [cell.text for cell in table.rows[0][-2:]] == ["30.00", "0.100"]
    assert not table.notes


def test_a_record_that_ran_goes_before_one_that_did_not() -> None:
    gone = record("a", scores={}, samples=[], error="no weights", created="2025")
    assert tables.build([record("a"), gone]).rows[0][-1].text == "30.00"


@pytest.mark.parametrize(
    ("kind", "text"), [("MissingWeights", "weights missing"), ("BadWeights", "weights unusable"), ("", "failed")]
)
def test_a_cell_says_why_a_model_did_not_run(kind: str, text: str) -> None:
    gone = record("a", scores={}, samples=[], error="it did not", error_kind=kind)
    cell = tables.build([gone, record("b")]).rows[0][-1]
    assert (cell.text, cell.notes) == (text, (1,))


def test_what_a_score_says_beside_its_number_is_a_footnote_bold_where_it_asks_for_it() -> None:
    few = record(scores={"psnr": Score(3.0, None, None, 3, signature(), "**under-sampled**: 3 rows")})
    table = tables.build([few])
    assert "PSNR of m: **under-sampled**: 3 rows" in tables.markdown(table)
    assert "PSNR of m: <strong>under-sampled</strong>: 3 rows" in tables.html(table)
    assert r"PSNR of m: \textbf{under-sampled}: 3 rows" in tables.latex(table)


def test_what_is_missing_has_a_footnote_and_no_number() -> None:
    gone = record("a", scores={}, samples=[], error="weights of a are not on this machine")
    text = tables.markdown(tables.build([gone, record("b", unavailable={"lpips-vgg": "vgg16 is missing"})]))
    assert "<sup>1</sup> a: weights of a are not on this machine" in text
    assert "LPIPS-VGG: vgg16 is missing" in text


def test_a_shared_failure_is_the_data_sets_and_an_own_one_the_models() -> None:
    shared = Failure("broken.png", "truncated")
    own = record("b", failures=[shared, Failure("big.png", "out of memory")], signed=signature(manifest="2"))
    table = tables.build([record("a", failures=[shared]), record("c", failures=[shared]), own])
    text = "\n".join(table.notes)
    assert "d: 1 samples not scored: broken.png: truncated" in text
    assert "b on d: scored on 1 samples, failed on 1: big.png: out of memory" in text


def test_markdown_escapes_what_would_break_it() -> None:
    text = tables.markdown(tables.build([record("<script>|x|"), record("b")]))
    assert "<script>" not in text
    assert "&lt;script>\\|x\\|" in text


def test_html_is_one_table_with_everything_escaped() -> None:
    text = tables.html(
        tables.build(
            [record("<script>alert('1')</script>"), record('"b"&', "e", value=20.0, signed=signature(manifest="s"))]
        )
    )
    assert "<script" not in text
    assert '<th scope="row">&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;</th>' in text
    assert "&quot;b&quot;&amp;" in text
    assert (text.count("<table"), text.count("</table>")) == (1, 1)
    assert '<th scope="colgroup" colspan="1">e</th>' in text


def test_html_marks_best_and_second() -> None:
    text = tables.html(tables.build([record("a", value=30.0), record("b", value=20.0)]))
    assert '<td class="best"><strong>30.00</strong></td>' in text
    assert '<td class="second"><u>20.00</u></td>' in text


def test_csv_has_plain_numbers_and_intervals() -> None:
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(tables.build([record("a", value=28.9412345), record("b")])))))
    assert (rows[0]["PSNR"], rows[0]["PSNR low"], rows[0]["Params"]) == ("28.9412345", "27.9412345", "34M + 49M")


def test_latex_is_booktabs_and_escaped() -> None:
    text = tables.latex(tables.build([record("vae_sd&21"), record("b", value=20.0)]))
    assert r"vae\_sd\&21" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\textbf{30.00}")] == [1, 1, 1, 1]
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") - line.count(r"\&") for line in body} == {4}


def test_latex_heads_each_data_set_and_guards_what_would_be_an_option() -> None:
    text = tables.latex(tables.build([record("[x]*", "c"), record("[x]*", "d", signed=signature(manifest="t"))]))
    assert r"\multicolumn{4}{c}{} & \multicolumn{1}{c}{c} & \multicolumn{1}{c}{d} \\" in text
    assert r"\cmidrule(lr){5-5}" in text
    assert "\n{[}x{]}{*} & " in text


def test_json_has_numbers() -> None:
    parsed = json.loads(tables.to_json(tables.build([record("a", value=28.5)])))
    assert parsed["rows"][0]["PSNR ↑"]["value"] == 28.5


def test_two_data_sets_stand_side_by_side() -> None:
    table = tables.build([record("a", "x"), record("a", "y", 20.0, signature(data="y")), record("b", "x")])
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
