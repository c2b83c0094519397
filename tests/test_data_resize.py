"""The resize to a height and a width; that to a short side is held to torchvision in test_data_frames."""

import numpy as np
import pytest
from conftest import scene
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import functional as vision

from cvbench.core.errors import UnsuitableInput, UsageError
from cvbench.data.resize import covering, prepare, resized_shape

SIDES = st.integers(1, 5000)


@given(SIDES, SIDES, SIDES, SIDES)
def test_the_covering_size_is_the_least_that_covers_in_proportion(h: int, w: int, tall: int, wide: int) -> None:
    new_h, new_w = covering(h, w, tall, wide)
    assert new_h >= tall
    assert new_w >= wide
    assert new_h == tall or new_w == wide
    assert abs(new_h * w - new_w * h) < max(h, w)  # in proportion, but for less than a pixel


@given(SIDES, SIDES, SIDES)
def test_a_square_is_covered_as_by_the_short_side_alone(h: int, w: int, size: int) -> None:
    assert covering(h, w, size, size) == resized_shape(h, w, size)


@pytest.mark.parametrize(
    ("source", "size", "scaled"),
    [
        ((480, 854), (256, 448), (256, 455)),  # 854 · 256 / 480 = 455.47
        ((480, 640), (256, 448), (336, 448)),  # 480 · 448 / 640 = 336: the width decides
        ((720, 1280), (576, 1024), (576, 1024)),
        ((1280, 720), (480, 832), (1479, 832)),  # 1280 · 832 / 720 = 1479.1
        ((100, 100), (50, 20), (50, 50)),
        ((333, 251), (17, 16), (21, 16)),  # 333 · 16 / 251 = 21.2
    ],
)
def test_covering_sizes_by_hand(source: tuple[int, int], size: tuple[int, int], scaled: tuple[int, int]) -> None:
    assert resized_shape(*source, size) == scaled
    assert prepare(np.zeros((3, 1, *source), np.uint8), size).shape == (3, 1, *size)


@pytest.mark.parametrize("size", [(24, 40), (40, 24), (33, 57), (96, 30), (48, 64), (17, 16)])
@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (101, 67), (33, 33), (20, 160)])
@pytest.mark.parametrize("name", ["bicubic", "bilinear", "lanczos"])
def test_height_and_width_equal_torchvision_s_resize_and_center_crop_to_the_bit(
    shape: tuple[int, int], size: tuple[int, int], name: str
) -> None:
    """torchvision is told the short side that makes the picture cover: the scale is the larger of the two ratios."""
    pixels = scene(2, *shape)
    scale_by_height = size[0] / shape[0] >= size[1] / shape[1]
    whole = (size[0], int(size[0] * shape[1] / shape[0])) if scale_by_height else None
    whole = whole or (int(size[1] * shape[0] / shape[1]), size[1])
    found = prepare(pixels, size, name)  # type: ignore[arg-type]
    for index, frame in enumerate(pixels.transpose(1, 2, 3, 0)):
        image = vision.resize(Image.fromarray(np.ascontiguousarray(frame)), list(whole), vision.InterpolationMode(name))
        wanted = np.array(vision.center_crop(image, list(size)))
        assert np.array_equal(found[:, index].transpose(1, 2, 0), wanted)


def test_without_a_crop_a_picture_is_stretched_as_pillow_stretches_it() -> None:
    pixels = scene(1, 48, 64)
    image = Image.fromarray(np.ascontiguousarray(pixels[:, 0].transpose(1, 2, 0)))
    wanted = np.array(image.resize((30, 90), Image.Resampling.BICUBIC))
    assert np.array_equal(prepare(pixels, (90, 30), crop="none")[:, 0].transpose(1, 2, 0), wanted)


def test_a_size_that_the_picture_has_changes_nothing() -> None:
    pixels = scene(2, 48, 64)
    for antialias in (True, False):
        assert np.array_equal(prepare(pixels, (48, 64), antialias=antialias), pixels)


@settings(max_examples=30, deadline=None)
@given(st.integers(16, 60), st.integers(16, 60), st.integers(1, 70), st.booleans())
def test_a_square_tuple_means_what_the_int_means(h: int, w: int, size: int, antialias: bool) -> None:
    pixels = scene(1, h, w)
    whole, square = (prepare(pixels, s, antialias=antialias) for s in (size, (size, size)))
    assert np.array_equal(whole, square)


@pytest.mark.parametrize("size", [None, 20, (20, 30)])
@pytest.mark.parametrize("crop", ["center", "none"])
def test_prepared_pixels_are_contiguous(size: int | tuple[int, int] | None, crop: str) -> None:
    """Interleaved channels are as equal and slower to measure, and give sums in another order."""
    interleaved = scene(3, 40, 56).transpose(1, 2, 3, 0).copy().transpose(3, 0, 1, 2)
    prepared = prepare(interleaved, size, crop=crop)  # type: ignore[arg-type]
    assert prepared.flags.c_contiguous
    assert np.array_equal(prepared, prepare(np.ascontiguousarray(interleaved), size, crop=crop))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [256, (256, 512)])
def test_a_strip_that_would_be_scaled_beyond_all_bounds_is_refused(size: int | tuple[int, int]) -> None:
    """16 × 40,000 pixels: at a short side of 256 they are 256 × 640,000, of which the middle is kept."""
    with pytest.raises(UnsuitableInput, match="16×40000 pixels scaled to"):
        prepare(np.zeros((3, 1, 16, 40_000), np.uint8), size)


@pytest.mark.parametrize("size", [(0, 20), (20, -1), 0])
def test_sizes_without_pixels_are_refused(size: int | tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        prepare(scene(1, 40, 56), size)
