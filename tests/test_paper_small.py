"""The small counterparts of Tables 1, 6, 7, 8: records, paired tests, the finding, and the records that ship."""

import csv
import dataclasses
import io
import json
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cvbench import paper, tables
from cvbench.cli import run_program
from cvbench.compare import compare_runs
from cvbench.core.errors import UsageError
from cvbench.core.protocol import PROTOCOLS
from cvbench.core.records import DataFacts, ModelFacts, RunRecord, SampleRecord, Score
from cvbench.core.signature import Signature
from cvbench.core.suites import folder
from cvbench.paper import stored as stored_module
from cvbench.store import write_record

PUBLISHED = tomllib.loads((Path(__file__).parent / "golden/published.toml").read_text(), parse_float=str)
SETS = ("sample-images", "sample-clips")
STEPS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
"""Eight clips differ by these: mean 4.5, all of one sign."""
SWINGS = (1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 4.0, -4.0)
"""Mean 0."""
BASE = (20.0, 21.0, 25.0, 22.0, 28.0, 24.0, 23.0, 29.0)
"""Mean 24."""


def ran(model: str, data: str, values: Sequence[float], size: int = 256, probe: str = "1") -> RunRecord:
    """A record with one PSNR a clip: SSIM is a hundredth of it, LPIPS a hundredth of what it lacks to 100."""
    protocol = dataclasses.replace(PROTOCOLS["cvvae-2405"], size=size)
    rows = [{"psnr": [v - 1, v + 1], "ssim": [v / 100] * 2, "lpips-vgg": [1 - v / 100] * 2} for v in values]
    means = {m: float(np.mean([row[m] for row in rows])) for m in rows[0]}
    return RunRecord(
        model=ModelFacts(model, "1" * 64, params=(300_000, 400_000), temporal=4),
        data=DataFacts(data, "2" * 64, len(values)),
        protocol=protocol,
        probes=dict.fromkeys(means, probe),
        scores={
            m: Score(v, v - 0.5, v + 0.5, len(values), Signature(m, probe, data, "2", protocol))
            for m, v in means.items()
        },
        samples=[SampleRecord(f"c{i}", 2, 8, 8, f"{i:064x}", {}, row) for i, row in enumerate(rows)],
    )


def shifted(steps: Sequence[float], by: float = 1.0) -> list[float]:
    return [v + by * step for v, step in zip(BASE, steps, strict=True)]


def everywhere(model: str, values: Sequence[float]) -> list[RunRecord]:
    return [ran(model, data, values) for data in SETS]


def six() -> list[RunRecord]:
    """Table 6 in the paper's order: the encoder's row 4.5 dB behind, both together equal in the mean."""
    return [
        *everywhere("tiny-video-none", shifted(STEPS, -2)),
        *everywhere("tiny-video-encoder", shifted(STEPS, -1)),
        *everywhere("tiny-video-random", BASE),
        *everywhere("tiny-video-both", shifted(SWINGS)),
    ]


def below(number: str, *records: RunRecord, **options: bool) -> list[tables.Table]:
    return paper.build(paper.load_table(number), records, **options).below


def texts(table: tables.Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def finding(number: str, *records: RunRecord) -> str:
    return next(r for r in below(number, *records)[0].remarks if r.startswith("Finding"))


# the block


@pytest.mark.parametrize(
    ("number", "names"),
    [("1", {}), ("6", {}), ("7", {}), ("8", {"image VAE": "VAE-SD3", "video VAE": "CVVAE-SD3"})],
)
def test_beside_a_small_row_stand_the_papers_cells_of_the_same_method(number: str, names: dict[str, str]) -> None:
    block = paper.load_table(number).small
    assert block
    printed = {row["method"]: tuple(map(str, row["values"])) for row in PUBLISHED[f"table{number}"]["rows"]}
    ours = {names.get(row.method, row.method): row.published for row in block.rows if row.method != "none"}
    shown = {method: cells for method, cells in printed.items() if method in ours or number != "1"}
    assert ours == shown  # Table 1 has models that this project made no counterpart of
    assert [r.published for r in block.rows if r.method == "none"] == [()] * (number == "6")


@pytest.mark.parametrize(
    ("number", "models"),
    [
        ("6", ["tiny-video-none", "tiny-video-encoder", "tiny-video-random", "tiny-video-both"]),
        ("7", ["tiny-video-first", "tiny-video-average", "tiny-video-slice", "tiny-video-random"]),
        ("8", ["tiny-image-z16", "tiny-video-z16"]),
    ],
)
def test_a_bare_table_says_not_run_and_which_command_runs_it(number: str, models: list[str]) -> None:
    (table,) = below(number)
    block = paper.load_table(number).small
    assert block
    assert [row.model for row in block.rows] == models
    assert {cell for row in texts(table) for cell in row[-6:]} == {"not run"}
    assert table.remarks[-1] == (
        f"Not run: {', '.join(models)}. `cvbench run --models {','.join(models)} --data sample-images "
        "--data sample-clips --out reports/ablations` makes the records, `--from reports/ablations` prints them."
    )


def test_the_command_names_only_what_is_lacking() -> None:
    records = [r for r in six() if (r.model.name, r.data.name) != ("tiny-video-both", "sample-images")]
    assert (
        below("6", *records)[0]
        .remarks[-1]
        .startswith("Not run: tiny-video-both. `cvbench run --models tiny-video-both --data")
    )
    assert not any("Not run" in remark for remark in below("6", *six())[0].remarks)


def test_the_block_is_marked_as_small_and_shows_intervals_unasked() -> None:
    small, tests = below("6", *six())
    assert small.caption.startswith("Small scale: ")
    assert tests.caption.startswith("Small scale: ")
    assert any(remark.startswith("Small scale, not the paper's experiment") for remark in small.remarks)
    assert [c.title for c in small.columns][1] == "Small model"
    assert texts(small)[2] == [
        *("2D Dec.", "tiny-video-random"),
        *("24.00 [23.50, 24.50]", "0.240 [-0.260, 0.740]", "0.760 [0.260, 1.260]") * 2,
    ]


def test_the_papers_cells_are_for_the_direction_only_so_nothing_is_subtracted() -> None:
    assert not any(cell.published for row in below("6", *six())[0].rows for cell in row)
    small = below("6", *six(), published=True)[0]
    assert [cell.aside for cell in small.rows[2][2:]] == [
        *("(27.5)", "(0.801)", "(0.151)", "(28.0)", "(0.803)", "(0.158)")
    ]
    assert all(cell.difference is None for row in small.rows for cell in row)
    assert any("for the direction of a difference only" in remark for remark in small.remarks)
    assert any("COCO2017-Val where sample-images stands here" in remark for remark in small.remarks)


# the tests


def test_differences_are_row_minus_reference_over_the_common_clips() -> None:
    tests = below("6", *six())[1]
    assert [c.title for c in tests.columns] == [
        *("Method", "Data", "Samples"),
        *("PSNR difference ↑", "PSNR p", "SSIM difference ↑", "SSIM p", "LPIPS difference ↓", "LPIPS p"),
    ]
    assert [row[:3] for row in texts(tests)] == [
        [m, d, "8"] for d in SETS for m in ("none", "2D Enc.", "2D Enc. + Dec.")
    ]
    means = [row[3].value for row in tests.rows]
    assert means == pytest.approx([-9.0, -4.5, 0.0] * 2, abs=1e-12)
    assert [row[5].value for row in tests.rows] == pytest.approx([-0.09, -0.045, 0.0] * 2, abs=1e-12)
    assert [row[7].value for row in tests.rows] == pytest.approx([0.09, 0.045, 0.0] * 2, abs=1e-12)
    assert tests.rows[1][3].text.startswith("−4.500 [−")
    assert tests.rows[2][3].text.startswith("±0.000 [−")


def test_p_is_of_all_sign_patterns_corrected_for_the_rows_of_a_column() -> None:
    """Eight differences of one sign: 2 of 256 patterns are as far; times the 3 rows. Their sum 0: all patterns are."""
    tests = below("6", *six())[1]
    least = 3 * 2 / 256
    for position in (4, 6, 8):
        assert [row[position].value for row in tests.rows] == pytest.approx([least, least, 1.0] * 2, abs=1e-12)
    assert tests.rows[0][4].text == "0.023"
    (remark,) = tests.remarks
    assert "after Holm's correction for the rows compared on one data set by one metric" in remark
    # 18 tests of the whole table: 18 * 2 / 256
    assert remark.endswith("On 8 samples no p can be below 0.023 (corrected for the whole table: 0.141).")


def test_the_numbers_are_those_of_compare() -> None:
    rng = np.random.default_rng(3)
    models = ["tiny-video-random", "tiny-video-first", "tiny-video-average", "tiny-video-slice"]
    records = [r for m in models for r in everywhere(m, (24 + rng.normal(0, 2, 8)).tolist())]
    tests = below("7", *records)[1]
    comparisons, _ = compare_runs(records, models=models)
    assert len(comparisons) == 6
    names = {"tiny-video-first": "1st Frame", "tiny-video-average": "Average", "tiny-video-slice": "Slice"}
    lines = {(row[0].text, row[1].text): row for row in tests.rows}
    for found in comparisons:
        line = lines[names[found.b.model.name], found.a.data.name]
        for position, metric in zip((3, 5, 7), found.metrics, strict=True):
            cell, p = line[position], line[position + 1]
            assert (cell.value, cell.low, cell.high) == pytest.approx(tuple(metric.change), rel=1e-12)
            assert p.value == pytest.approx(metric.corrected, rel=1e-12)


def test_a_clip_with_other_pixels_is_no_pair() -> None:
    records = everywhere("tiny-video-z16", BASE) + everywhere("tiny-image-z16", shifted(STEPS))
    changed = [dataclasses.replace(s, sha256="f" * 64) if s.id == "c0" else s for s in records[2].samples]
    records[2] = dataclasses.replace(records[2], samples=changed)
    line = below("8", *records)[1].rows[0]
    assert (line[2].text, line[3].value) == ("7", pytest.approx(5.0))  # (2 + ... + 8) / 7


def test_what_cannot_be_tested_says_why() -> None:
    records = six()
    records[0] = dataclasses.replace(records[0], scores={}, samples=[], error="gone", error_kind="MissingWeights")
    kept = {m: s for m, s in records[2].scores.items() if m != "lpips-vgg"}
    records[2] = dataclasses.replace(records[2], scores=kept, unavailable={"lpips-vgg": "vgg16 is missing"})
    del records[-2]  # both together on images
    lines = texts(below("6", *records)[1])
    assert lines[0] == ["none", "sample-images", "–", *("weights missing", "–") * 3]
    assert lines[1][7:] == ["–", "–"]
    assert lines[2] == ["2D Enc. + Dec.", "sample-images", "–", *("not run", "–") * 3]
    assert lines[1][4] == "0.008"  # alone in its column: 2 / 256


def test_nothing_is_tested_without_the_reference() -> None:
    tables_below = below("6", *(r for r in six() if r.model.name != "tiny-video-random"))
    assert len(tables_below) == 1
    assert not any("Finding" in remark for remark in tables_below[0].remarks)


def test_scores_that_were_made_otherwise_are_not_tested() -> None:
    records = [r for r in six() if r.data.name == "sample-clips"]
    records[1] = ran("tiny-video-encoder", "sample-clips", shifted(STEPS), size=128)
    with pytest.raises(tables.SignatureMismatch, match="size is 128 instead of 256"):
        below("6", *records)
    tests = below("6", *records, allow_mixed=True)[1]
    line = next(row for row in tests.rows if (row[0].text, row[1].text) == ("2D Enc.", "sample-clips"))
    assert [cell.text for cell in line[2:]] == ["–"] * 7
    assert tests.notes[line[3].notes[0] - 1] == (
        "not comparable: tiny-video-encoder, PSNR on sample-clips: size is 128 instead of 256"
    )


# the finding


def test_the_finding_says_what_the_papers_choice_is_against_each_row() -> None:
    """The order is the paper's (28.0, 27.6, 26.0) as far as the means tell: two are equal."""
    assert finding("6", *six()) == (
        "Finding: best by PSNR on sample-clips is 2D Dec. (24.00), the paper's choice. At p < 0.05 after Holm's "
        "correction 2D Dec. is better than none (by 9.000 dB, p = 0.023), 2D Enc. (by 4.500 dB, p = 0.023); not told "
        "apart from 2D Enc. + Dec. (0.000 dB ahead, p = 1.000). Order in the paper on WebVid-Val, best first: 2D Dec., "
        "2D Enc. + Dec., 2D Enc.; here the same."
    )


def test_a_method_that_ends_in_a_full_stop_gets_no_second_one() -> None:
    records = [r for r in six() if r.model.name != "tiny-video-both"]
    records += everywhere("tiny-video-both", shifted(STEPS, -3))
    assert finding("6", *records).endswith(
        "best first: 2D Dec., 2D Enc. + Dec., 2D Enc.; here 2D Dec., 2D Enc., 2D Enc. + Dec."
    )


def test_the_finding_may_go_against_the_paper() -> None:
    records = [
        *everywhere("tiny-video-first", shifted(STEPS)),
        *everywhere("tiny-video-average", [v + 0.25 for v in shifted(SWINGS)]),
        *everywhere("tiny-video-random", BASE),
    ]
    said = finding("7", *records)
    assert said.startswith(
        "Finding: best by PSNR on sample-clips is 1st Frame (28.50), not the paper's choice, Random (24.00). "
        "At p < 0.05 after Holm's correction Random is worse than 1st Frame (by 4.500 dB, p = 0.016); not told "
        "apart from Average (0.250 dB behind, p = "
    )
    assert said.endswith(
        "; not tested against Slice. Order in the paper on WebVid-Val, best first: Random, Average, 1st Frame; here "
        "1st Frame, Average, Random."
    )


def test_where_less_is_better_the_finding_turns_round(tmp_path: Path) -> None:
    path = tmp_path / "table-8.toml"
    text = (folder() / "table-8.toml").read_text()
    assert text.count('metric = "psnr"\n') == 1
    path.write_text(text.replace('metric = "psnr"\n', 'metric = "lpips-vgg"\n'))
    said = finding(str(path), *everywhere("tiny-video-z16", BASE), *everywhere("tiny-image-z16", shifted(STEPS)))
    assert said.startswith(
        "Finding: best by LPIPS on sample-clips is image VAE (0.715), not the counterpart of CVVAE-SD3, video VAE "
        "(0.760). At p < 0.05 after Holm's correction video VAE is worse than image VAE (by 0.0450, p = 0.008)."
    )
    assert said.endswith("best first: image VAE, video VAE; here the same.")  # 0.064 and 0.087 in the paper


def test_a_question_about_a_row_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((folder() / "table-6.toml").read_text().replace('reference = "2D Dec."', 'reference = "3D"'))
    with pytest.raises(UsageError, match="a row or column that it does not have"):
        paper.load_table(str(path))


# the records that ship


def test_stored_records_fill_what_was_not_given_and_those_given_win() -> None:
    given = everywhere("tiny-video-random", shifted(STEPS))
    table = paper.build(paper.load_table("6"), given, stored=six())
    small = table.below[0]
    assert [row[5].value for row in small.rows] == [15.0, 19.5, 28.5, 24.0]
    assert "Records that ship with the project (reports/ablations): tiny-video-none, tiny-video-encoder, " in str(
        small.remarks
    )
    assert len(table.below) == 2
    seven = paper.build(paper.load_table("7"), [], stored=six())
    assert not any("Also in these records" in remark for remark in seven.remarks)
    assert [row[5].value for row in seven.below[0].rows] == [None, None, None, 24.0]


def test_stored_records_never_make_a_table_impossible() -> None:
    given = [ran("tiny-video-random", "sample-clips", BASE, size=128)]
    small = paper.build(paper.load_table("6"), given, stored=six()).below[0]
    assert [row[5].text[:7] for row in small.rows] == ["not run", "not run", "24.00 [", "not run"]
    assert [row[2].text[:5] for row in small.rows] == ["15.00", "19.50", "24.00", "24.00"]
    assert (
        "Stored records left out, being made otherwise than those given (size is 256 instead of 128): "
        "tiny-video-none, tiny-video-encoder, tiny-video-both." in small.remarks
    )
    mixed = paper.build(paper.load_table("6"), given, stored=six(), allow_mixed=True).below[0]
    assert [row[5].value for row in mixed.rows] == [15.0, 19.5, 24.0, 24.0]


def test_the_folder_is_in_the_package_when_installed_and_beside_it_in_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_module, "__file__", str(tmp_path / "cvbench/paper/stored.py"))
    beside, inside = tmp_path / "reports/ablations", tmp_path / "cvbench/reports/ablations"
    assert stored_module.folder() == beside / "records"
    assert paper.stored_records() == []
    inside.mkdir(parents=True)
    write_record(inside, six()[0])
    assert stored_module.folder() == inside / "records"
    assert [r.model.name for r in paper.stored_records()] == ["tiny-video-none"]


def test_the_wheel_carries_the_folder() -> None:
    root = Path(__file__).parents[1]
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    places = {target: source for source, target in wheel["force-include"].items()}
    assert (root / places["cvbench/reports/ablations/records"]).resolve() == stored_module.folder().resolve()
    assert stored_module.folder().is_dir()


@pytest.mark.parametrize("number", ["1", "6", "7", "8"])
def test_the_records_that_ship_fill_their_table(number: str) -> None:
    block = paper.load_table(number).small
    assert block
    mine = [r for r in paper.stored_records() if block.holds(r)]
    assert {(r.model.name, r.data.name) for r in mine} == {(row.model, d) for row in block.rows for d in SETS}
    assert all((r.protocol.name, r.error, r.failures, r.data.n) == (block.protocol, None, [], 8) for r in mine)
    assert len({(r.data.name, r.data.manifest) for r in mine}) == len(SETS)
    assert "Finding: " in str(paper.build(paper.load_table(number), [], stored=mine).below[0].remarks)


# the program


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of stored records for Table 6."""
    for record in six():
        write_record(tmp_path, record)
    monkeypatch.setattr(stored_module, "folder", lambda: tmp_path / "records")
    return tmp_path


@pytest.mark.parametrize("form", tables.FORMATS)
def test_the_bare_command_prints_block_tests_and_finding(
    form: str, shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(["table", "6", "--format", form]) == 0
    text = capsys.readouterr().out
    assert text.index("weights not public") < text.index("tiny-video-encoder") < text.index("0.023")
    assert ("Finding: best by PSNR on sample-clips is 2D Dec." in text) == (form != "csv")
    assert text.count("Small scale: ") >= 2 or form == "csv"


def test_csv_and_json_hold_the_full_numbers(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_program(["table", "6", "--format", "csv"])
    parts = capsys.readouterr().out.split("\n\n")
    row = list(csv.DictReader(io.StringIO(parts[2])))[4]
    assert (row["Method"], row["Data"], row["PSNR difference"], row["PSNR p"]) == (
        "2D Enc.", "sample-clips", "-4.5", "0.023",
    )  # fmt: skip
    assert float(row["PSNR difference low"]) < -4.5 < float(row["PSNR difference high"]) < 0
    run_program(["table", "6", "--format", "json"])
    cells = json.loads(capsys.readouterr().out)["below"][1]["rows"][4]
    assert cells["PSNR p"]["value"] == 3 * 2 / 256


def test_latex_tables_have_as_many_cells_in_every_row(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_program(["table", "6", "--published", "--format", "latex"])
    bodies = capsys.readouterr().out.split("\\begin{tabular}{")[1:]
    assert len(bodies) == 3
    for body in bodies:
        rows = [line for line in body.split("\\midrule")[1].split("\\bottomrule")[0].splitlines() if line]
        assert {row.count(" & ") for row in rows} == {len(body.partition("}")[0]) - 1}


def test_given_records_go_before_the_stored_ones(
    shipped: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path_factory.mktemp("mine")
    write_record(mine, ran("tiny-video-random", "sample-clips", shifted(STEPS)))
    assert run_program(["table", "6", "--from", str(mine)]) == 0
    assert "2D Dec. (28.50), the paper's choice" in capsys.readouterr().out


TORCH = """
import sys
from pathlib import Path
from cvbench import cli
from cvbench.paper import stored
stored.folder = lambda: Path(sys.argv[1])
code = cli.run_program(["table", "6"])
sys.exit(code or "torch" in sys.modules)
"""


def test_the_tests_are_made_without_torch(shipped: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TORCH, str(shipped / "records")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Finding: " in done.stdout
