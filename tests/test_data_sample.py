"""The built-in data set is the same to the bit everywhere, looks like photographs, and moves as its names say."""

import hashlib
import io
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image

from cvbench.core.errors import UnsuitableInput
from cvbench.data.sample import (
    BALLS,
    FOREST,
    PINNED,
    SCENES,
    Layer,
    Leaves,
    Page,
    Scene,
    bits,
    font,
    over,
    render,
    scatter,
    sheet,
    typeset,
)

BY_ID = {scene.id: scene for scene in SCENES}
IMAGES = [scene for scene in SCENES if scene.kind == "image"]
CLIPS = [scene for scene in SCENES if scene.kind == "clip"]
EACH = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.id)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second).mean())


@cache
def some_frames(scene: Scene) -> np.ndarray:
    return render(scene, (0,) if scene.kind == "image" else (0, 9, 96))


@EACH
def test_pixels_are_the_pinned_ones(scene: Scene) -> None:
    assert hashlib.sha256(some_frames(scene).tobytes()).hexdigest() == PINNED[scene.id]


def test_scenes_keep_their_order() -> None:
    clips = ["pan", "zoom", "fast", "fade", "cut", "text", "noise", "night"]
    expected = [f"image-leaves-0{i}" for i in range(8)] + [f"clip-{name}" for name in clips]
    assert [scene.id for scene in SCENES] == expected == list(PINNED)


@EACH
def test_pixels_are_uint8_of_the_scene_s_size(scene: Scene) -> None:
    pixels = some_frames(scene)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (3, 1 if scene.kind == "image" else 3, scene.height, scene.width)
    assert pixels.flags.c_contiguous


def test_clips_are_97_frames_at_30_a_second_and_images_one() -> None:
    assert {(c.frames, c.fps, c.height, c.width) for c in CLIPS} == {(97, 30.0, 288, 384)}
    assert {(i.frames, i.fps) for i in IMAGES} == {(1, None)}


def test_one_image_is_portrait_and_one_has_odd_sides() -> None:
    assert any(i.height > i.width for i in IMAGES)
    assert any(i.height % 2 and i.width % 2 for i in IMAGES)


@pytest.mark.parametrize("name", ["fast", "fade", "cut", "noise"])
def test_frames_alone_are_frames_together_in_any_order(name: str) -> None:
    scene = BY_ID[f"clip-{name}"]
    frames = [60, 0, 53]
    alone = np.concatenate([render(scene, [frame]) for frame in frames], axis=1)
    np.testing.assert_array_equal(render(scene, frames), alone)


def test_pixels_do_not_depend_on_what_was_painted_before() -> None:
    scene = BY_ID["clip-pan"]
    first = render(scene, [7])
    sheet.cache_clear()
    np.testing.assert_array_equal(render(scene, [7]), first)


@pytest.mark.parametrize("frames", [[], [-1], [0, 97]])
def test_frames_a_scene_lacks_are_refused(frames: list[int]) -> None:
    with pytest.raises(UnsuitableInput, match="clip-pan has frames 0 to 96"):
        render(BY_ID["clip-pan"], frames)


def test_random_words_are_splitmix64() -> None:
    # the first outputs of the published generator from state 0
    assert [hex(word) for word in bits(0, 0, 3).tolist()] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]


def test_streams_differ() -> None:
    assert len({bits(seed, stream, 1).item() for seed in range(50) for stream in range(300)}) == 50 * 300


def test_one_leaf_in_four_is_twice_the_least_radius() -> None:
    # r^-3 from 4 to 400: P(r > 8) = (1/4 - 1e-4) / (1 - 1e-4) = 0.24992; 40000 draws have a deviation of 0.0022.
    # Leaves are stored in whole half pixels, so r > 8 is radius >= 16.
    radius = scatter(Leaves((0,), 40000, (4.0, 400.0), calm=0), seed=3).radius
    assert (radius >= 16).mean() == pytest.approx(0.24992, abs=0.009)
    assert radius[1:].min() >= 8
    assert radius[1:].max() <= 800


def test_sheets_join_at_their_edges() -> None:
    # across the seam of the torus neighbours differ no more than within it
    painted = sheet(FOREST, 30)[:-1, :-1]
    green = (painted >> 16 & 255).astype(np.int64)
    within = np.abs(np.diff(green, axis=0)).mean(axis=1)
    assert np.abs(green[0] - green[-1]).mean() < 1.3 * within.max()


def test_white_over_white_is_white_for_every_alpha() -> None:
    lanes = 0x0001_0001_0001_0001
    veil = np.arange(256, dtype=np.uint64) * lanes
    assert (over(veil, np.full(256, 255 * lanes, np.uint64)) == 255 * lanes).all()


def test_glyph_t_reads_as_drawn() -> None:
    rows = ["".join(".#"[dot] for dot in row) for row in font()[19].astype(int)]
    assert rows == ["#####."] + ["..#..."] * 6


def test_print_starts_with_its_first_line() -> None:
    # "Leaves fall" opens with an L: a stem of seven dots two pixels in, a foot of five; ink white, paper black
    page = typeset(Page(((1, 0xFFFFFFFF, 0xFF000000),), height=16, width=64))
    dots = (page & 255).astype(np.int64) // 255
    assert dots[1:8, 2].tolist() == [1] * 7
    assert dots[7, 2:8].tolist() == [1] * 5 + [0]
    assert dots[1, 3:8].sum() == 0


def test_whole_pixel_drift_shifts_the_picture_exactly() -> None:
    scene = replace(BY_ID["clip-pan"], layers=(Layer(FOREST, 30, (1.0, 2.0)),))
    video = render(scene, [0, 5])
    np.testing.assert_array_equal(video[:, 1, :-5, :-10], video[:, 0, 5:, 10:])


def test_half_pixel_drift_averages_neighbours() -> None:
    scene = replace(BY_ID["clip-pan"], layers=(Layer(FOREST, 30, (0.0, 0.5)),))
    start, half = render(scene, [0, 1]).astype(float).transpose(1, 0, 2, 3)
    assert np.abs(half[..., :-1] - (start[..., :-1] + start[..., 1:]) / 2).max() <= 1


def test_zoom_to_half_the_scale_shows_the_middle_at_twice_the_size() -> None:
    scene = replace(BY_ID["clip-pan"], layers=(Layer(FOREST, 30, scale=(1.0, -0.5)),))
    far, near = render(scene, [0, 1]).transpose(1, 0, 2, 3)
    np.testing.assert_array_equal(near[:, ::2, ::2], far[:, 72:216, 96:288])


def test_quarter_turn_swaps_the_axes() -> None:
    # the tangent of half of 90 degrees is 1: right becomes down
    level, turned = (
        render(replace(BY_ID["clip-pan"], height=256, width=256, layers=(Layer(FOREST, 30, roll=(k, 0.0)),)), [0])[:, 0]
        for k in (0.0, 1.0)
    )
    np.testing.assert_array_equal(turned[:, 1:, :], level.transpose(0, 2, 1)[:, :0:-1, :])


def test_layers_in_front_move_over_those_behind() -> None:
    scene = BY_ID["clip-cut"]
    bare = replace(scene, layers=scene.layers[:1])
    hidden = (render(scene, [0, 9]) != render(bare, [0, 9])).any(axis=0)
    assert 0.02 < hidden[0].mean() < 0.6
    assert (hidden[0] != hidden[1]).mean() > 0.02
    assert scene.layers[1].paint == BALLS


def test_the_cut_is_between_frames_53_and_54_and_nowhere_else() -> None:
    video = render(BY_ID["clip-cut"], range(50, 58))
    steps = [difference(video[:, i], video[:, i + 1]) for i in range(7)]
    assert steps.index(max(steps)) == 3
    assert max(steps) > 3 * sorted(steps)[-2]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_cut_falls_inside_a_latent_frame(stride: int) -> None:
    # networks group sampled frames by fours, as 4k or as 1 + 4k: the first frame after the cut opens neither group
    assert -(-54 // stride) % 4 in (2, 3)


def test_the_fade_comes_up_from_the_dark() -> None:
    light = render(BY_ID["clip-fade"], range(0, 31, 3)).mean(axis=(0, 2, 3))
    assert light[0] < 0.2 * light[-1]
    assert (np.diff(light[:10]) > 0).all()


def test_the_dissolve_is_half_way_in_its_middle() -> None:
    scene = BY_ID["clip-fade"]
    first = render(replace(scene, change=(96, 97)), [63]).astype(float)
    second = render(replace(scene, layers=scene.after, change=(96, 97)), [63]).astype(float)
    assert np.abs(render(scene, [63]) - (first + second) / 2).max() <= 1


def test_blur_is_the_mean_over_the_open_shutter() -> None:
    # 8 pixels a frame: the shutter, open for half of it, smears over the four positions 0 to 3 pixels on
    scene = replace(BY_ID["clip-pan"], layers=(Layer(FOREST, 30, (0.0, 8.0)),))
    sharp = render(scene, [0]).astype(float)
    smeared = sum(sharp[..., i : 374 + i] for i in range(4)) / 4
    blurred = render(replace(scene, blur=True), [0])[..., :374]
    assert difference(smeared, blurred) < 0.25 * difference(sharp[..., :374], blurred)


def test_noise_has_the_variance_it_is_given() -> None:
    # a flat picture of one level: variance 60 + 0.8 * level, plus 1/12 for rounding
    scene = BY_ID["clip-noise"]
    flat = replace(scene, layers=(Layer(Page(((8, 0xFF808080, 0xFF808080),)), 9),))
    noisy = render(flat, [0, 1]).astype(float)
    assert noisy.mean() == pytest.approx(128, abs=0.1)
    assert noisy.var() == pytest.approx(60 + 0.8 * 128 + 1 / 12, rel=0.02)
    assert abs(np.corrcoef(noisy[:, 0].ravel(), noisy[:, 1].ravel())[0, 1]) < 0.01


def slope(grey: np.ndarray) -> float:
    """Exponent of the power spectrum over radial frequency, from 4 cycles a side to a third of the sampling rate."""
    side = min(grey.shape) // 2 * 2
    window = np.hanning(side)[:, None] * np.hanning(side)
    power = np.abs(np.fft.fft2((grey[:side, :side] - grey.mean()) * window)) ** 2
    cycles = np.fft.fftfreq(side) * side
    ring = np.hypot(cycles, cycles[:, None]).round().astype(int).ravel()
    radial = np.bincount(ring, power.ravel()) / np.bincount(ring)
    band = np.arange(4, side // 3)
    return float(np.polyfit(np.log(band), np.log(radial[band]), 1)[0])


@EACH
def test_power_falls_with_about_the_square_of_frequency(scene: Scene) -> None:
    # photographs of this size: -2.1 to -3.2; print and noise are flatter, motion blur is steeper
    grey = some_frames(scene)[:, -1].mean(axis=0)
    assert -3.8 < slope(grey) < -1.7


@EACH
def test_jpeg_codes_it_as_it_codes_photographs(scene: Scene) -> None:
    # quality 75 gives photographs of this size 29 to 40 dB; fine print and noise are harder, white noise gives 12
    frame = some_frames(scene)[:, -1].transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=75)
    error = np.square(np.asarray(Image.open(file)).astype(float) - frame).mean()
    assert 25 < 10 * np.log10(255**2 / error) < 40
