import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import PROTOCOL, signature
from PIL import Image

from cvbench.cli import run_program
from cvbench.compare.walk_text import walk_json
from cvbench.compare.walked import Change, Row, Walked
from cvbench.core.errors import UsageError
from cvbench.core.records import DataFacts, Failure, ModelFacts, RunRecord, SampleRecord, Score, read_records
from cvbench.engine import pictures
from cvbench.engine.pictures import Shot
from cvbench.report import charts, content, markdown, markdown_report, page, render
from cvbench.report.steps import series
from cvbench.store import write_record

EVIL = "<script>alert(1)</script>"
QUOTED = "\"b\" 'c' `${d}` </script><!--\\u2028\u2028"
NAMES = (EVIL, QUOTED, "__proto__", "plain")
RATES = (0.2, 0.4, 0.8, 0.1)
FRAMES, HEIGHT, WIDTH = 9, 48, 64
SHIFTS = (2, 4, 8, 16)  # of every pixel: the reconstruction is that much brighter than the target


def clip_ids() -> list[str]:
    return [f"a \"{i}\" 'ü' <b>&amp;.mp4" for i in range(5)]


def record(k: int, clips: int = 5, frames: int = FRAMES, **more: Any) -> RunRecord:
    """Model k of NAMES; clip i scores 30 + k + i, with a dip of 1 dB on the first frame of each group of four."""
    dips = np.array([-1.0 if t % 4 == 1 else 0.0 for t in range(frames)])
    ids = clip_ids() if clips == 5 else [f"{i}.mp4" for i in range(clips)]
    samples = [
        SampleRecord(
            name, frames, HEIGHT, WIDTH, "0" * 64, {}, {"psnr": (30 + k + i + dips).tolist(), "ssim": [0.9] * frames}
        )
        for i, name in enumerate(ids)
    ]
    scores = {m: Score(v, v - 1, v + 1, clips, signature(m)) for m, v in (("psnr", 32.0 + k), ("ssim", 0.9))}
    made = RunRecord(
        model=ModelFacts(NAMES[k], f"{k}", params=(10**k * 1000, 0), temporal=4, bpp=RATES[k], frame_rule="1 + 4k"),
        data=DataFacts("d", "1" * 64, clips),
        protocol=PROTOCOL,
        probes={"psnr": "1"},
        scores=scores,
        samples=samples,
        created="2026-01-02T03:04:05+00:00",
    )
    return dataclasses.replace(made, **more)


def gone() -> RunRecord:
    return record(3, model=ModelFacts("gone", "x"), scores={}, samples=[], error="weights of gone: put <them> here")


def target(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, (3, FRAMES, HEIGHT, WIDTH), np.uint8)


def shots(choice: pictures.Choice) -> Iterator[Shot]:
    for i, (name, models) in enumerate(choice.items()):
        latents = {model: np.random.default_rng(i).normal(size=(4, 3, 6, 8)) for model in models}
        yield Shot(name, target(i), {m: target(i) + np.uint8(SHIFTS[NAMES.index(m)]) for m in models}, latents)


def make_report(folder: Path) -> str:
    """Write the pictures of a run into a folder; return its report."""
    records = [record(k) for k in range(4)]
    choice = pictures.choose(records, 3)
    pictures.save(folder, records, choice, shots(choice))
    failures = [Failure('broken "x".mp4', "truncated <b>")]
    return render([*(dataclasses.replace(r, failures=failures) for r in records), gone()], [folder / "pictures"], EVIL)


class Page(HTMLParser):
    """What the standard library's parser sees of a page: elements, text outside scripts, scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text, self.inside = "", ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style") else self.inside
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif not self.inside:
            self.text += data

    def data(self, key: str) -> Any:
        return json.loads(next(text for attrs, text in self.scripts if attrs.get("id") == key))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Page]:
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report.html"
    path.write_text(make_report(folder), encoding="utf-8")
    return path, Page(path.read_text(encoding="utf-8"))


def test_hostile_names_stay_text(report: tuple[Path, Page]) -> None:
    _, seen = report
    assert [attrs.get("type") for attrs, _ in seen.scripts] == ["application/json"] * 3 + ["module"] * 4
    assert not seen.all("b") or all("alert" not in str(attrs) for attrs in seen.all("b"))
    assert seen.text.count(EVIL) > 3
    assert QUOTED in seen.text
    assert "weights of gone: put <them> here" in seen.text
    assert 'broken "x".mp4: truncated <b>' in seen.text
    assert {m["name"] for m in seen.data("clip-data")[0]["clips"][0]["models"]} == set(NAMES)


def test_nothing_in_the_page_asks_for_another_file(report: tuple[Path, Page]) -> None:
    _, seen = report
    for tag, attrs in seen.elements:
        for key in ("src", "href", "srcset", "action", "data", "poster"):
            assert str(attrs.get(key, "#")).startswith(("#", "data:")), (tag, attrs)
    (policy,) = [a["content"] for a in seen.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy).startswith("default-src 'none'; img-src data:;")
    assert "unsafe-eval" not in str(policy)
    assert "script-src 'unsafe-inline'" not in str(policy)


def test_every_control_and_picture_has_a_name(report: tuple[Path, Page]) -> None:
    path, seen = report
    text = path.read_text(encoding="utf-8")
    labels = re.findall(r"<label[^>]*>.*?</label>", text, re.S)
    for tag in ("select", "input"):
        for attrs in seen.all(tag):
            assert attrs.get("aria-label") or any(f'id="{attrs["id"]}"' in label for label in labels), attrs
    assert all("alt" in attrs for attrs in seen.all("img"))
    ids = [a["id"] for _, a in seen.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:].partition("?")[0] for a in seen.all("a") if a["href"]} <= set(ids)
    assert seen.all("html")[0]["lang"] == "en"


def test_the_table_has_values_to_sort_by_and_intervals(report: tuple[Path, Page]) -> None:
    path, seen = report
    assert [a["data-value"] for a in seen.all("td") if a.get("data-value", "").startswith("3")] == [
        "32.0",
        "33.0",
        "34.0",
        "35.0",
    ]
    assert "<small>[34.00, 36.00]</small>" in path.read_text(encoding="utf-8")
    assert "psnr:1, ssim:1 data=d#1 n=" in seen.text


def test_a_report_without_pictures_or_scores_is_still_a_report() -> None:
    seen = Page(render([gone()]))
    assert "clips" not in [a.get("id") for _, a in seen.elements]
    assert "weights of gone: put <them> here" in seen.text
    with pytest.raises(UsageError, match="no records"):
        render([])


def a_walk(model: str = EVIL) -> Walked:
    """From 30 dB up 2, down 1, and up 0.5 on three of four clips."""
    start = Row("", "a", {"psnr": Change(30.0, None)}, 4, 4)
    up = Row("pace", "stride=1", {"psnr": Change(32.0, 2.0, 1.0, 3.0)}, 4, 4)
    down = Row("bytes", "eight=floor", {"psnr": Change(31.0, -1.0)}, 4, 4)
    last = Row("short", "short=skip", {"psnr": Change(31.5, 0.5)}, 3, 3, f"without {EVIL}; n 4 → 3")
    return Walked(model, "d", "a", "b", ["psnr"], [start, up, down, last])


def test_a_walk_is_shown_with_records_and_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "explain.json").write_text(walk_json([a_walk()]), encoding="utf-8")
    for records in ([], [record(0)]):
        for made in records:
            write_record(tmp_path, made)
        assert run_program(["report", str(tmp_path)]) == 0
        seen = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
        assert [attrs.get("class") for attrs in seen.all("svg")].count("waterfall") == 1
        assert sum(attrs.get("class") in ("up", "down") for attrs in seen.all("rect")) == 3
        assert "+2.00 [+1.00, +3.00]" in seen.text
        assert f"3; without {EVIL}; n 4 → 3" in seen.text
        assert ("scores" in [a.get("id") for _, a in seen.elements], bool(seen.scripts)) == (bool(records),) * 2
        assert len(seen.all("a")) == len({a.get("href") for a in seen.all("a")})
        assert run_program(["report", str(tmp_path), "--markdown"]) == 0
        assert "| pace | `stride=1` | +2.00 | +1.00 to +3.00 | 4 |" in (tmp_path / "report.md").read_text("utf-8")
    assert len(read_records([tmp_path])) == 1
    assert run_program(["report", str(tmp_path / "explain.json")]) == 0
    for text, says in (
        ("[{}]", "no walk"),
        ("{", "no walk"),
        (walk_json([a_walk()]).replace('"psnr": {', '"x": {'), "lacks"),
    ):
        (tmp_path / "explain.json").write_text(text, encoding="utf-8")
        capsys.readouterr()
        assert run_program(["report", str(tmp_path)]) == 2
        assert says in capsys.readouterr().err


def test_two_protocols_make_two_tables() -> None:
    other = record(1, protocol=dataclasses.replace(PROTOCOL, name="other"))
    seen = Page(render([record(0), other]))
    assert sum("scores" in str(a.get("class")) for a in seen.all("table")) == 2
    assert [g["label"] for g in seen.data("chart-data")["groups"]] == ["d · p", "d · other"]


def test_what_failed_for_all_models_is_said_once() -> None:
    shared, own = Failure("bad.mp4", "truncated"), Failure("big.mp4", "out of memory")
    found = page.missing([record(0, failures=[shared]), record(3, failures=[shared, own]), gone()])
    assert found == [
        (
            "d",
            [
                ("bad.mp4: truncated", f"{EVIL}, plain"),
                ("big.mp4: out of memory", "plain"),
                ("weights of gone: put <them> here", "gone"),
            ],
        )
    ]
    many = page.missing([record(0, failures=[Failure(str(i), "x") for i in range(25)])])
    assert many[0][1][-1][0] == "and 5 samples more"


@pytest.mark.parametrize(
    ("better_x", "better_y", "expected"),
    [
        ("lower", "higher", [True, True, False, True]),
        ("higher", "higher", [False, False, False, True]),
        ("lower", "lower", [True, False, False, False]),
    ],
)
def test_the_front_of_four_points(better_x: Any, better_y: Any, expected: list[bool]) -> None:
    points = [(1.0, 10.0), (2.0, 20.0), (3.0, 15.0), (4.0, 30.0)]
    assert content.front(points, better_x, better_y) == expected


def test_equal_points_are_both_on_the_front_and_none_is_on_none() -> None:
    assert content.front([(1.0, 1.0), (1.0, 1.0)], "lower", "higher") == [True, True]
    assert content.front([], "lower", "higher") == []


def test_references_and_untrained_networks_are_not_drawn() -> None:
    records = [record(0), record(1), record(2)]
    records[1] = dataclasses.replace(records[1], model=ModelFacts("i", "1", role="reference", bpp=1.0))
    records[2] = dataclasses.replace(records[2], model=ModelFacts("u", "2", init="random", bpp=1.0))
    assert [p.model for p in content.points(records, "psnr", content.AXES[0])] == [EVIL]
    assert [c.model for c in content.curves(records, "psnr")] == [EVIL]


def test_throughput_is_that_of_both_ways() -> None:
    speed = {"encode_fps": 30.0, "decode_fps": 60.0, "device": "x", "threads": 1, "shape": "1"}
    (point,) = content.points([record(0, speed=speed)], "psnr", content.AXES[2])
    assert point.x == pytest.approx(20.0)  # 1/30 + 1/60 = 1/20 s a frame
    assert content.points([record(0)], "psnr", content.AXES[2]) == []


@pytest.mark.parametrize(
    ("frames", "temporal", "rule", "groups"),
    [
        (9, 4, "1 + 4k", [(0, 0), (1, 4), (5, 8)]),
        (8, 4, "4k", [(0, 3), (4, 7)]),
        (6, 4, "any", [(0, 3), (4, 5)]),
        (7, 4, "1 + 4k", [(0, 0), (1, 4), (5, 6)]),
        (9, 1, "any", []),
    ],
)
def test_temporal_groups(frames: int, temporal: int, rule: str, groups: list[tuple[int, int]]) -> None:
    assert content.temporal_groups(frames, temporal, rule) == groups


def test_a_curve_is_the_mean_over_clips_and_its_band_their_deviation() -> None:
    (curve,) = content.curves([record(0)], "psnr")
    dips = [-1.0 if t % 4 == 1 else 0.0 for t in range(FRAMES)]
    assert curve.mean == pytest.approx([32 + d for d in dips], abs=1e-3)  # clips score 30, 31, ..., 34
    assert curve.low == curve.high == curve.mean  # all clips dip alike, however far apart their means
    assert (curve.clips, curve.spans) == (5, [(0, 0), (1, 4), (5, 8)])


def test_clips_of_different_length_and_images_share_a_curve() -> None:
    short = record(0, frames=5).samples[0]
    image = SampleRecord("i", 1, HEIGHT, WIDTH, "0" * 64, {}, {"psnr": [99.0]})
    (curve,) = content.curves([record(0, samples=[*record(0).samples, short, image])], "psnr")
    assert (curve.clips, len(curve.mean)) == (6, FRAMES)


def test_a_long_curve_is_averaged_to_few_points() -> None:
    long = SampleRecord("l", 1000, HEIGHT, WIDTH, "0" * 64, {}, {"psnr": np.arange(1000.0).tolist()})
    (curve,) = content.curves([record(0, samples=[long])], "psnr")
    assert len(curve.mean) <= content.POINTS
    assert curve.mean[:2] == pytest.approx([4.0, 13.0])  # means of frames 0 to 8, 9 to 17
    assert (curve.total, curve.spans) == (1000, ())


def test_pictures_of_other_weights_are_left_out_and_named(tmp_path: Path) -> None:
    make_report(tmp_path)
    retrained = dataclasses.replace(record(3), model=dataclasses.replace(record(3).model, digest="new"))
    seen = Page(render([record(0), retrained], [tmp_path / "pictures"]))
    assert {m["name"] for c in seen.data("clip-data")[0]["clips"] for m in c["models"]} == {EVIL}
    assert "pictures of plain are of other weights" in seen.text


def test_too_many_pictures_are_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_report(tmp_path)
    monkeypatch.setattr("cvbench.report.clips.EMBEDDED", 700_000)
    seen = Page(render([record(0)], [tmp_path / "pictures"]))
    left = len(seen.data("clip-data")[0]["clips"])
    assert 0 < left < 3
    assert f"{3 - left} of 3 pictured samples are left out" in seen.text


def test_a_full_budget_of_pictures_stays_below_30_mb() -> None:
    from cvbench.report.clips import EMBEDDED

    assert pictures.BUDGET < EMBEDDED
    assert EMBEDDED * 4 / 3 + len(charts.library()) < 29.5e6


def test_markdown_shows_charts_and_sheets_that_exist(tmp_path: Path) -> None:
    make_report(tmp_path)
    path = markdown_report([record(k) for k in range(4)], tmp_path, [tmp_path / "pictures"], EVIL)
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text
    shown = re.findall(r'(?:src|srcset)="([^"]+)"', text)
    assert len(shown) == 2 * 2 + 2 * 4 + 2 * 4  # two axes with data, a curve a model, worst and median a model
    for name in shown:
        if name.endswith(".svg"):
            assert ElementTree.parse(tmp_path / name).getroot().tag.endswith("svg")
    assert text.count("<img") == text.count('alt="')


def test_a_contact_sheet_shows_target_reconstruction_and_difference(tmp_path: Path) -> None:
    make_report(tmp_path)
    (gallery,) = pictures.read(tmp_path / "pictures")
    sheet = markdown.contact_sheet(gallery, gallery.clips[0], "plain")
    gap = markdown.GAP
    assert sheet.shape == (3 * HEIGHT + 2 * gap, 5 * WIDTH + 4 * gap, 3)
    with Image.open(gallery.folder / gallery.clips[0].target[0]) as image:
        assert np.array_equal(sheet[:HEIGHT, :WIDTH], np.asarray(image))
    heat = sheet[2 * (HEIGHT + gap) :, :WIDTH]
    assert set(heat.flatten().tolist()) == {16 * markdown.GAIN}


@pytest.mark.large
def test_20_models_by_1000_clips_take_less_than_10_seconds_without_torch(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    for k in range(20):
        made = record(k % 4, clips=1000, frames=33)
        facts = dataclasses.replace(made.model, name=f"model {k}")
        text = dataclasses.replace(made, model=facts).to_json()
        (tmp_path / "records" / f"{k}.json").write_text(text, encoding="utf-8")
    code = """if True:
        import sys, pathlib
        from cvbench.core.records import read_records
        from cvbench.report import render
        text = render(read_records([pathlib.Path(sys.argv[1])]))
        assert "torch" not in sys.modules
        assert len(text) < 3e6, len(text)
    """
    start = os.times()
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    now = os.times()  # the child's own time: what else the machine does is not its fault
    assert now.children_user + now.children_system - start.children_user - start.children_system < 10


# What follows happens in a browser.

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ("background-networking", "component-update", "sync", "quic", "gpu")
FLAGS = ["--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in QUIET)]

Opened = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, report: tuple[Path, Page]) -> Iterator[Opened]:
    """Open the report; afterwards nothing may have been logged, raised, asked of a network or shown in a dialog."""
    trouble: list[str] = []
    with contextlib.ExitStack() as stack:

        def open_page(width: int = 1400, scheme: str = "light", path: Path = report[0]) -> Any:
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            stack.callback(context.close)
            shown = context.new_page()
            shown.on("console", lambda message: trouble.append(f"console: {message.text}"))
            shown.on("pageerror", lambda error: trouble.append(f"error: {error}"))
            shown.on("dialog", lambda dialog: (trouble.append(f"dialog: {dialog.message}"), dialog.dismiss()))
            shown.on(
                "request",
                lambda request: (
                    None if request.url.startswith(("data:", path.as_uri())) else trouble.append(request.url)
                ),
            )
            shown.goto(path.as_uri())
            shown.wait_for_selector(".chart[data-axis=bpp] svg")
            return shown

        yield open_page
    assert trouble == []


def column(shown: Any, number: int) -> list[str]:
    return shown.eval_on_selector_all(
        "table.scores tbody tr", f"rows => rows.map(r => r.cells[{number}].innerText.split('\\n')[0])"
    )


def test_a_heading_sorts_best_first_then_the_other_way(opened: Opened) -> None:
    shown = opened()
    heading = shown.locator("table.scores th[aria-sort]", has_text="PSNR")
    heading.locator("button").click()
    assert column(shown, 1)[:4] == ["35.00", "34.00", "33.00", "32.00"]
    assert column(shown, 0)[4] == "gone"
    assert heading.get_attribute("aria-sort") == "descending"
    heading.locator("button").press("Enter")
    assert column(shown, 1)[:4] == ["32.00", "33.00", "34.00", "35.00"]
    assert column(shown, 0)[4] == "gone"
    shown.locator("table.scores th[aria-sort] button", has_text="Model").click()
    assert column(shown, 0)[-1] == "plain"
    assert shown.locator("th[aria-sort=ascending]").count() == 1


def test_the_columns_of_one_data_set_are_shown_and_the_table_can_be_taken_along(opened: Opened, tmp_path: Path) -> None:
    records = [dataclasses.replace(record(k), data=DataFacts(data, "1", 5)) for data in ("d", "e") for k in (2, 3)]
    (tmp_path / "r.html").write_text(render(records), encoding="utf-8")
    shown = opened(path=tmp_path / "r.html")

    def heads() -> list[str]:
        return [h.split(" ")[0] for h in shown.locator("table.scores thead th[aria-sort]:visible").all_inner_texts()]

    assert heads() == ["Model", "PSNR", "SSIM", "Params", "FCR", "Comp."]
    shown.select_option(".shown-data", "")
    assert heads() == ["Model", "PSNR", "SSIM", "PSNR", "SSIM", "Params", "FCR", "Comp."]
    assert not shown.locator(".scroll.more").count()
    shown.set_viewport_size({"width": 390, "height": 800})
    shown.wait_for_selector(".scroll.more")
    cell, region = (shown.locator(s).first.bounding_box() for s in ("table.scores tbody td", "#scores .scroll"))
    assert cell["x"] + cell["width"] <= region["x"] + region["width"]
    with shown.expect_download() as loading:
        shown.locator("button.download").click()
    text = Path(loading.value.path()).read_text(encoding="utf-8")
    assert text.startswith("Model,d PSNR,d PSNR low,")
    shown.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown.locator("button.copy").click()
    shown.wait_for_selector("#scores [role=status]:has-text('copied')")
    assert shown.evaluate("navigator.clipboard.readText()") == text


def test_a_link_leads_to_the_model_and_sample(opened: Opened, report: tuple[Path, Page]) -> None:
    shown = opened()
    shown.locator("#next").click()
    shown.locator("#models input").nth(3).check()
    shown.locator("#share").click()
    address = shown.evaluate("location.href")
    assert "#clips?" in address
    other = opened()
    other.goto("about:blank")
    other.goto(address)
    other.wait_for_selector("#panels figure[data-model=plain]")
    assert other.locator("#clip").input_value() == "1"
    assert other.locator("#panels figure").count() == 4


def test_checkpoints_make_a_curve_over_steps(opened: Opened, tmp_path: Path) -> None:
    steps = ("ema@step=500", "ema@step=1k", "ema@step=2000", "jpeg@quality=30", "jpeg@quality=60", "taew2.1", "taew2.2")
    models = [dataclasses.replace(record(3).model, name=name) for name in steps]
    records = [record(3, model=model) for model in models]
    (found,) = series(records)
    assert (found.name, [step for step, _ in found.records]) == ("ema@step=…", [500.0, 1000.0, 2000.0])
    (tmp_path / "r.html").write_text(render(records), encoding="utf-8")
    shown = opened(path=tmp_path / "r.html")
    shown.wait_for_selector("#over-steps svg")
    assert shown.locator("#over-steps path[aria-label*='at step']").count() == 3
    assert 'id="over-steps"' not in render([record(3)])


def test_the_frame_slider_scrubs_all_panels_by_keyboard(opened: Opened) -> None:
    shown = opened()
    shown.locator("#frame").focus()
    shown.keyboard.press("Home")
    first = shown.eval_on_selector_all(".layers img", "all => all.map(i => i.src)")
    assert shown.locator("#frame").get_attribute("aria-valuetext") == "frame 0 of 0 to 8"
    shown.keyboard.press("ArrowRight")
    second = shown.eval_on_selector_all(".layers img", "all => all.map(i => i.src)")
    assert len(first) == 6
    assert all(a != b for a, b in zip(first, second, strict=True))
    assert shown.locator("#frame-text").inner_text() == "1 / 8"
    assert "frame 1" in str(shown.locator(".layers img").first.get_attribute("alt"))
    assert (
        shown.locator(".panels figcaption span").first.inner_text() == "PSNR 29.00 dB · SSIM 0.900"
    )  # clip 0, its dip


def test_the_wipe_uncovers_the_reconstruction(opened: Opened) -> None:
    shown = opened()
    shown.locator("#wipe").focus()
    shown.keyboard.press("Home")
    clip = "getComputedStyle(document.querySelectorAll('.layers img')[1]).clipPath"
    assert shown.evaluate(clip) == "inset(0px 0px 0px 0%)"
    shown.keyboard.press("End")
    assert shown.evaluate(clip) == "inset(0px 0px 0px 100%)"
    stack = shown.locator(".stack").first
    stack.scroll_into_view_if_needed()
    box = stack.bounding_box()
    shown.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert shown.locator("#wipe").input_value() == "25"


def middle(shown: Any, model: str, tmp_path: Path) -> tuple[int, int, int]:
    """Return the colour in the middle of a model's panel."""
    panel = shown.locator(f"figure[data-model={json.dumps(model)}] .layers")
    panel.screenshot(path=tmp_path / "panel.png")
    with Image.open(tmp_path / "panel.png") as image:
        return image.convert("RGB").getpixel((image.width // 2, image.height // 2))


def test_the_difference_map_grows_with_the_error_and_the_gain(opened: Opened, tmp_path: Path) -> None:
    shown = opened()
    for name in NAMES:
        shown.locator("#models input").nth(NAMES.index(name)).check()
    shown.locator("#difference").focus()
    shown.keyboard.press("Space")
    bright = [sum(middle(shown, name, tmp_path)) for name in ("__proto__", "plain")]
    shown.select_option("#gain", "16")
    brighter = [sum(middle(shown, name, tmp_path)) for name in ("__proto__", "plain")]
    assert bright[0] < bright[1]
    assert all(a < b for a, b in zip(bright, brighter, strict=True))
    assert brighter[1] > 680  # 16 levels × 16 are beyond the scale: its bright end
    assert "0 to 16 of 255" in shown.locator("#scale-text").inner_text()
    assert shown.locator("#wipe").is_disabled()


def test_samples_models_and_cards_switch_what_is_shown(opened: Opened) -> None:
    shown = opened()
    assert shown.locator("#panels figure").count() == 3
    assert "worst of" in shown.locator("#clip option").first.inner_text()
    shown.locator("#next").click()
    assert shown.locator("#clip").input_value() == "1"
    shown.locator("#previous").press("Enter")
    shown.locator("#previous").press("Enter")
    assert shown.locator("#clip").input_value() == "2"
    card = shown.locator("#cards button", has_text="plain").first
    assert "worst: a \"0\" 'ü' <b>&amp;.mp4" in card.inner_text()
    assert "PSNR 32.78 dB, 1 of 5 from the worst" in card.inner_text()  # 33 less two dips in nine frames
    card.press("Enter")
    assert shown.locator("#clip").input_value() == "0"
    assert shown.locator("#panels figure[data-model=plain]").count() == 1
    assert shown.locator("#panels img.latents").count() == 4


def test_a_failure_leads_to_its_picture(opened: Opened) -> None:
    shown = opened()
    assert shown.locator("details.portrait").count() == 4
    first = shown.locator("details.portrait[open]").first
    assert first.locator(".tiles img").first.evaluate("image => image.naturalWidth") == 2 * 64 + 2
    link = first.locator("ol a").first
    name = link.inner_text()
    link.click()
    assert shown.evaluate("clip => document.getElementById('clip').selectedOptions[0].textContent").startswith(name)
    shown.locator("details.portrait summary").nth(1).press("Enter")
    assert shown.locator("details.portrait[open]").count() == 2


def test_playing_moves_on_and_stops(opened: Opened) -> None:
    shown = opened()
    shown.locator("#play").press("Enter")
    assert shown.locator("#play").get_attribute("aria-pressed") == "true"
    shown.wait_for_function("start => document.getElementById('frame').value !== start", arg="4")
    shown.locator("#play").press("Enter")
    assert shown.locator("#play").inner_text() == "Play"


def test_charts_follow_the_metric_and_say_what_they_show(opened: Opened) -> None:
    shown = opened()
    assert shown.locator("[data-axis=bpp][aria-label^='PSNR against bits per pixel of 4 models']").count() == 1
    shown.select_option("#chart-metric", "ssim")
    shown.wait_for_selector("[data-axis=bpp][aria-label^='SSIM against']")
    assert shown.locator("#curves figure").count() == 4
    assert "4 frames a latent frame, the first alone" in shown.locator("#curves").inner_text()
    assert "run with --speed" in shown.locator("#tradeoffs .empty:visible").inner_text()


def test_a_hostile_name_is_harmless_in_a_tooltip(opened: Opened) -> None:
    shown = opened()
    point = shown.locator(f".chart[data-axis=bpp] path[aria-label^={json.dumps(EVIL)}]").first
    point.hover(force=True)
    shown.wait_for_selector("#vg-tooltip-element.visible")
    assert EVIL in shown.locator("#vg-tooltip-element").inner_text()
    assert shown.locator("#vg-tooltip-element script").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_fits_its_window_and_its_text_stands_out(opened: Opened, width: int, scheme: str) -> None:
    shown = opened(width, scheme)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    colours = shown.evaluate(
        "['color', 'backgroundColor'].map(k => getComputedStyle(document.body)[k].match(/\\d+/g).map(Number))"
    )
    label = shown.evaluate("document.querySelector('.chart .role-axis-label text').getAttribute('fill')")
    drawn = [int(label[i : i + 2], 16) for i in (1, 3, 5)]
    for ink in (colours[0], drawn):
        assert contrast(ink, colours[1]) > 7


@pytest.mark.parametrize("width", [390, 1400])
def test_the_bars_of_a_walk_are_as_long_as_its_steps(opened: Opened, tmp_path: Path, width: int) -> None:
    path = tmp_path / "walk.html"
    path.write_text(render([record(0), record(1)], walks=[a_walk()]), encoding="utf-8")
    shown = opened(width, path=path)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    boxes = shown.eval_on_selector_all(
        ".waterfall rect", "bars => bars.map(b => b.getBoundingClientRect()).map(r => [r.left, r.right])"
    )
    lengths = [right - left for left, right in boxes]
    assert [length / lengths[0] for length in lengths] == pytest.approx([1, 0.5, 0.25], abs=0.01)
    assert boxes[1][1] == pytest.approx(boxes[0][1], abs=0.5)  # a step begins where the one before ended
    assert boxes[2][0] == pytest.approx(boxes[1][0], abs=0.5)
    words = shown.eval_on_selector_all(
        ".waterfall text", "texts => texts.map(t => t.getBoundingClientRect()).map(r => [r.left, r.right, r.height])"
    )
    assert all(left >= 0 and right <= width and height > 9 for left, right, height in words)
    shown.locator("#walks summary").click()
    assert shown.locator("#walks table").is_visible()


def contrast(a: list[int], b: list[int]) -> float:
    """Contrast ratio of WCAG 2."""
    linear = [[v / 3294.6 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in colour] for colour in (a, b)]
    low, high = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in linear)
    return (high + 0.05) / (low + 0.05)


def test_turning_dark_redraws_the_charts(opened: Opened) -> None:
    shown = opened()
    shown.emulate_media(color_scheme="dark")
    shown.wait_for_selector(".chart .role-axis-label text[fill='#e8eaed']", state="attached")


def test_focus_can_be_seen_and_reaches_everything(opened: Opened) -> None:
    shown = opened()
    reached = set()
    for _ in range(80):
        shown.keyboard.press("Tab")
        reached.add(shown.evaluate("document.activeElement.id || document.activeElement.tagName"))
        outline = shown.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or shown.evaluate("document.activeElement === document.body")
    assert {
        "chart-group",
        "chart-metric",
        "clip",
        "frame",
        "wipe",
        "difference",
        "play",
        "next",
        "BUTTON",
        "SUMMARY",
    } <= reached


def test_a_report_of_failures_alone_opens(browser: Any, opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "gone.html"
    path.write_text(render([gone()]), encoding="utf-8")
    shown = browser.new_page()
    errors: list[str] = []
    shown.on("pageerror", lambda error: errors.append(str(error)))
    shown.goto(path.as_uri())
    assert shown.locator("#tradeoffs").count() == 0
    shown.close()
    assert errors == []


def save_apart(folder: Path, *places: Sequence[int]) -> None:
    """Store pictures by a run for each set of models, all of the same choice of samples."""
    choice = pictures.choose([record(k) for k in range(4)], 3)
    for models in places:
        own = {name: tuple(NAMES[k] for k in models) for name in choice}
        pictures.save(folder, [record(k) for k in models], own, shots(own))


def test_pictures_of_several_runs_are_shown_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_apart(tmp_path, [0], [1, 2], [2, 3])
    records = [record(k) for k in range(4)]
    seen = Page(render(records, [tmp_path / "pictures"]))
    (gallery,) = seen.data("clip-data")
    assert [[m["name"] for m in clip["models"]] for clip in gallery["clips"]] == [list(NAMES)] * 3
    assert {card["model"] for card in gallery["cards"]} == set(NAMES)
    make_report(tmp_path / "one")
    (whole,) = Page(render(records, [tmp_path / "one" / "pictures"])).data("clip-data")
    assert {c["id"]: c for c in gallery["clips"]} == {c["id"]: c for c in whole["clips"]}
    monkeypatch.chdir(tmp_path)
    assert render(records, [Path("pictures")]) == render(records, [tmp_path / "pictures"])
    text = markdown_report(records, tmp_path / "md", [tmp_path / "pictures"]).read_text(encoding="utf-8")
    assert text.count("-worst") == 4


def test_samples_of_one_name_and_other_pixels_are_not_laid_side_by_side(tmp_path: Path) -> None:
    save_apart(tmp_path, [0])
    other = [dataclasses.replace(s, target=s.target[:, :, ::-1].copy()) for s in shots({"c0": (NAMES[1],)})]
    pictures.save(tmp_path, [record(1)], {"c0": (NAMES[1],)}, other)
    (gallery,) = Page(render([record(0), record(1)], [tmp_path / "pictures"])).data("clip-data")
    assert all(len(clip["models"]) == 1 for clip in gallery["clips"])


def test_frames_that_only_one_run_kept_are_left_out_of_both(tmp_path: Path) -> None:
    save_apart(tmp_path, [0])
    choice = dict.fromkeys(pictures.choose([record(1)], 3), (NAMES[1],))
    pictures.save(tmp_path, [record(1)], choice, shots(choice), budget=40_000)
    (gallery,) = Page(render([record(0), record(1)], [tmp_path / "pictures"])).data("clip-data")
    for clip in gallery["clips"]:
        assert all(len(m["pictures"]) == len(m["scores"]) == len(clip["target"]) for m in clip["models"])


def test_damaged_pictures_cost_pictures_and_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_apart(tmp_path, [0], [1])
    (tmp_path / "pictures" / "broken.json").write_text("{")
    write_record(tmp_path, record(0))
    assert run_program(["report", str(tmp_path)]) == 3
    assert "broken.json is no index of pictures" in capsys.readouterr().err
    seen = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert len(seen.data("clip-data")[0]["clips"]) == 3
    assert "broken.json" in seen.text
    for path in (tmp_path / "pictures").glob("*--*.json"):
        path.write_text("[]")
    assert run_program(["report", str(tmp_path), "--markdown"]) == 3
    assert "no index of pictures" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_picture_that_does_not_decode_costs_its_sheet(tmp_path: Path) -> None:
    save_apart(tmp_path, [0])
    for path in (tmp_path / "pictures").rglob("*.webp"):
        path.write_bytes(path.read_bytes()[:40])
    text = markdown_report([record(0)], tmp_path, [tmp_path / "pictures"]).read_text(encoding="utf-8")
    assert "no sheet of" in text


def test_the_net_of_lpips_is_not_the_version_of_a_package() -> None:
    made = record(0, protocol=PROTOCOL, environment={"lpips": "0.1.4", "torch": "2.9"})
    ((_, facts),) = page.setups(content.group([made]))
    assert (facts["lpips"], facts["package lpips"], facts["torch"]) == ("vgg", "0.1.4", "2.9")


def test_the_charting_library_is_bundled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVBENCH_CACHE", str(tmp_path))
    bundle = charts.library.__wrapped__()
    monkeypatch.setattr(charts, "_bundle", lambda: pytest.fail("bundled again"))
    assert charts.library.__wrapped__() == bundle
    (path,) = (tmp_path / "charts").iterdir()
    path.write_text(path.read_text(encoding="utf-8").replace("vega", "evil", 1), encoding="utf-8")
    monkeypatch.setattr(charts, "_bundle", lambda: "anew")
    assert charts.library.__wrapped__() == "anew"
    monkeypatch.setenv("CVBENCH_CACHE", str(path))
    assert charts.library.__wrapped__() == "anew"


def test_names_that_no_encoding_holds_are_shown(tmp_path: Path) -> None:
    evil = "caf\udce9\x1b\u202e"
    made = record(0, model=dataclasses.replace(record(0).model, name=evil), failures=[Failure(evil, evil)])
    text = render([made], title=evil)
    assert text.encode()
    assert not set(text) & set("\x1b\u202e")
    assert markdown_report([made], tmp_path, title=evil).read_text(encoding="utf-8")


def test_one_name_with_other_weights_in_two_runs_is_never_mixed(tmp_path: Path) -> None:
    retrained = record(0, model=dataclasses.replace(record(0).model, digest="new"))
    choice = dict.fromkeys(pictures.choose([record(0)], 3), (NAMES[0],))
    pictures.save(tmp_path / "a", [record(0)], choice, shots(choice))
    pictures.save(tmp_path / "b", [retrained], dict(list(choice.items())[:1]), shots(choice))
    folders = [tmp_path / run / "pictures" for run in "ab"]
    seen = Page(render([record(0), retrained], folders)).data("clip-data")
    assert [len(gallery["clips"]) for gallery in seen] == [3, 3]
    assert all(len(clip["models"]) == 1 for gallery in seen for clip in gallery["clips"])
    text = markdown_report([record(0), retrained], tmp_path / "md", folders).read_text(encoding="utf-8")
    sheets = re.findall(r'src="(report/[^"]+png)"', text)
    assert len(set(sheets)) == len(sheets) == 4
