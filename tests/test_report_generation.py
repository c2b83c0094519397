"""The report of generated samples in a browser: what several VAEs made of the same latents, side by side."""

import shutil
from pathlib import Path

import pytest

from cvbench.cli import run_program

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DARKER = '''
from cvbench.generators.gaussian import tiny_image

class Darker:
    """The generator's own VAE, which makes everything half as bright."""

    def __init__(self):
        self.vae = tiny_image()
        self.traits = self.vae.traits

    def encode(self, videos):
        return self.vae.encode(videos)

    def decode(self, latents, frames):
        return self.vae.decode(latents, frames).clamp(0, 1) / 2
'''


@pytest.mark.usefixtures("textures")
def test_several_vaes_make_pictures_of_the_same_latents(pictures: Path, tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    (tmp_path / "own.py").write_text(DARKER)
    rows = ["gaussian-t2i", f"gaussian-t2i+{tmp_path / 'own.py'}:Darker", "gaussian-t2i+tiny-image@decode=each"]
    line = ["run", "--suite", "t2i", "--models", ",".join(rows), "--data", str(pictures), "--metrics", "psnr"]
    line += ["--pictures", "2", "--set", "size=64", "--set", "steps=3", "--device", "cpu", "--no-speed"]
    assert run_program([*line, "--out", str(tmp_path / "out")]) == 0
    assert run_program(["report", str(tmp_path / "out"), "--out", str(tmp_path / "report.html")]) == 0
    with api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        shown, trouble = browser.new_page(viewport={"width": 390, "height": 800}), []
        shown.on("pageerror", lambda error: trouble.append(str(error)))
        shown.goto((tmp_path / "report.html").as_uri())
        for box in shown.locator("#models input").all():
            box.check()
        figures = shown.locator("#panels figure")
        assert figures.evaluate_all("all => all.map(one => one.dataset.model)") == rows
        latents = figures.locator("img.latents").evaluate_all("all => all.map(one => one.src)")
        assert len(latents) == 3
        assert len(set(latents)) == 1
        layers = figures.evaluate_all("all => all.map(one => [...one.querySelectorAll('.layers img')].map(i => i.src))")
        assert len({below for below, _ in layers}) == 1
        assert [above == below for below, above in layers] == [True, False, True]
        assert figures.first.locator(".tag").all_inner_texts() == ["the generator's own VAE", "decoded"]
        shown.locator("#wipe").fill("100")
        clip = "all => all.map(one => getComputedStyle(one).clipPath)"
        assert set(shown.locator(".layers img:last-child").evaluate_all(clip)) == {"inset(0px 0px 0px 100%)"}
        assert shown.evaluate("document.documentElement.scrollWidth") == 390
        browser.close()
    assert trouble == []
