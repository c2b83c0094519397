import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PROTOCOL, scored
from test_report_page import CHROMIUM, FLAGS, Page

from cvbench.cli import run_program
from cvbench.core.digest import digest
from cvbench.core.records import DataFacts, ModelFacts, RunRecord, Score
from cvbench.metrics import score
from cvbench.sharing import files
from cvbench.sharing.bundle import bundle
from cvbench.store import write_record

EVIL = "<script>alert(1)</script>"


def honest(model: ModelFacts, shift: float, created: str) -> RunRecord:
    """A record whose scores follow from its rows, as those of a run do."""
    values = {"psnr": [30 + shift + i for i in range(9)], "ssim": [0.9 - i / 100 for i in range(9)]}
    made = scored(values, model.name, data="d")
    data = DataFacts("d", digest([[s.id, s.sha256] for s in made.samples]), 9)
    scores: dict[str, Score] = {}
    for name, found in made.scores.items():
        signed = dataclasses.replace(found.signature, manifest=data.manifest[:12])
        rows = [np.asarray(s.rows[name]) for s in made.samples]
        scores[name] = score(name, rows, PROTOCOL, signed, [s.clip for s in made.samples])
    return dataclasses.replace(made, model=model, data=data, scores=scores, created=created)


def facts(name: str, digest: str = "1" * 64, params: int = 5_000_000, licence: str = "MIT") -> ModelFacts:
    return ModelFacts(
        name, digest, params=(params, params), temporal=4, spatial=8, bpp=0.1 * params / 1e6, licence=licence
    )


def write(folder: Path, name: str, *records: RunRecord) -> Path:
    for record in records:
        write_record(folder / name, record)
    files.write(bundle(folder / name), folder / f"{name}.zip")
    return folder / f"{name}.zip"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two bundles: three models, of which one was measured again with other weights."""
    folder = tmp_path_factory.mktemp("board")
    first = write(
        folder, "first", honest(facts("small"), 0, "2026-01-01"), honest(facts("large", params=10**8), 3, "2026-01-01")
    )
    second = write(
        folder, "second", honest(facts("small", "2" * 64), 1, "2026-02-01"), honest(facts(EVIL, licence="GPL"), 2, "")
    )
    assert run_program(["leaderboard", "build", str(first), str(second), "-o", str(folder / "site")]) == 0
    return folder / "site"


def board(site: Path) -> Path:
    (path,) = (site / "boards").iterdir()
    return path


def test_every_score_has_its_bundle_and_every_link_leads_somewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        page = Page(path.read_text(encoding="utf-8"))
        links = [held["href"] or "" for tag, held in page.elements if tag == "a"]
        assert any(link.endswith(".zip") for link in links)
        assert all(link.startswith("#") or (path.parent / link).is_file() for link in links)
    text = board(site).read_text(encoding="utf-8")
    for path in (site / "bundles").iterdir():
        with files.opened(path) as held:
            assert f"sha256:{held.sha256}" in text or held.sha256[:12] in text
            assert path.stem == held.sha256[:16]


def test_the_newest_is_shown_and_what_changed_is_told(site: Path) -> None:
    page = Page(board(site).read_text(encoding="utf-8"))
    assert "PSNR 34.00 → 35.00 dB" in page.text
    assert "other weights, options or code of the model" in page.text
    assert page.text.count("small") >= 2


def test_protocols_of_one_name_and_other_fields_have_pages_of_their_own(tmp_path: Path) -> None:
    first, second = (honest(facts(name), 0, "") for name in ("a", "b"))
    changed = dataclasses.replace(second.protocol, size=64)
    scores = {
        name: dataclasses.replace(found, signature=dataclasses.replace(found.signature, protocol=changed))
        for name, found in second.scores.items()
    }
    paths = [
        write(tmp_path, "x", first),
        write(tmp_path, "y", dataclasses.replace(second, protocol=changed, scores=scores)),
    ]
    assert run_program(["leaderboard", "build", *map(str, paths), "-o", str(tmp_path / "site")]) == 0
    assert len(list((tmp_path / "site" / "boards").iterdir())) == 2


def test_a_bundle_that_does_not_agree_is_on_no_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = honest(facts("m"), 0, "")
    forged = dataclasses.replace(good.scores["psnr"], value=40.0)
    path = write(tmp_path, "b", dataclasses.replace(good, scores={**good.scores, "psnr": forged}))
    assert run_program(["leaderboard", "build", str(path), "-o", str(tmp_path / "site")]) == 1
    assert "the rows give 34" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_a_folder_in_use_is_left_alone(site: Path, tmp_path: Path) -> None:
    path = next((site / "bundles").iterdir())
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "mine.zip").write_text("x")
    assert run_program(["leaderboard", "build", str(path), "-o", str(tmp_path)]) == 2
    assert [path.name for path in tmp_path.rglob("*")] == ["bundles", "mine.zip"]


def test_a_site_is_built_again_in_its_place(tmp_path: Path) -> None:
    paths = [write(tmp_path, name, honest(facts(name), 0, "")) for name in ("a", "b")]
    out = tmp_path / "site"
    assert run_program(["leaderboard", "build", *map(str, paths), "-o", str(out)]) == 0
    (out / "CNAME").write_text("mine")
    assert run_program(["leaderboard", "build", str(paths[0]), "-o", str(out)]) == 0
    assert [path.name for path in (out / "models").iterdir()] == ["a.html"]
    assert len(list((out / "bundles").iterdir())) == 1
    assert (out / "CNAME").is_file()


@pytest.mark.large
def test_fifty_bundles_take_less_than_thirty_seconds(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"b{i}", honest(facts(f"m{i}"), i / 10, "2026")) for i in range(50)]
    start = time.process_time()
    assert run_program(["leaderboard", "build", *map(str, paths), "-o", str(tmp_path / "site")]) == 0
    assert time.process_time() - start < 30
    assert (
        len(list((tmp_path / "site" / "models").iterdir()))
        == len(list((tmp_path / "site" / "bundles").iterdir()))
        == 50
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width", [1400, 390])
def test_a_board_sorts_filters_and_draws(browser: Any, site: Path, width: int) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if width < 400 else "light"
    )
    shown, trouble = context.new_page(), []
    for event in ("console", "pageerror", "dialog"):
        shown.on(event, lambda found: trouble.append(str(found)))
    shown.goto(board(site).as_uri())
    shown.wait_for_selector(".chart[data-axis=bpp] svg")
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    rows = shown.locator("table.scores tbody tr:visible th")
    assert len(rows.all_inner_texts()) == 3
    shown.locator("table.scores th[aria-sort] button", has_text="PSNR").click()
    assert rows.all_inner_texts() == ["large", EVIL, "small"]
    shown.select_option("[data-filter=params]", "10000000")
    assert rows.all_inner_texts() == [EVIL, "small"]
    shown.select_option("[data-filter=licence]", "MIT")
    assert rows.all_inner_texts() == ["small"]
    assert shown.locator("#sources-shown").inner_text() == "1 of 3 models"
    cell, region = (
        shown.locator(s).first.bounding_box() for s in ("table.scores tbody tr:visible td", "#scores .scroll")
    )
    assert cell["x"] + cell["width"] <= region["x"] + region["width"]
    shown.locator("#sources tbody tr:visible th a").click()
    assert shown.locator("h1").inner_text() == "small"
    assert trouble == []
    context.close()
