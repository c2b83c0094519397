"""Draw the pictures of README and gallery from reports, by a Chromium: what is shown is what the page is.

cvbench run && python benchmarks/docs_pictures.py reports/recon/report.html STEPS/report.html SITE docs/pictures

STEPS is the report of a run of checkpoints (step50=…, step100=…), SITE a leaderboard. Needs playwright.
"""

import io
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

LARGEST = 150_000
"""Bytes of a picture at most."""
COLOURS = 128
DRAWN = 5000
"""Colours of a picture that holds no photograph, at most."""
WIDTH = 900
"""Pixels of the longer side of one that does."""
FLAGS = ["--no-sandbox", "--disable-gpu"]


@dataclass(frozen=True)
class View:
    """One picture: what is done on the page before, what of it is shown, and how wide and in which scheme."""

    name: str
    shown: str
    do: Callable[[Page], object] = lambda page: None
    width: int = 1400
    height: int = 900
    scheme: str = "light"


def panels(page: Page) -> None:
    """Let nothing lie over the pictures."""
    page.add_style_tag(content=".sticky { position: static !important }")


def difference(page: Page) -> None:
    panels(page)
    page.locator("#difference").check()


REPORT = [
    View("table", "#scores .scroll"),
    View("report", "", lambda page: page.locator("#tradeoffs").evaluate("e => e.scrollIntoView()"), height=1060),
    View("tradeoffs", "#tradeoffs .charts"),
    View("frames", "#curves"),
    View("wipe", "#panels", panels),
    View("difference", "#panels", difference),
    View("failures", "#failures details[open]"),
    View("dark", "", height=760, scheme="dark"),
    View("phone", "", width=390, height=760, scheme="dark"),
]
STEPS = [View("steps", "#steps figure")]
BOARD = [View("leaderboard", "", height=1000)]


def main() -> None:
    report, steps, site, out = map(Path, sys.argv[1:5])
    out.mkdir(parents=True, exist_ok=True)
    board = next(iter(sorted((site / "boards").iterdir())))
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=FLAGS)
        for path, views in ((report, REPORT), (steps, STEPS), (board, BOARD)):
            for view in views:
                context = browser.new_context(
                    viewport={"width": view.width, "height": view.height}, color_scheme=view.scheme
                )
                page = context.new_page()
                page.goto(path.absolute().as_uri())
                page.wait_for_selector(".chart svg")
                view.do(page)
                page.wait_for_timeout(1500)
                print(save(taken(page, view), out / view.name))
                context.close()
        browser.close()


def taken(page: Page, view: View) -> Image.Image:
    """The picture of an element, or of what of the page is seen first."""
    part: Locator | Page = page.locator(view.shown).first if view.shown else page
    return Image.open(io.BytesIO(part.screenshot())).convert("RGB")


def save(picture: Image.Image, path: Path) -> str:
    """Write what is smaller: a PNG of few colours, or the best WebP that is small enough; return its name and size."""
    for form, data in encodings(picture):
        if len(data) <= LARGEST:
            path.with_suffix(form).write_bytes(data)
            return f"{path.with_suffix(form)} {len(data):,}"
    raise SystemExit(f"{path} is larger than {LARGEST} bytes")


def encodings(picture: Image.Image) -> Iterator[tuple[str, bytes]]:
    if len(picture.getcolors(1 << 24) or ()) < DRAWN:
        buffer = io.BytesIO()
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        yield ".png", buffer.getvalue()
    picture.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    for quality in (90, 80, 70, 60, 50):
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=quality, method=6)
        yield ".webp", buffer.getvalue()


if __name__ == "__main__":
    main()
