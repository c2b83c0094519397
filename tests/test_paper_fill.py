import csv
import dataclasses
import html.parser
import io
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvbench import paper, tables
from cvbench.cli import run_program
from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.protocol import PROTOCOLS
from cvbench.core.records import DataFacts, ModelFacts, RunRecord, SampleRecord, Score
from cvbench.core.signature import Signature
from cvbench.metrics import METRICS
from cvbench.store import write_record

PUBLISHED = tomllib.loads((Path(__file__).parent / "golden/published.toml").read_text(), parse_float=str)
"""The cells of the paper, as printed there."""
NUMBERS = [str(n) for n in range(1, 9)]
DATA = {"coco": "coco-val", "webvid": "webvid-val", "ucf101": "ucf101", "msrvtt": "msrvtt"}
RECON = ("psnr", "ssim", "lpips-vgg")


def measured(model: str, data: str, size: int = 256, n: int = 5000, **scores: float) -> RunRecord:
    """A record of eight samples around the given scores; `size` is in their signatures."""
    protocol = dataclasses.replace(PROTOCOLS["cvvae-2405"], size=size)
    named = {name.replace("_", "-"): value for name, value in scores.items()}
    swing = 0.01 if model == "tats" else -0.01  # two models are better than each other on every other sample
    return RunRecord(
        model=ModelFacts(model, "1" * 64, params=(34_163_592, 49_490_179), temporal=1, compatible="yes"),
        data=DataFacts(data, "2" * 64, n),
        protocol=protocol,
        probes={},
        scores={m: Score(v, v - 1e-3, v + 1e-3, n, Signature(m, "1", data, "2", protocol)) for m, v in named.items()},
        samples=[
            SampleRecord(f"s{i}", 1, 8, 8, f"{i:064}", {}, {m: [v + swing * (-1) ** i] for m, v in named.items()})
            for i in range(8)
        ],
    )


def printed(number: str, *records: RunRecord, **options: bool) -> tables.Table:
    return paper.build(paper.load_table(number), records, **options)


def cells(number: str, *records: RunRecord, **options: bool) -> list[list[str]]:
    table = printed(number, *records, **options)
    return [[f"{cell.text} {cell.aside}".strip() for cell in row] for row in table.rows]


class Grid(html.parser.HTMLParser):
    """The body of an HTML table as text; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        if tag == "tr" and "tbody" in self.open:
            self.rows.append([])
        if tag in ("td", "th") and "tbody" in self.open:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open) and "tbody" in self.open and "sup" not in self.open:
            self.rows[-1][-1] += data


def in_markdown(text: str) -> list[list[str]]:
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")][2:]
    return [[re.sub(r"<sup>\d+</sup>", "", cell).strip() for cell in line] for line in lines]


def in_latex(text: str) -> list[list[str]]:
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0]
    lines = [re.sub(r"\$\^\{\d+\}\$", "", line) for line in body.splitlines()]
    return [[cell.strip() for cell in line.removesuffix(r" \\").split(" & ")] for line in lines]


def in_json(text: str) -> list[list[str]]:
    return [[f"{c['text']} ({c['published']})" for c in row.values()] for row in json.loads(text)["rows"]]


def in_csv(text: str) -> list[list[str]]:
    """Put a published column behind the one it belongs to."""
    rows = []
    for row in csv.DictReader(io.StringIO(text)):
        heads = [h for h in row if h != "notes" and not re.search(r" (published|difference|low|high)$", h)]
        rows.append([f"{row[h]} ({row[f'{h} published']})" if f"{h} published" in row else row[h] for h in heads])
    return rows


READERS = {"md": in_markdown, "latex": in_latex, "json": in_json, "csv": in_csv, "html": lambda text: Grid(text).rows}


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize("number", NUMBERS)
def test_every_published_cell_stands_in_its_row_and_column(number: str, form: str) -> None:
    alone = dataclasses.replace(printed(number, published=True), below=[])
    rows = READERS[form](tables.FORMATS[form](alone))
    expected = PUBLISHED[f"table{number}"]["rows"]
    assert [row[0].removesuffix(" ()") for row in rows] == [row["method"] for row in expected]
    for row, paper_row in zip(rows, expected, strict=True):
        scores = row[-len(paper_row["values"]) :]
        assert [re.search(r"\((.*?)\)$", cell)[1] for cell in scores] == [str(v) for v in paper_row["values"]]  # type: ignore[index]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_columns_are_the_papers_in_its_order(number: str) -> None:
    """Of `coco.psnr` the data set and the metric; a table of one data set names none."""
    table, block = PUBLISHED[f"table{number}"], paper.load_table(number).main
    for name, column in zip(table["columns"], block.columns, strict=True):
        data, _, metric = name.rpartition(".")
        assert column.data == DATA.get(data, column.data)
        assert column.metric.split("-vgg")[0] == metric.replace("_", "-")
    facts = [key for key in table["rows"][0] if key in ("params", "fcr", "comp", "trainable", "frames")]
    assert list(block.facts) == facts


def test_the_head_of_table_1_has_groups() -> None:
    table = printed("1")
    assert [c.title for c in table.columns[:4]] == ["Method", "Params", "FCR", "Comp."]
    assert table.groups == [("", 4), ("COCO2017-Val", 3), ("WebVid-Val", 3)]
    assert [c.label for c in table.columns[4:7]] == ["PSNR ↑", "SSIM ↑", "LPIPS ↓"]


@pytest.mark.parametrize("number", NUMBERS)
def test_models_facts_and_weights_are_those_of_the_paper(number: str) -> None:
    table, block = PUBLISHED[f"table{number}"], paper.load_table(number).main
    signs = {"yes": "✓", "no": "×"}
    for ours, theirs in zip(block.rows, table["rows"], strict=True):
        assert ours.model == theirs.get("model", ours.model)
        assert ours.reproducible == theirs.get("reproducible", table.get("reproducible", True))
        params = " + ".join(f"{count}M" for count in theirs.get("params", ()))
        assert ours.facts.get("params", "") == params
        for fact in ("fcr", "comp", "trainable", "frames"):
            value = theirs.get(fact, "")
            assert ours.facts.get(fact, "") == signs.get(value, str(value))


def test_table_captions_and_sources_are_named() -> None:
    for number in NUMBERS:
        text = tables.markdown(printed(number, published=True))
        assert PUBLISHED[f"table{number}"]["caption"] in text
        assert f"arXiv 2405.20279 (NeurIPS 2024 camera-ready), Table {number}." in text


def test_notes_tell_of_the_arrow_and_of_the_swapped_heads() -> None:
    assert "down arrow" in tables.markdown(printed("2"))
    assert [c.title for c in printed("2").columns[-3:]] == ["FID ↓", "CLIP ↑", "PIC ↑"]
    assert "the two heads are swapped" in tables.markdown(printed("5"))
    assert cells("5", published=True)[0][-2:] == ["not run (0.960)", "not run (0.292)"]  # F.C., then T.A.


@pytest.mark.parametrize("number", NUMBERS)
def test_directions_agree_with_the_registry_of_metrics(number: str) -> None:
    for column in paper.load_table(number).main.columns:
        lower = column.metric.split("-")[0] in ("lpips", "fid", "fvd", "kvd")
        assert column.info.better == ("lower" if lower else "higher")
        assert column.metric not in METRICS or column.info is METRICS[column.metric]


def test_differences_are_measured_minus_published_to_the_digits_published() -> None:
    row = cells("1", measured("vae-sd21", "coco-val", psnr=26.68, ssim=0.7734, lpips_vgg=0.1254), published=True)[0]
    assert row[4:7] == ["26.68 (26.6; +0.1)", "0.773 (0.773; ±0.000)", "0.125 (0.127; −0.002)"]


def test_full_differences_stand_in_csv_and_json() -> None:
    table = printed("1", measured("vae-sd21", "coco-val", psnr=26.68), published=True)
    row = next(csv.DictReader(io.StringIO(tables.to_csv(table))))
    assert (row["COCO2017-Val PSNR"], row["COCO2017-Val PSNR published"]) == ("26.68", "26.6")
    assert float(row["COCO2017-Val PSNR difference"]) == pytest.approx(0.08, abs=1e-12)
    cell = json.loads(tables.to_json(table))["rows"][0]["COCO2017-Val PSNR ↑"]
    assert (cell["value"], cell["published"]) == (26.68, "26.6")
    assert cell["difference"] == pytest.approx(0.08, abs=1e-12)


def test_published_cells_are_shown_only_when_asked_for() -> None:
    text = tables.markdown(printed("1", measured("vae-sd21", "coco-val", psnr=26.68)))
    assert "26.6 " not in text
    assert "26.68" in text
    assert "In the layout of CV-VAE" in text


def gone(model: str, kind: str) -> RunRecord:
    made = measured(model, "coco-val")
    return dataclasses.replace(made, scores={}, samples=[], error=f"{model} did not run", error_kind=kind)


def test_cells_without_a_number_say_which_of_five_reasons_there_is() -> None:
    lpips = measured("cvvae", "coco-val", psnr=27.0)
    lpips = dataclasses.replace(lpips, unavailable={"lpips-vgg": "vgg16 is missing"})
    table = printed("1", gone("vqgan", "MissingWeights"), gone("tats", ""), gone("cvvae-3d", "MissingWeights"), lpips)
    by_method = {row[0].text: [cell.text for cell in row[4:]] for row in table.rows}
    assert by_method["VAE-SD2.1"] == ["not run"] * 6
    assert by_method["VQGAN"] == ["weights missing"] * 3 + ["not run"] * 3
    assert by_method["TATS"] == ["failed"] * 3 + ["not run"] * 3
    assert by_method["Ours (2D+3D)"] == ["27.00", "not run", "–"] + ["not run"] * 3
    assert by_method["Ours (3D)"] == ["weights not public"] * 6
    assert table.notes == [
        "vqgan: vqgan did not run",
        "tats: tats did not run",
        "only the 2D+3D and SD3 networks were published",
        "LPIPS: vgg16 is missing",
    ]


def test_who_has_weights_that_are_not_public_gets_numbers() -> None:
    row = cells("1", measured("cvvae-3d", "coco-val", psnr=27.5), published=True)[-1]
    assert row[4:6] == ["27.50 (27.7; −0.2)", "weights not public (0.805)"]


def test_parameters_and_compatibility_are_the_models_with_the_papers_beside_them_where_they_differ() -> None:
    found = cells("1", *(measured(m, "coco-val", psnr=20.0) for m in ("vae-sd21", "vqgan")), published=True)
    assert found[0][1:4] == ["34M + 49M", "1", "✓ (-)"]
    assert found[1][1:4] == ["34M + 49M (26M + 38M)", "1", "✓ (×)"]


def test_best_and_second_are_marked_among_the_measured() -> None:
    scores = {"vae-sd21": 28.0, "vqgan": 25.0, "tats": 28.0005, "vae-osp": 20.0}
    table = printed("1", *(measured(m, "coco-val", psnr=v) for m, v in scores.items()), published=True)
    assert [row[4].rank for row in table.rows] == [1, 2, 1, 0, 0, 0]
    assert "**28.00** (26.6; +1.4)" in tables.markdown(table)
    assert "<u>25.00</u> (22.7; +2.3)" in tables.markdown(table)
    assert r"\textbf{28.00} (26.6; +1.4)" in tables.latex(table)
    assert "<strong>28.00</strong> <small>(26.6; +1.4)</small>" in tables.html(table)


def test_intervals_are_shown_when_asked_for() -> None:
    row = cells("1", measured("vae-sd21", "coco-val", ssim=0.7734), published=True, intervals=True)[0]
    assert row[5] == "0.773 [0.772, 0.774] (0.773; ±0.000)"


def test_a_column_of_two_signatures_is_refused_with_the_fields_that_differ() -> None:
    records = [measured(m, "coco-val", psnr=20.0) for m in ("vae-sd21", "vqgan")]
    records += [measured("tats", "coco-val", size=512, psnr=20.0)]
    with pytest.raises(tables.SignatureMismatch, match="tats, PSNR on coco-val: size is 512 instead of 256"):
        printed("1", *records)
    table = printed("1", *records, allow_mixed=True)
    assert table.notes[0] == "not comparable: tats, PSNR on coco-val: size is 512 instead of 256"
    assert [row[4].notes for row in table.rows[:3]] == [(), (), (1,)]


def test_of_two_protocols_the_tables_own_is_shown_and_others_need_a_choice() -> None:
    own, other = measured("tats", "coco-val", psnr=20.0), measured("tats", "coco-val", size=512, psnr=30.0)
    named = [
        dataclasses.replace(other, protocol=dataclasses.replace(other.protocol, name=name))
        for name in ("cvbench-1", "cvbench-2")
    ]
    table = printed("1", named[0], own)
    assert table.rows[2][4].text == "20.00"
    assert table.notes[0] == "tats on coco-val: run under cvbench-1, cvvae-2405; shown: cvvae-2405"
    with pytest.raises(tables.SignatureMismatch, match="tats on coco-val was run under cvbench-1, cvbench-2"):
        printed("1", *named)


def test_a_remark_says_where_the_conditions_are_not_the_papers() -> None:
    table = printed("1", measured("tats", "webvid-val", size=128, n=24, psnr=20.0))
    assert any(
        remark.startswith("webvid-val: measured under cvvae-2405, not cvvae-2405: size is 128 instead of 256;")
        and remark.endswith("measured on 24 samples, not 1,024.")
        for remark in table.remarks
    )
    assert not any("instead of" in r or "samples, not" in r for r in printed("1", measured("tats", "coco-val")).remarks)


def test_records_that_have_no_place_are_named() -> None:
    table = printed("1", measured("jpeg", "coco-val"), measured("jpeg", "webvid-val"), measured("tats", "sample"))
    assert table.remarks[-1] == (
        "Also in these records, but not in this table: jpeg (coco-val, webvid-val), tats (sample)."
    )


def test_tables_of_generation_print_scores_by_the_columns_of_their_file() -> None:
    two = cells("2", measured("sd21+cvvae", "coco-val", fid=58.04, clip=0.3104, pic=0.36), published=True)[1]
    assert two[2:] == ["58.04 (57.6; +0.4)", "0.310 (0.311; −0.001)", "0.360 (0.360; ±0.000)"]
    three = cells("3", measured("svd", "msrvtt", fvd=300.2, kvd=1.5, pic=0.6), published=True)[0]
    assert three[4:] == [
        *("not run (402)", "not run (8.20)", "not run (0.791)"),
        *("300.20 (310; −10)", "1.500 (1.30; +0.20)", "0.600 (0.588; +0.012)"),
    ]
    five = cells("5", measured("vc2", "msrvtt-val", frame_consistency=0.95, text_alignment=0.3))[0]
    assert five == ["VC2", "1", "×", "0.950", "0.300"]


SMALL = """
[small]
caption = "Small scale: the project's own models"
protocol = "cvbench-1"
columns = [{ data = "sample", metric = "psnr" }]
rows = [{ method = "2D Enc.", model = "tiny-enc" }, { method = "2D Dec.", model = "tiny-dec" }]
"""


def small_table(tmp_path: Path) -> Path:
    from cvbench.core.suites import folder

    path = tmp_path / "table-6.toml"
    path.write_text((folder() / "table-6.toml").read_text().partition("[small]")[0] + SMALL)
    return path


def test_a_small_counterpart_stands_below_with_a_head_of_its_own(tmp_path: Path) -> None:
    table = printed(str(small_table(tmp_path)), measured("tiny-dec", "sample", psnr=24.0), published=True)
    assert [[cell.text for cell in row] for row in table.below[0].rows] == [
        ["2D Enc.", "not run"],
        ["2D Dec.", "24.00 [24.00, 24.00]"],  # ± 0.001
    ]
    assert [cell.text for cell in table.rows[0]][1:] == ["weights not public"] * 6
    assert not any("Also in these records" in remark for remark in table.remarks)
    for form in tables.FORMATS.values():
        text = form(table)
        assert text.index("weights not public") < text.index("24.0")
    assert len(json.loads(tables.to_json(table))["below"]) == 1
    first, second = tables.to_csv(table).split("\n\n")
    assert [len(set(map(len, csv.reader(io.StringIO(part))))) for part in (first, second)] == [1, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("caption = 3 =", "cannot be read"),
        ("caption = 'x'", "'source'"),
        ("source='s'\ncaption='c'\nrows=[]\ncolumns=[{data='d', metric='nothing'}]", "'better'"),
        (
            "source='s'\ncaption='c'\nrows=[{method='m', published=[1, 2]}]\ncolumns=[{data='d', metric='psnr'}]",
            "m has 2 published cells for 1 columns",
        ),
    ],
)
def test_a_file_that_is_no_table_says_what_is_wrong(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        paper.load_table(str(path))
    assert "mine.toml" in str(caught.value)


def test_a_table_that_is_not_there_names_those_that_are() -> None:
    assert paper.table_names() == NUMBERS
    with pytest.raises(UnknownName, match="no table is called '9'; try"):
        paper.load_table("9")
    with pytest.raises(UsageError, match=r"nowhere\.toml cannot be read"):
        paper.load_table("nowhere.toml")


def test_every_format_escapes_what_a_model_or_an_error_may_hold() -> None:
    table = printed(
        "1", dataclasses.replace(gone("tats", ""), error='<script>alert("1")</script> | 50 % of $x_1 & #{~^\\}')
    )
    assert "<script" not in tables.html(table)
    assert "<script" not in tables.markdown(table)
    assert r"50 \% of \$x\_1 \& \#\{\textasciitilde{}\textasciicircum{}\textbackslash{}\}" in tables.latex(table)


def latex_document(records: list[RunRecord]) -> str:
    bodies = [
        tables.latex(printed(number, *records, published=published, intervals=published))
        for number in NUMBERS
        for published in (False, True)
    ]
    bodies.append(tables.latex(tables.build(records, intervals=True, allow_mixed=True)))
    head = "\\documentclass{article}\n\\usepackage[landscape,margin=1cm]{geometry}\n"
    head += "\\usepackage{booktabs,amssymb,graphicx}\n"
    return head + "\\begin{document}\n" + "\\clearpage\n".join(bodies) + "\\end{document}\n"


def test_latex_is_whole_and_compiles_where_a_tex_is_installed(tmp_path: Path) -> None:
    records = [
        measured(m, d, psnr=20.0 + i) for i, m in enumerate(("vae-sd21", "tats")) for d in ("coco-val", "webvid-val")
    ]
    nasty = '[x]* 50 % of $x_1 & #{~^\\} <ü> "–" … ± ×'
    text = latex_document(
        [
            *records,
            dataclasses.replace(gone("vqgan", "MissingWeights"), error=nasty),
            measured(nasty, "coco-val", psnr=3.0),
        ]
    )
    assert [
        len(re.findall(rf"\\{end}{{{name}}}", text)) for name in ("table", "tabular") for end in ("begin", "end")
    ] == [33] * 4  # each of the 8 has a small counterpart below it
    assert [text.count(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule")] == [33] * 3
    for tabular in re.findall(r"\\begin{tabular}{(\w+)}(.*?)\\end{tabular}", text, re.DOTALL):
        rows = [line for line in tabular[1].split("\\midrule")[1].splitlines() if line.endswith(r"\\")]
        assert rows
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(tabular[0]) - 1}
    if shutil.which("pdflatex"):
        (tmp_path / "tables.tex").write_text(text)
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout[-2000:]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_program(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_program_prints_published_tables_in_all_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(tmp_path, measured("vae-sd21", "coco-val", psnr=26.68))
    for form in tables.FORMATS:
        code, text, err = run(capsys, "table", "1", "--from", str(tmp_path), "--published", "--ci", "--format", form)
        assert (code, "26.68" in text, "26.6" in text, err) == (0, True, True, "")
    assert run(capsys, "table", "8", "--published")[1].partition("Small scale")[0].count("not run (") == 12
    assert run(capsys, "table", str(small_table(tmp_path)))[0] == 0
    assert run(capsys, "table", str(tmp_path), "--format", "html")[1].startswith("<table")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("table", "9"), "no table is called '9'"),
        (("table", "1", "runs"), "cvbench table 1 --from runs"),
        (("table", ".", "--from", "."), "cvbench table 1 --from"),
        (("table", "nowhere"), "there is no file or folder nowhere"),
        (("table", "1", "--from", "nowhere"), "nowhere"),
        (("table", "1", "--from", "."), "holds no record"),
    ],
)
def test_the_program_says_what_was_wrong(
    arguments: tuple[str, ...],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *arguments)
    assert (code, words in err) == (2, True), err


SPEED = """
import sys, time
from pathlib import Path
start = time.perf_counter()
from cvbench import paper, tables
from cvbench.core.signature import Signature
from cvbench.core.records import read_records
records = read_records([Path(sys.argv[1])])
for table in (tables.build(records), paper.build(paper.load_table("1"), records, published=True)):
    for form in tables.FORMATS.values():
        form(table)
tables.samples_csv(records)
print(len(records), "torch" in sys.modules, time.perf_counter() - start)
"""


@pytest.mark.large
def test_tables_of_20_models_and_1000_clips_take_seconds_and_no_torch(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clips = rng.normal(
        0, 4, (1000, 1)
    )  # clips differ far more than models: all intervals overlap, all clips are compared
    for k in range(20):
        values = (28 + 0.01 * k + clips + rng.normal(0, 0.5, (1000, 33))).round(4)
        rows = [dict.fromkeys(RECON, row) for row in values.tolist()]
        samples = [SampleRecord(f"c{i}", 33, 256, 256, f"{i:064x}", {}, row) for i, row in enumerate(rows)]
        mean = float(values.mean())
        made = measured("vae-sd21" if not k else f"model-{k}", "webvid-val", n=1000, **dict.fromkeys(RECON, mean))
        scores = {m: dataclasses.replace(s, low=mean - 0.25, high=mean + 0.25) for m, s in made.scores.items()}
        write_record(tmp_path, dataclasses.replace(made, samples=samples, scores=scores))
    done = subprocess.run([sys.executable, "-c", SPEED, str(tmp_path)], capture_output=True, text=True, check=True)
    records, torch, seconds = done.stdout.split()
    assert (records, torch) == ("20", "False")
    assert float(seconds) < 10
