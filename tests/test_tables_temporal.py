import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import PROTOCOL, record, signature

from cvbench.cli import run_program
from cvbench.core.errors import UsageError
from cvbench.core.records import ModelFacts, RunRecord, SampleRecord
from cvbench.models.paper import PAPER
from cvbench.store import write_record
from cvbench.tables import SignatureMismatch, Table
from cvbench.tables.temporal import alone_frames, build_temporal

Clip = tuple[Sequence[float], Sequence[float]]

NINE = [40.0, 30.0, 32.0, 34.0, 20.0, 32.0, 34.0, 36.0, 22.0]
"""A clip of 1 + 2 * 4 frames: positions 1 to 4 have means 31, 33, 35, 21."""
FIVE = [50.0, 41.0, 43.0, 45.0, 31.0]
"""A clip of 1 + 4 frames, 10 dB better at each position: together 36, 38, 40, 26."""


def clips(
    model: str, *found: Clip, temporal: int = 4, window: int = 0, rule: str = "1 + 4k", **more: object
) -> RunRecord:
    """A record of clips, each with its PSNR of every frame and its flicker of every change, where it has any."""
    samples = [
        SampleRecord(
            f"c{i}", len(psnr), 8, 8, f"{i:064x}", {}, {"psnr": psnr, **({"flicker": flicker} if flicker else {})}
        )
        for i, (psnr, flicker) in enumerate(found)
    ]
    facts = ModelFacts(model, "1" * 64, temporal=temporal, frame_rule=rule, window=window)
    return dataclasses.replace(record(model), model=facts, samples=samples, **more)  # type: ignore[arg-type]


def line(table: Table, row: int = 0) -> dict[str, float | None]:
    """A row's numbers by column title."""
    return {c.title: cell.value for c, cell in zip(table.columns[2:], table.rows[row][2:], strict=True)}


def test_positions_repeat_after_the_first_frame_and_a_long_clip_weighs_no_more() -> None:
    found = line(build_temporal([clips("m", (NINE, []), (FIVE, []))]))
    assert found["PSNR frame 0 ↑"] == 45
    assert [found[f"PSNR position {p} ↑"] for p in (1, 2, 3, 4)] == [36, 38, 40, 26]
    assert found["PSNR others ↑"] == 35  # of the means 30 and 40; frame by frame it were 33.3
    assert found["Spread, dB ↓"] == 14


def test_a_model_of_single_frames_has_no_positions() -> None:
    table = build_temporal([clips("image", (FIVE, []), temporal=1, rule="any"), clips("video", (FIVE, []))])
    assert [c.text for c in table.rows[0][2:]] == ["50.00", "–", "–", "–", "–", "40.00", "–", "not run", "–"]
    assert [c.text for c in table.rows[1][2:8]] == ["50.00", "41.00", "43.00", "45.00", "31.00", "40.00"]
    alone = build_temporal([clips("image", (FIVE, []), temporal=1, rule="any")])
    assert [c.label for c in alone.columns[2:5]] == ["frame 0 ↑", "others ↑", "Spread, dB ↓"]


@pytest.mark.parametrize(("rule", "alone"), [("1 + 8k", 1), ("4k", 0), ("24 + 16k", 0), ("any", 0), ("", 0)])
def test_frames_alone_follow_from_the_frame_rule(rule: str, alone: int) -> None:
    assert alone_frames(ModelFacts("m", "1", temporal=4, frame_rule=rule)) == alone


def test_where_no_frame_stands_alone_the_first_is_at_position_1() -> None:
    found = line(build_temporal([clips("tats", ([30.0, 20.0, 40.0, 22.0], []), temporal=2, rule="2k")]))
    assert (found["PSNR position 1 ↑"], found["PSNR position 2 ↑"]) == (35, 21)
    assert (found["PSNR frame 0 ↑"], found["Spread, dB ↓"]) == (30, 14)


def test_a_clip_shorter_than_a_group_gives_no_position_and_a_footnote_says_so() -> None:
    table = build_temporal([clips("m", (FIVE, []), ([10.0, 10.0], []))])
    found = line(table)
    assert found["PSNR position 1 ↑"] == 41
    assert found["PSNR frame 0 ↑"] == 30
    assert "positions of m on d: from the 1 of 2 clips that are long enough" in table.notes


def test_the_seam_is_at_the_change_from_a_windows_last_frame_to_the_next() -> None:
    """Windows of 16 after the first frame in 49 frames: borders from frame 16 to 17 and 32 to 33."""
    changes = [0.01] * 48
    changes[16], changes[32] = 0.05, 0.03
    table = build_temporal([clips("cvvae", ([30.0] * 49, changes), ([30.0] * 17, [0.5] * 16), window=16)])
    found = line(table)
    assert found["Seam ↓"] == pytest.approx(0.03, abs=1e-12)
    assert found["Flicker ↓"] == pytest.approx(((46 * 0.01 + 0.08) / 48 + 0.5) / 2, abs=1e-12)
    assert table.rows[0][-1].text == "+0.0300"
    assert "seam of cvvae on d: from the 1 of 2 clips that are long enough" in table.notes


@pytest.mark.parametrize(("frames", "window"), [(17, 16), (33, 0)])
def test_there_is_no_seam_in_one_window(frames: int, window: int) -> None:
    table = build_temporal([clips("m", ([30.0] * frames, [0.01] * (frames - 1)), window=window)])
    assert table.rows[0][-1].text == "–"
    assert line(table)["Flicker ↓"] == pytest.approx(0.01, abs=1e-12)


def test_a_smooth_border_makes_the_seam_negative() -> None:
    table = build_temporal([clips("m", ([30.0] * 4, [0.25, 0.125, 0.25]), window=1, temporal=1)])
    assert line(table)["Seam ↓"] == 0.1875 - 0.25
    assert table.rows[0][-1].text == "−0.0625"


def test_images_are_left_out_and_refused_where_nothing_else_is() -> None:
    with pytest.raises(UsageError, match="psnr,flicker"):
        build_temporal([record("m", "pictures")])
    table = build_temporal([record("m", "pictures"), clips("m", (FIVE, []))])
    assert [[c.text for c in row[:2]] for row in table.rows] == [["m", "d"]]
    mixed = clips("m", (FIVE, []), ([99.0], []))
    assert line(build_temporal([mixed]))["PSNR frame 0 ↑"] == 50


def test_rows_that_are_not_one_a_frame_are_left_out() -> None:
    short = clips("m", (FIVE, []))
    halves = [dataclasses.replace(s, frames=9) for s in short.samples]
    with pytest.raises(UsageError, match="frame by frame"):
        build_temporal([dataclasses.replace(short, samples=halves)])


def test_a_model_that_could_not_run_says_why() -> None:
    gone = clips("gone", error="fetch it", error_kind="MissingWeights", scores={})
    table = build_temporal([clips("m", (FIVE, [0.1] * 4)), gone])
    assert [c.text for c in table.rows[1][:4]] == ["gone", "d", "weights missing", "–"]
    assert "gone: fetch it" in table.notes


def test_scores_made_differently_are_refused_unless_allowed() -> None:
    other = dataclasses.replace(
        record("b", signed=signature(protocol=dataclasses.replace(PROTOCOL, size=128))),
        samples=clips("b", (FIVE, [])).samples,
    )
    records = [clips("a", (FIVE, [])), clips("c", (FIVE, [])), other]
    with pytest.raises(SignatureMismatch, match="size is 128 instead of 256"):
        build_temporal(records)
    assert any("size is 128" in note for note in build_temporal(records, allow_mixed=True).notes)


def test_only_cvvae_states_windows_among_the_papers_models() -> None:
    windows = {name: entry.traits.window for name, entry in PAPER.items() if entry.traits.window}
    assert windows == {"cvvae": 16, "cvvae-1.1": 16, "cvvae-3d": 16, "cvvae-sd3": 16}


def test_records_from_before_windows_still_load() -> None:
    old = json.loads(clips("m", (FIVE, [])).to_json())
    del old["model"]["window"]
    assert RunRecord.from_json(json.dumps(old)).model.window == 0
    assert RunRecord.from_json(clips("m", (FIVE, []), window=16).to_json()).model.window == 16


@pytest.fixture
def folder(tmp_path: Path) -> str:
    write_record(tmp_path, clips("m", (NINE, []), (FIVE, [])))
    return str(tmp_path)


@pytest.mark.parametrize("form", ["md", "html", "csv", "latex", "json"])
def test_the_command_prints_every_format(folder: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["table", folder, "--temporal", "--format", form]) == 0
    assert "position 4" in capsys.readouterr().out


def test_csv_holds_plain_numbers(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_program(["table", folder, "--temporal", "--format", "csv"])
    row = next(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert (row["PSNR position 4"], row["Spread, dB"], row["Seam"]) == ("26.0", "14.0", "")


def test_the_command_refuses_what_it_would_ignore(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["table", "1", "--from", folder, "--temporal"]) == 2
    assert "--temporal makes its own table" in capsys.readouterr().err


def test_other_metrics_stand_below_by_position_and_intervals_are_over_clips() -> None:
    """Two clips whose LPIPS is a tenth of the PSNR; the others' mean interval is that of two values."""
    made = clips("m", (NINE, []), (FIVE, []))
    samples = [
        dataclasses.replace(s, rows={**s.rows, "lpips-vgg": [v / 10 for v in s.rows["psnr"]]}) for s in made.samples
    ]
    made = dataclasses.replace(made, samples=samples)
    (lpips,) = build_temporal([made]).below
    assert lpips.caption == "LPIPS-VGG by position in the temporal group"
    assert [cell.text for cell in lpips.rows[0][2:]] == ["4.500", "3.600", "3.800", "4.000", "2.600", "3.500"]
    psnr, lpips = build_temporal([made], intervals=True).below
    assert [cell.value for cell in psnr.rows[0][2:]] == [45, 36, 38, 40, 26, 35]
    first = psnr.rows[0][2]
    half = 12.706205 * 5  # Student's t of one degree times the standard error of 40 and 50
    assert (first.low, first.high) == pytest.approx((45 - half, 45 + half), rel=1e-5)
    assert first.text == f"45.00 [{45 - half:.2f}, {45 + half:.2f}]"
    alone = build_temporal([clips("image", (FIVE, []), temporal=1, rule="any"), made], intervals=True).below[0]
    assert [cell.text for cell in alone.rows[0][3:7]] == ["–"] * 4
