import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import PROTOCOL, record, signature
from scipy.special import stdtrit

from cvbench import tables
from cvbench.core.errors import UsageError
from cvbench.core.records import Failure, RunRecord, SampleRecord, Score, read_records
from cvbench.store import write_record
from cvbench.tables.ranking import student

SIZED = dataclasses.replace(PROTOCOL, size=512)
OTHER = dataclasses.replace(SIZED, name="q")


def test_the_layout_is_that_of_table_1() -> None:
    table = tables.build([record("a", value=28.94), record("b", value=26.7)])
    assert [c.title for c in table.columns] == ["Model", "Params", "FCR", "Comp.", "PSNR ↑"]
    assert [c.text for c in table.rows[0]] == ["a", "34M + 49M", "1", "–", "28.94"]


HARD_AND_EASY = [20.0, 25.0, 30.0, 35.0] * 3  # clips differ by far more than models


def clips(model: str, values: Sequence[float], taken: Sequence[int] = (), **more: Any) -> RunRecord:
    """A record of one frame a clip, or of those of the clips that are `taken`."""
    rows = {i: v for i, v in enumerate(values) if not taken or i in taken}
    samples = [SampleRecord(f"c{i}", 1, 8, 8, f"{i:064x}", {}, {"psnr": [v]}) for i, v in rows.items()]
    mean = sum(rows.values()) / len(rows)
    failures = [Failure(f"c{i}", "no number") for i in range(len(values)) if i not in rows]
    signed = signature(manifest=str(len(rows)))
    score = Score(mean, mean - 1, mean + 1, len(rows), signed)
    return record(model, **{"samples": samples, "scores": {"psnr": score}, "failures": failures, **more})


def around(model: str, value: float, **more: Any) -> RunRecord:
    """A record of 12 clips with this mean; two such differ by the same on each clip."""
    return clips(model, [v - 27.5 + value for v in HARD_AND_EASY], **more)


def known(made: RunRecord, **facts: Any) -> RunRecord:
    """A record of whose model other things are known."""
    return dataclasses.replace(made, model=dataclasses.replace(made.model, **facts))


def marks(*records: RunRecord, **options: Any) -> list[int]:
    return [row[-1].rank for row in tables.build(records, **options).rows]


def test_best_is_bold_and_second_underlined_but_not_the_identity() -> None:
    reference = known(around("identity", 100.0), role="reference")
    text = tables.markdown(tables.build([reference, around("a", 28.0), around("b", 25.0), around("c", 20.0)]))
    assert "**28.00**" in text
    assert "<u>25.00</u>" in text
    assert "**100.00**" not in text


def test_untrained_models_never_win() -> None:
    untrained = known(around("u", 99.0), init="random")
    table = tables.build([untrained, around("a", 28.0), around("b", 25.0)])
    assert [row[-1].rank for row in table.rows] == [0, 1, 2]
    assert "untrained" in tables.markdown(table)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ([v - 0.5 for v in HARD_AND_EASY], [1, 2]),  # worse on every clip
        ([v + (1.0 if i % 2 else -1.01) for i, v in enumerate(HARD_AND_EASY)], [1, 1]),  # better on every other
    ],
)
def test_scores_tie_when_their_clips_do_not_tell_them_apart(second: list[float], expected: list[int]) -> None:
    table = tables.build([clips("a", HARD_AND_EASY), clips("b", second)])
    assert [row[-1].rank for row in table.rows] == expected
    assert any("tie" in remark for remark in table.remarks) == (expected == [1, 1])


@pytest.mark.parametrize("count", [1, 4, 7])
def test_fewer_than_eight_common_clips_rank_nothing_and_a_remark_says_so(count: int) -> None:
    table = tables.build([clips("a", HARD_AND_EASY[:count]), clips("b", [v - 9 for v in HARD_AND_EASY[:count]])])
    assert [row[-1].rank for row in table.rows] == [0, 0]
    assert any(remark.startswith("Too few samples to rank") for remark in table.remarks)
    assert marks(clips("a", HARD_AND_EASY[:8]), clips("b", [v - 9 for v in HARD_AND_EASY[:8]])) == [1, 2]


def test_a_model_that_fails_on_the_hard_clips_is_ranked_on_the_others_alone_and_its_cell_says_how_many() -> None:
    easy = [i for i, v in enumerate(HARD_AND_EASY) if v > 20]
    table = tables.build([clips("whole", HARD_AND_EASY), clips("survivor", [v - 0.1 for v in HARD_AND_EASY], easy)])
    assert [row[-1].text for row in table.rows] == ["27.50", "29.90 (9/12)"]  # (20 + 25 + 30 + 35) / 4; 30 - 0.1
    assert [row[-1].rank for row in table.rows] == [1, 2]
    assert any("all ranked of a column have" in remark for remark in table.remarks)
    better = clips("survivor", [v + 0.1 for v in HARD_AND_EASY], easy)
    assert marks(clips("whole", HARD_AND_EASY), better) == [2, 1]


def test_a_model_that_lacks_most_clips_is_not_ranked_and_takes_none_from_the_others() -> None:
    few = clips("few", [99.0] * 12, range(5))
    table = tables.build([around("a", 28.0), around("b", 25.0), few])
    assert [row[-1].rank for row in table.rows] == [1, 2, 0]
    assert any("lacks more than half of the samples is not ranked" in remark for remark in table.remarks)
    half = clips("half", [99.0] * 12, range(6))  # half is enough, and leaves too few
    assert marks(around("a", 28.0), around("b", 25.0), half) == [0, 0, 0]


def of_set(model: str, value: float, half: float | None = None, **more: Any) -> RunRecord:
    """A record of 12 clips and a score of the whole set."""
    bounds = (None, None) if half is None else (value - half, value + half)
    made = around(model, 28.0, **more)
    signed = signature("rfid", manifest=str(len(made.samples)))
    return dataclasses.replace(made, scores={"rfid": Score(value, *bounds, 12, signed)})


def test_scores_of_whole_sets_tie_when_their_intervals_overlap_and_without_any_only_when_equal() -> None:
    assert marks(of_set("a", 30.0), of_set("b", 30.0), of_set("c", 30.1)) == [1, 1, 2]
    assert marks(of_set("a", 30.0, 1.0), of_set("b", 31.0, 1.0), of_set("c", 33.1, 1.0)) == [1, 1, 2]


def test_scores_of_other_sets_are_not_ranked() -> None:
    survivor = of_set("survivor", 1.0, taken=[i for i in range(12) if i % 4])
    table = tables.build([of_set("a", 30.0), of_set("b", 31.0), survivor])
    assert [row[-1].rank for row in table.rows] == [1, 2, 0]
    assert table.rows[2][-1].text == "1.00 (9/12)"


def test_what_ties_with_the_second_is_underlined_too() -> None:
    near = clips("c", [v - 7.5 + (1.0 if i % 2 else -1.2) for i, v in enumerate(HARD_AND_EASY)])
    assert marks(around("a", 28.0), around("b", 20.0), near, around("e", 10.0)) == [1, 2, 2, 0]


@pytest.mark.parametrize("freedom", [7, 8, 12, 30, 1000])
def test_the_quantile_of_student_is_that_of_scipy(freedom: int) -> None:
    assert student(freedom) == pytest.approx(stdtrit(freedom, 0.975), abs=1e-3)


def test_scores_of_other_protocols_are_refused_with_the_fields_that_differ() -> None:
    mixed = [record("a"), record("b"), record("c", signed=signature(protocol=SIZED))]
    with pytest.raises(tables.SignatureMismatch, match="size is 512 instead of 256"):
        tables.build(mixed)
    assert "not comparable: c, PSNR on d: size is 512" in tables.markdown(tables.build(mixed, allow_mixed=True))


def test_what_is_not_comparable_is_never_best() -> None:
    other = around("c", 99.0)
    score = dataclasses.replace(other.scores["psnr"], signature=signature(manifest="12", protocol=SIZED))
    other = dataclasses.replace(other, scores={"psnr": score})
    assert marks(around("a", 28.0), around("b", 25.0), other, allow_mixed=True) == [1, 2, 0]


def test_speed_stands_behind_the_scores_with_the_machine_as_a_footnote() -> None:
    speed = {"encode_fps": 3.456, "decode_fps": 12.34, "peak_mib": None, "device": "CPU", "threads": 2, "shape": "1x3"}
    table = tables.build([record("a", speed=speed), record("b")])
    assert [c.label for c in table.columns[-3:]] == ["enc. fps", "dec. fps", "peak MiB"]
    assert [[c.text for c in row[-3:]] for row in table.rows] == [["3.5", "12", "–"], ["–", "–", "–"]]
    assert table.remarks[0] == "speed on CPU, 2 threads, clip 1x3; peak memory beyond the weights"


def test_speeds_stand_by_data_set_and_those_of_another_machine_have_a_footnote() -> None:
    here = {"encode_fps": 3.0, "decode_fps": None, "peak_mib": 9, "device": "CPU", "threads": 2, "shape": "1x3"}
    clip, there = {**here, "shape": "1x3x17", "encode_fps": 1.0}, {**here, "device": "GPU", "encode_fps": 900.0}
    records = [record(m, speed=s) for m, s in (("a", here), ("b", here), ("c", there), ("e", {**here, "threads": 8}))]
    table = tables.build([*records, record("a", "e", speed=clip)])
    assert [c.title for c in table.columns if "enc. fps" in c.title] == ["d enc. fps", "e enc. fps"]
    assert [[c.text for c in row[-6:]] for row in table.rows[:3]] == [
        ["3", "–", "9", "1", "–", "9"],
        ["3", "–", "9", "–", "–", "–"],
        ["900", "–", "9", "–", "–", "–"],
    ]
    noted = [note for note in table.notes if "speed" in note]
    assert noted == [
        "d: speed of c on GPU, 2 threads, clip 1x3: not comparable",
        "d: speed of e on CPU, 8 threads, clip 1x3: not comparable",
    ]
    assert table.rows[2][-6].notes == (table.notes.index(noted[0]) + 1,)
    assert table.remarks[:2] == [
        "d: speed on CPU, 2 threads, clip 1x3; peak memory beyond the weights",
        "e: speed on CPU, 2 threads, clip 1x3x17; peak memory beyond the weights",
    ]


def test_a_model_under_two_inits_has_two_rows_and_the_untrained_one_is_marked() -> None:
    untrained = known(record("a", value=9.0), init="random")
    table = tables.build([record("a"), untrained])
    assert [[row[0].text, row[-1].text] for row in table.rows] == [["a", "30.00"], ["a (untrained)", "9.00"]]
    assert "untrained: random weights, for shape and speed only" in table.notes


def test_superseded_records_are_never_read(tmp_path: Path) -> None:
    write_record(tmp_path, known(record("a", value=9.0), digest="2" * 64))
    write_record(tmp_path, record("a", value=30.0))
    assert list((tmp_path / "records" / "superseded").glob("*.json"))
    table = tables.build(read_records([tmp_path]))
    assert [row[-1].text for row in table.rows] == ["30.00"]


def test_facts_of_samples_that_change_what_a_score_means_are_told_with_their_number() -> None:
    facts = [{"matrix": "bt601 assumed"}] * 3 + [{"interlaced": True}, {"pixel_aspect": "4/3"}, {"matrix": "bt2020"}]
    samples = [SampleRecord(f"c{i}", 1, 8, 8, f"{i:064x}", f, {"psnr": [30.0]}) for i, f in enumerate(facts)]
    assert tables.build([record("a", samples=samples), record("b", samples=samples[:5])]).remarks[:3] == [
        "d: 1 interlaced, the fields not separated",
        "d: 1 with pixels that are not square, not stretched",
        "d: 3 without a colour matrix, BT.601 assumed",
    ]


def test_a_failed_record_says_failed_where_the_old_score_stood(tmp_path: Path) -> None:
    write_record(tmp_path, record("a"))
    write_record(tmp_path, record("a", scores={}, samples=[], error="KeyError: 'x'", error_kind="KeyError"))
    table = tables.build([*read_records([tmp_path]), record("b")])
    assert table.rows[0][-1].text == "failed"
    assert "a: KeyError: 'x'" in table.notes


def test_one_signature_line_tells_which_metrics_are_of_which_samples() -> None:
    def scores(n: int, *metrics: str, **more: str) -> dict[str, Score]:
        return {m: Score(0.5, None, None, n, signature(m, **more)) for m in metrics}

    apart = record(
        "a", scores={**scores(25, "psnr", "ssim"), **scores(10, "flicker"), **scores(25, "ms-ssim", manifest="2")}
    )
    assert tables.build([apart]).signatures == [
        "psnr:1, ssim:1 data=d#1 n=25; ms-ssim:1 data=d#2 n=25; flicker:1 data=d#1 n=10 protocol=p/1"
    ]
    other = record("a", "e", scores=scores(3, "psnr", data="e"))
    assert tables.build([record("a"), other]).signatures == ["psnr:1 data=d#1 n=1 data=e#1 n=3 protocol=p/1"]


def test_merged_records_show_the_samples_of_each_metric() -> None:
    older = record("a", scores={"ssim": Score(0.5, None, None, 9, signature("ssim", manifest="9"))}, created="2024")
    lines = tables.build([older, record("a", created="2025")]).signatures
    assert lines == ["psnr:1 data=d#1 n=1; ssim:1 data=d#9 n=9 protocol=p/1"]


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
    assert "d: 1 samples not scored: broken.png: truncated" in table.remarks
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
    text = tables.html(tables.build([around("a", 30.0), around("b", 20.0)]))
    assert '<td class="best"><strong>30.00</strong></td>' in text
    assert '<td class="second"><u>20.00</u></td>' in text


def test_csv_has_plain_numbers_and_intervals() -> None:
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(tables.build([record("a", value=28.9412345), record("b")])))))
    assert (rows[0]["PSNR"], rows[0]["PSNR low"]) == ("28.9412345", "27.9412345")
    assert (rows[0]["encoder_params"], rows[0]["decoder_params"]) == ("34163592", "49490179")


def test_what_is_missing_is_an_empty_cell_of_a_csv_and_its_columns_stay() -> None:
    gone = known(record("a", scores={}, samples=[], error="no weights"), params=None, temporal=None)
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(tables.build([gone, known(record("b"), compatible="-")])))))
    assert set(rows[0].values()) == {"a", "", "a: no weights"}
    assert (rows[1]["Comp."], rows[1]["PSNR"], rows[0]["PSNR high"]) == ("-", "30.0", "")
    alone = tables.to_csv(tables.build([record("c", unavailable={"ssim": "no"}, scores={})]))
    assert alone.startswith("Model,encoder_params,decoder_params,FCR,Comp.,SSIM,SSIM low,SSIM high,notes")


def test_a_long_footnote_is_cut_where_a_sentence_ends_and_says_where_the_whole_stands() -> None:
    long = f"weights of lpips-vgg were not found. File: {'x' * 400}. Then put it there"
    (note,) = tables.build([record("a", unavailable={"lpips-vgg": long})]).notes
    assert note == "LPIPS-VGG: weights of lpips-vgg were not found… `cvbench show` has the whole."
    assert len(tables.build([record("a", error="x" * 900)]).notes[0]) < 200
    assert tables.build([record("a", error="x" * 100)]).notes == [f"a: {'x' * 100}"]


def test_small_networks_have_a_number_of_parameters() -> None:
    counts = {(3200, 12): "3.2k + 12", (9_999, 10_000): "10.0k + 0.01M", (1_200_000, 34_000_000): "1.20M + 34M"}
    for params, text in counts.items():
        assert tables.build([known(record("a"), params=params)]).rows[0][1].text == text


def test_latex_is_booktabs_and_escaped() -> None:
    text = tables.latex(tables.build([around("vae_sd&21", 30.0), around("b", 20.0)]))
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
