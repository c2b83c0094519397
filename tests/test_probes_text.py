"""OCR on pictures of text that are drawn here."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from cvbench.core.errors import BadOutput, UnsuitableInput, says_nothing
from cvbench.probes import load_probe
from cvbench.probes.text import EVERY, Text, edits, large, medium, small

CPU = torch.device("cpu")
LINES = ((8, 44, "Video"), (64, 20, "reconstruction"), (100, 11, "small words"))
"""Top, size of the font, and text: boxes of about 39, 17 and 13 px."""


@lru_cache
def picture(blur: float = 0.0, lines: tuple[tuple[int, int, str], ...] = LINES) -> torch.Tensor:
    image = Image.new("RGB", (192, 128), "white")
    draw = ImageDraw.Draw(image)
    for top, size, text in lines:
        draw.text((10, top), text, fill="black", font=ImageFont.load_default(size=size))
    image = image.filter(ImageFilter.GaussianBlur(blur)) if blur else image
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[:, None] / 255


def score(probe: Text, recon: torch.Tensor, target: torch.Tensor) -> list[float]:
    found: list[float] = probe.rows(recon, probe.prepare(target)).tolist()
    return found


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("same", "same", 0), ("ab", "ba", 2)],
)
def test_edits_are_counted(first: str, second: str, count: int) -> None:
    assert edits(first, second) == edits(second, first) == count


def test_text_that_stays_is_read_and_blur_takes_the_small_lines_first() -> None:
    target = picture()
    assert [score(kind, target, target) for kind in (Text(), small(), medium(), large())] == [[1.0]] * 4
    found = [score(Text(), picture(blur), target)[0] for blur in (0.0, 2.0, 3.0, 8.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[2] > found[3]
    assert score(small(), picture(3.0), target)[0] < 0.5
    assert score(large(), picture(3.0), target)[0] == 1.0


def test_characters_weigh_alike() -> None:
    """Of 5 + 14 + 10 characters read in the target, the 14 of one line are gone."""
    rest = picture(lines=(LINES[0], LINES[2]))
    (found,) = score(Text(), rest, picture())
    assert found == pytest.approx(1 - 14 / 29)
    assert score(medium(), rest, picture()) == [0.0]


def test_every_eighth_frame_that_has_text_is_read() -> None:
    blank = torch.ones_like(picture())
    target = torch.cat([picture()] * (EVERY + 1) + [blank] * EVERY, dim=1)
    recon = target.clone()
    recon[:, 1:EVERY] = 0.0
    assert score(Text(), recon, target) == [1.0, 1.0]
    recon[:, EVERY] = 1.0
    assert score(Text(), recon, target) == [1.0, 0.0]


def test_what_has_no_text_is_no_failure() -> None:
    for probe, target in ((Text(), torch.zeros(3, 1, 64, 64)), (large(), picture(lines=LINES[2:]))):
        with pytest.raises(UnsuitableInput) as error:
            probe.prepare(target)
        assert says_nothing(str(error.value), 1)


def test_tiny_frames_have_no_text_and_long_ones_are_refused() -> None:
    with pytest.raises(UnsuitableInput, match="no such text"):
        Text().prepare(torch.rand(3, 1, 15, 100))
    with pytest.raises(UnsuitableInput, match="ratio up to 10, got 20×201"):
        Text().prepare(torch.rand(3, 1, 20, 201))


def test_what_is_no_number_is_not_read() -> None:
    probe = load_probe("text", CPU)
    recon = picture().clone()
    recon[0, 0, 0, 0] = float("nan")
    with pytest.raises(BadOutput, match="not finite"):
        probe.rows(recon, probe.prepare(picture()))
