"""The built-in data set `sample`: dead-leaves pictures and clips computed from seeds, so they need no file or licence.

A scene is a stack of sheets covered with occluding leaves (discs, ellipses, boxes) whose radii follow r^-3, which gives
the edges at all scales and the 1/f spectrum of photographs (Lee, Mumford and Huang, IJCV 2001). Sheets are tori; each
moves on its own. All arithmetic is on integers or on exactly rounded float64 (+ - * / and square root), and the random
bits are SplitMix64, so every pixel is the same on every platform and with every version of NumPy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt8, UInt64

from cvbench.core.errors import UnsuitableInput
from cvbench.core.types import Pixels

Packed = UInt64[np.ndarray, "..."]
"""Red, green, blue and alpha in four lanes of 16 bits, 8 used, premultiplied: one product scales all four."""
Field = Int32[np.ndarray, "h w"]
Integers = Int64[np.ndarray, " n"]
Words = UInt64[np.ndarray, " n"]
Steps = Int64[np.ndarray, "..."]
Levels = Int64[np.ndarray, "3 h w"]

LANES = 0x0001_0001_0001_0001
BYTES = 0x00FF_00FF_00FF_00FF
OPAQUE = 0x00FF_0000_0000_0000
WORD = 0xFFFF_FFFF_FFFF_FFFF
TICKS = 8
"""Time within a frame is counted in eighths; a blurred frame is the mean of the first four: a half-open shutter."""
APERTURE = ((-96, 32), (32, 96), (-32, -96), (96, -32))
"""Where in a pixel those four are taken, in 1/256 of it."""


@dataclass(frozen=True)
class Leaves:
    """What covers a sheet. Lengths in pixels; height and width are powers of two.

    Radii follow r^-3 between `radii`; `shapes` are rows of SHAPES to draw from. `calm` above 0 thins small leaves out
    in places. `islands` above -1024 leaves the sheet transparent but for clumps, the fewer the higher. `grain` is the
    contrast of the textures, `relief` the depth of shading and shadows.
    """

    colours: tuple[int, ...]
    count: int = 14000
    radii: tuple[float, float] = (2.0, 90.0)
    shapes: tuple[int, ...] = (0, 0, 0, 1, 2, 3, 4, 5, 6)
    calm: int = 2
    islands: int = -1024
    grain: int = 64
    relief: int = 56
    height: int = 512
    width: int = 512


@dataclass(frozen=True)
class Page:
    """A sheet of print: lines of (size of a dot in pixels, ink, paper), taken in turn; colours 0xAARRGGBB."""

    lines: tuple[tuple[int, int, int], ...]
    height: int = 512
    width: int = 512


@dataclass(frozen=True)
class Layer:
    """A sheet and how the camera moves over it.

    The camera stands `start` pixels from the sheet's centre and moves by `drift` pixels a frame (down, right). `scale`,
    in sheet pixels per pixel, and `roll`, the tangent of half the angle, are each (at frame 0, change a frame). `shake`
    moves the whole, `sway` bends it: amplitudes in pixels.
    """

    paint: Leaves | Page
    seed: int
    drift: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 0.0)
    roll: tuple[float, float] = (0.0, 0.0)
    shake: float = 0.0
    sway: float = 0.0
    start: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Scene:
    """A picture (frames = 1) or clip: `layers` from the back, replaced by `after` between the two frames of `change`.

    The light comes up between those of `fade`. `noise` is the variance of the sensor's noise in the dark and its growth
    per grey level; `blur` says whether things smear while the shutter is open.
    """

    id: str
    kind: Literal["image", "clip"]
    layers: tuple[Layer, ...]
    frames: int = 97
    height: int = 288
    width: int = 384
    fps: float | None = 30.0
    after: tuple[Layer, ...] = ()
    change: tuple[int, int] = (96, 97)
    fade: tuple[int, int] = (-1, 0)
    noise: tuple[float, float] = (0.0, 0.0)
    blur: bool = False


class Scatter(NamedTuple):
    """Leaves in the order they fall: centres and radii in half pixels, row of SHAPES."""

    y: Integers
    x: Integers
    radius: Integers
    shape: Integers


# Direction (a vector of length 5, so that turned leaves keep whole coordinates), the two half-axes in eighths of the
# radius, and whether the outline is a box.
SHAPES = (
    (5, 0, 8, 8, False),
    (4, 3, 10, 5, False),
    (-3, 4, 11, 5, False),
    (0, 5, 10, 6, False),
    (5, 0, 9, 6, True),
    (3, 4, 8, 7, True),
    (-4, 3, 12, 3, True),
)
GLYPHS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789,.:-"
# Each glyph is nine hexadecimal digits: 35 bits, seven rows of five from the top.
FONT = (
    "3a31fc6317a31f463e3a308422e7a318c63e7e10f421f7e10f42103a309c62f4631fc63138842108e1c4210a4c4654c5251"
    "42108421f4775ac6314739ace713a318c62e7a31f42103a318d64d7a31f52513e107043e7c842108446318c62e463152884"
    "4631ad771454a22951462a210847c222221f000e0be2f421e8c63e000f8420f042f8c62f000e8fe0e1908f2108000f8bc2e"
    "421e8c631100c2108e080610a4c4212a629230842108e001aad6b5001e8c631000e8c62e001e8fa10000f8bc210016c4210"
    "000f8383e211e4210600118c62f00118c5440011ad6aa00115115102318bc2e001f1111f3a33ae62e11842108e3a213221f"
    "3a213062e08ca97c427e1e0862e1910f462e7c22110843a317462e3a317844c00000108800000018c018c03180000070000"
)
TEXT = (
    "Leaves fall, one over another, and the nearest hides the rest. Measure 1: the edge. Measure 2: the fine print. "
    "A codec that blurs this line loses 3 dB and keeps its smile. Frames 0-96 at 30 per second, no more, no less. "
)


def bits(seed: int, stream: int, n: int) -> Words:
    """Return `n` words of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014); each (seed, stream) starts elsewhere."""
    start = (seed << 16 | stream) * 0xD1342543DE82EF95 & WORD
    z: Words = np.arange(1, n + 1, dtype=np.uint64) * 0x9E3779B97F4A7C15 + start
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9
    z = (z ^ z >> 27) * 0x94D049BB133111EB
    z ^= z >> 31
    return z


def integers(seed: int, stream: int, n: int, low: int, high: int) -> Integers:
    """Return `n` integers drawn evenly from low to high - 1."""
    return ((bits(seed, stream, n) >> 32) * (high - low) >> 32).astype(np.int64) + low


def wave(phase: Steps) -> Steps:
    """Return a sine made of parabolas, between -65536 and 65536; 1024 steps of `phase` are a period."""
    half = phase & 511
    sine: Steps = np.where(phase & 512, -half, half) * (512 - half)
    return sine


def smooth(field: Field) -> Field:
    """Blur a torus with the kernel (1 2 1) / 4 on both axes."""
    for axis in (0, 1):
        field = np.roll(field, 1, axis) + 2 * field + np.roll(field, -1, axis) >> 2
    return field


def fractal(seed: int, stream: int, height: int, width: int, octaves: int, rough: int) -> Field:
    """Return a torus of 1/f noise, its standard deviation 50 to 100: equal power in the `rough` lowest octaves."""
    field = np.zeros((height >> octaves, width >> octaves), np.int32)
    for octave in range(octaves):
        if octave < rough:
            field = field + integers(seed, stream + octave, field.size, -128, 128).reshape(field.shape).astype(np.int32)
        field = smooth(field.repeat(2, 0).repeat(2, 1))
    return field


@lru_cache(maxsize=256)
def stamp(radius: int, shape: int) -> Bool[np.ndarray, "d d"]:
    """Return the mask of one leaf."""
    p, q, long, short, boxy = SHAPES[shape]
    reach = radius * long // 8 + (radius * short // 8 if boxy else 0) + 1
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    a, b = y * (p * short) + x * (q * short), y * (q * long) - x * (p * long)
    bound = radius * 5 * long * short // 8
    inside: Bool[np.ndarray, "d d"] = np.maximum(abs(a), abs(b)) <= bound if boxy else a * a + b * b <= bound * bound
    return inside


def scatter(leaves: Leaves, seed: int) -> Scatter:
    """Let the leaves fall; the first stands for the ground under them all."""
    height, width, n = 2 * leaves.height, 2 * leaves.width, leaves.count
    y, x = integers(seed, 0, n, 0, height), integers(seed, 1, n, 0, width)
    least, most = leaves.radii
    share = integers(seed, 2, n, 0, 1 << 30) / (1 << 30)
    radius = 2 * least / np.sqrt(1 - share * (1 - least * least / (most * most)))
    shape = np.array(leaves.shapes, np.int64)[integers(seed, 3, n, 0, len(leaves.shapes))]
    busy = fractal(seed, 16, height >> 3, width >> 3, 5, 3)[y >> 3, x >> 3]
    kept = (busy > leaves.islands) & (radius * 8 > -busy * leaves.calm)
    kept[0], radius[0] = True, 512  # the ground
    return Scatter(y[kept], x[kept], radius[kept].astype(np.int64), shape[kept])


def copies(corner: int, side: int, period: int, margin: int) -> tuple[int, ...]:
    """Return where a leaf starts on one axis of a torus stored with a margin: twice if it lies over the seam."""
    start = corner % period + margin
    return (start, start - period) if start - margin + side > period else (start,)


def cover(leaves: Leaves, fallen: Scatter) -> Field:
    """Return the number of the leaf seen at each half pixel; 0 is the ground."""
    height, width, margin = 2 * leaves.height, 2 * leaves.width, 8 * int(leaves.radii[1]) + 8
    seen = np.zeros((height + 2 * margin, width + 2 * margin), np.int32)
    for number, (y, x, radius, shape) in enumerate(zip(*(each[1:].tolist() for each in fallen), strict=True), 1):
        mask = stamp(radius, shape)
        side = len(mask)
        for top in copies(y - side // 2, side, height, margin):
            for left in copies(x - side // 2, side, width, margin):
                np.putmask(seen[top : top + side, left : left + side], mask, number)
    return seen[margin:-margin, margin:-margin].copy()


@lru_cache(maxsize=1)
def textures() -> Int32[np.ndarray, "4 256 256"]:
    """Return what leaves are made of: clouds, streaks, warped stripes and veins, about ±128."""
    clouds = fractal(1, 0, 256, 256, 6, 6)
    streaks = smooth(fractal(2, 0, 256, 32, 5, 5).repeat(8, 1))
    stripes = wave(np.arange(256, dtype=np.int64)[:, None] * 32 + clouds) >> 9
    veins = 128 - 2 * abs(fractal(3, 0, 256, 256, 6, 5))
    return np.stack([clouds, streaks, stripes, veins]).astype(np.int32)


def palette(leaves: Leaves, seed: int, fallen: Scatter) -> Words:
    """Return a packed colour for each leaf: neighbours take near entries of the sheet's, lighter or darker."""
    n, count, height, width = len(fallen.y), len(leaves.colours), leaves.height >> 2, leaves.width >> 2
    region, tone = (fractal(seed, each, height, width, 5, 3)[fallen.y >> 3, fallen.x >> 3] for each in (64, 80))
    entry = region * count // 300 + integers(seed, 4, n, 0, 512) * integers(seed, 5, n, 0, 512) * count // 2**18
    base = np.array(leaves.colours, np.int64)[entry % count]
    light = (integers(seed, 6, n, 220, 420) + 2 * tone).clip(80, 512)
    packed = np.zeros(n, np.uint64)
    for lane in range(3):
        value = (base >> (16 - 8 * lane) & 255) * (light + integers(seed, 7 + lane, n, -16, 17)) >> 8
        packed |= value.clip(0, 255).astype(np.uint64) << 16 * lane
    return packed


def offsets(seen: Field, centres: Integers, axis: int) -> Field:
    """Return how far each half pixel lies from the centre of its leaf on one axis of the torus."""
    period = seen.shape[axis]
    here = np.arange(period, dtype=np.int32)
    beyond = (here if axis else here[:, None]) - centres.astype(np.int32).take(seen)
    offset: Field = (beyond + period // 2 & period - 1) - period // 2
    return offset


def shading(leaves: Leaves, seed: int, seen: Field, fallen: Scatter) -> Field:
    """Return the brightness of each half pixel, 0 to 256: texture, slope of the light, rounding off, shadows."""

    def drawn(stream: int, low: int, high: int, per: Integers | int = 1) -> Field:
        return (integers(seed, stream, n, low, high) // per).astype(np.int32).take(seen)

    n, relief = len(fallen.y), leaves.relief
    y, x = offsets(seen, fallen.y, 0), offsets(seen, fallen.x, 1)
    a, b = drawn(10, -10, 11), drawn(11, -10, 11)
    texel = ((y * a - x * b & 0x7F8) << 5) + (x * a + y * b >> 3 & 255)
    size = fallen.radius + 4
    shade: Field = 208 + (textures().ravel().take((drawn(12, 0, 4) << 16) + texel) * drawn(13, 0, leaves.grain) >> 7)
    shade += y * drawn(14, -relief << 8, relief << 8, size) + x * drawn(15, -relief << 8, relief << 8, size) >> 8
    shade -= (y * y + x * x) * drawn(9, 0, relief << 16, size * size) >> 16
    for step in (2, 4, 7, 11):
        shade -= (np.roll(seen, (step, step), (0, 1)) > seen) * np.int32(relief // 4)
    return shade.clip(0, 256)


def halve(packed: Packed) -> Packed:
    """Return the mean of every two by two."""
    rows = packed[::2] + packed[1::2]
    mean: Packed = rows[:, ::2] + rows[:, 1::2] + 2 * LANES >> 2 & BYTES
    return mean


def grow(leaves: Leaves, seed: int) -> Packed:
    """Return a sheet of leaves, edges smooth, lit unevenly."""
    fallen = scatter(leaves, seed)
    seen = cover(leaves, fallen)
    lit = shading(leaves, seed, seen, fallen).astype(np.uint64)
    packed = palette(leaves, seed, fallen).take(seen) * lit >> 8 & BYTES
    alpha = OPAQUE * ((seen > 0) | (leaves.islands == -1024)).astype(np.uint64)
    packed = halve(np.where(alpha, packed | alpha, 0))
    light = (232 + fractal(seed, 32, leaves.height, leaves.width, 7, 2) // 2).clip(64, 256).astype(np.uint64)
    return ((packed & ~np.uint64(OPAQUE)) * light >> 8 & BYTES) | packed & OPAQUE


@lru_cache(maxsize=1)
def font() -> Bool[np.ndarray, "n 7 6"]:
    """Return the glyphs, a blank column after each, a blank glyph after all."""
    rows = [f"{int(FONT[i : i + 9], 16):035b}" for i in range(0, len(FONT), 9)]
    dots = np.array([[dot == "1" for dot in row] for row in rows]).reshape(-1, 7, 5)
    return np.pad(dots, ((0, 1), (0, 0), (0, 1)))


def ink(argb: int) -> np.uint64:
    """Pack a colour 0xAARRGGBB."""
    alpha = argb >> 24
    lanes = [(argb >> shift & 255) * alpha // 255 for shift in (16, 8, 0)] + [alpha]
    return np.uint64(sum(value << 16 * lane for lane, value in enumerate(lanes)))


def typeset(page: Page) -> Packed:
    """Return a sheet of print."""
    printed = np.zeros((page.height, page.width), np.uint64)
    glyphs, letter, top, line = font(), 0, 0, 0
    while top < page.height:
        size, colour, paper = page.lines[line % len(page.lines)]
        n = page.width // (6 * size)
        words = [GLYPHS.find(TEXT[(letter + i) % len(TEXT)]) for i in range(n)]
        dots = np.concatenate(list(glyphs[words]), 1).repeat(size, 0).repeat(size, 1)
        printed[top : top + 10 * size] = ink(paper)
        room = printed[top + size : top + 8 * size, 2 * size : 2 * size + dots.shape[1]]
        np.copyto(room, ink(colour), where=dots[: room.shape[0], : room.shape[1]])
        letter, top, line = letter + n, top + 10 * size, line + 1
    return printed


@lru_cache(maxsize=12)
def sheet(paint: Leaves | Page, seed: int) -> Packed:
    """Return a painted torus, its first row and column repeated at the end."""
    painted = np.pad(grow(paint, seed) if isinstance(paint, Leaves) else typeset(paint), ((0, 1), (0, 1)), "wrap")
    painted.flags.writeable = False
    return painted


def blend(first: Packed, second: Packed | int, share: Packed | np.uint64) -> Packed:
    """Return (256 - share) / 256 of the first plus share / 256 of the second."""
    return first * (256 - share) + second * share + 128 * LANES >> 8 & BYTES


def over(front: Packed, back: Packed) -> Packed:
    """Lay a premultiplied picture over another (Porter and Duff 1984); never exceeds 255."""
    alpha = front >> 48
    both: Packed = front + blend(back, 0, alpha + (alpha >> 7))
    return both


def resample(painted: Packed, y: Int64[np.ndarray, "h w"], x: Int64[np.ndarray, "h w"]) -> Packed:
    """Read a torus at positions from its centre in 1/256 of its pixels, bilinear."""
    height, width = painted.shape[0] - 1, painted.shape[1] - 1
    flat, row = painted.ravel(), width + 1
    y, x = y + height * 128, x + width * 128
    at = (y >> 8 & height - 1) * row + (x >> 8 & width - 1)
    down, right = (y & 255).astype(np.uint64), (x & 255).astype(np.uint64)
    upper = blend(flat.take(at), flat[1:].take(at), right)
    lower = blend(flat[row:].take(at), flat[row + 1 :].take(at), right)
    return blend(upper, lower, down)


def look(layer: Layer, scene: Scene, tick: int, at: tuple[int, int]) -> Packed:
    """Return what the camera sees of a layer at a time in ticks, `at` 1/256 of a pixel beside each pixel's place."""
    time = tick / TICKS
    scale, k = layer.scale[0] + layer.scale[1] * time, layer.roll[0] + layer.roll[1] * time
    cos, sin = (int(65536 * scale * side / (1 + k * k)) for side in (1 - k * k, 2 * k))
    y = np.arange(scene.height, dtype=np.int64)[:, None] * 256 - scene.height * 128 + at[0]
    x = np.arange(scene.width, dtype=np.int64) * 256 - scene.width * 128 + at[1]
    x = x + (wave(y // 48 + 4 * tick) * int(256 * layer.sway) >> 16)
    drift = [int(256 * (begin + each * time)) for begin, each in zip(layer.start, layer.drift, strict=True)]
    shake = wave(tick * np.array([7, 5], np.int64)) * int(256 * layer.shake) >> 16
    return resample(
        sheet(layer.paint, layer.seed),
        (y * cos + x * sin >> 16) + drift[0] + shake[0],
        (x * cos - y * sin >> 16) + drift[1] + shake[1],
    )


def shot(layers: Sequence[Layer], scene: Scene, tick: int, at: tuple[int, int] = (0, 0)) -> Packed:
    """Return the layers one over the other."""
    picture = look(layers[0], scene, tick, at)
    for layer in layers[1:]:
        picture = over(look(layer, scene, tick, at), picture)
    return picture


def exposure(layers: Sequence[Layer], scene: Scene, frame: int) -> Packed:
    """Return what one opening of the shutter gathers."""
    tick = TICKS * frame
    if not scene.blur:
        return shot(layers, scene, tick)
    gathered: Packed = np.full((scene.height, scene.width), 2 * LANES, np.uint64)
    for later, at in enumerate(APERTURE):
        gathered += shot(layers, scene, tick + later, at)
    return gathered >> 2 & BYTES


def progress(frame: int, start: int, stop: int) -> np.uint64:
    """Return how far a transition has come, 0 to 256."""
    return np.uint64(min(max(256 * (frame - start) // (stop - start), 0), 256))


def edit(scene: Scene, frame: int) -> Packed:
    """Return a frame with its cut, dissolve and fade."""
    change, light = progress(frame, *scene.change), progress(frame, *scene.fade)
    picture = exposure(scene.layers if change < 256 else scene.after, scene, frame)
    if 0 < change < 256:
        picture = blend(picture, exposure(scene.after, scene, frame), change)
    return blend(picture, 0, 256 - light)


def grain(scene: Scene, frame: int, levels: Levels) -> Levels:
    """Return grey levels with read and shot noise added, near normal: sums of four random bytes."""
    words = bits(scene.layers[0].seed, 256 + frame, levels.size // 2 + 1)
    sums = [np.sum([words >> first + 8 * i & 255 for i in range(4)], axis=0) for first in (0, 32)]
    normal = np.concatenate(sums)[: levels.size].reshape(levels.shape).astype(np.int64) - 510
    read, growth = scene.noise
    deviation = np.sqrt(read + growth * np.arange(256.0)) * 4096 / 147.8  # of such a sum
    noisy: Levels = levels + (normal * deviation.astype(np.int64)[levels] + 2048 >> 12)
    return noisy.clip(0, 255)


def develop(scene: Scene, frame: int) -> UInt8[np.ndarray, "3 h w"]:
    """Return one frame."""
    picture = edit(scene, frame)
    levels = np.stack([picture >> 16 * lane & 255 for lane in range(3)]).astype(np.int64)
    if scene.noise != (0.0, 0.0):
        levels = grain(scene, frame, levels)
    return levels.astype(np.uint8)


def render(scene: Scene, frames: Sequence[int]) -> Pixels:
    """Return the frames asked for, in that order, and compute no others.

    Raises UnsuitableInput for no frames, and for a frame the scene does not have.
    """
    wrong = [frame for frame in frames if not 0 <= frame < scene.frames]
    if wrong or not len(frames):
        raise UnsuitableInput(
            f"scene {scene.id} has frames 0 to {scene.frames - 1}, not {wrong or 'none at all'}; ask for some of those"
        )
    return np.stack([develop(scene, frame) for frame in frames], axis=1)


WOODS = (0x3F6230, 0x5F8438, 0x86A650, 0xB2BC7C, 0xC8D6E6, 0xA08E58, 0x705844)
TOWN = (0x8C3B2E, 0xB5795A, 0xD8CDB8, 0x9AA7B0, 0x4D5560, 0xC9B27A, 0x6F8FA8)
AUTUMN = (0xC8602C, 0xE0A040, 0x8E4030, 0xE8D080, 0x6A8048, 0xA0B4CC, 0x645044)
GARDEN = (0xC84A5E, 0xE0C060, 0x4F7D4A, 0x8E6FA0, 0x4B6F9E, 0xF3EDE2, 0x7FA860)
BEACH = (0xE6D3A8, 0x6FB3C9, 0x2E7FA0, 0xF2EEE4, 0xC8A878, 0xA8D0DC, 0x8C7458)
ROOM = (0xC98F6B, 0xE8C9A6, 0x7A4B3A, 0x3B4A5E, 0xA33B35, 0xEDE4D3, 0x56704F)
NIGHT = (0x141A2A, 0x1E2430, 0x2A2420, 0x10140F, 0x2C3448, 0x3A2A22, 0x181010)
LAMPS = (0xFFD9A0, 0xFFF3D8, 0xFF9A50, 0xA8D0FF, 0xFF5040)

FOREST = Leaves(WOODS, 12000, (3.0, 90.0), calm=3, width=1024)
STREET = Leaves(TOWN, 7000, (3.0, 90.0), (0, 4, 4, 4, 5, 6), calm=3)
ORCHARD = Leaves(AUTUMN, 7000, (3.0, 90.0), calm=3)
MEADOW = Leaves(GARDEN, 7000, (3.0, 60.0), calm=3)
SHORE = Leaves(BEACH, 5000, (4.0, 120.0), calm=4)
PARLOUR = Leaves(ROOM, 5000, (4.0, 90.0), calm=4)
DARKNESS = Leaves(NIGHT, 7000, (3.0, 90.0), calm=3)
FUR = Leaves(AUTUMN, 20000, (2.0, 60.0), shapes=(1, 2, 3, 3, 6), grain=128, width=1024)
BUSHES = Leaves(WOODS, 6000, (3.0, 30.0), calm=0, islands=60)
BALLS = Leaves(ROOM, 300, (12.0, 40.0), shapes=(0, 0, 1, 4), calm=0, islands=60, relief=90)
LIGHTS = Leaves(LAMPS, 900, (1.5, 10.0), shapes=(0,), calm=0, islands=60, grain=1, relief=0)
PRINT = Page(
    (
        (1, 0xFFF4F0E0, 0xB0101820),
        (1, 0xFFFFE070, 0xB0101820),
        (2, 0xFFFFFFFF, 0x00000000),
        (1, 0xFF202020, 0xFFE8E4D8),
        (1, 0xFF8C1C10, 0xFFE8E4D8),
        (4, 0x00000000, 0x00000000),
        (3, 0xFFFFD040, 0x00000000),
        (1, 0xFF203060, 0xE0D8E4F0),
        (2, 0xFFFFFFFF, 0xC0A02818),
        (3, 0x00000000, 0x00000000),
    )
)


def image(number: int, *layers: Layer, height: int = 288, width: int = 384) -> Scene:
    """Return a scene of one frame."""
    return Scene(f"image-leaves-{number:02}", "image", layers, 1, height, width, None)


def clip(name: str, *layers: Layer) -> Scene:
    """Return a plain clip."""
    return Scene(f"clip-{name}", "clip", layers)


PAN = clip("pan", Layer(FOREST, 30, (0.2, 2.3), shake=2.0), Layer(BUSHES, 31, (0.3, 4.1), shake=2.0))
ZOOM = clip(
    "zoom",
    Layer(STREET, 32, scale=(1.3, -0.006), roll=(-0.03, 0.0006)),
    Layer(BUSHES, 33, scale=(1.4, -0.009), roll=(-0.03, 0.0006)),
)
FAST = clip(
    "fast",
    Layer(MEADOW, 34, (1.5, -4.0), roll=(0.0, 0.004), shake=20.0),
    Layer(BALLS, 35, (-3.0, 8.0), roll=(0.0, -0.01)),
)
FADE = clip("fade", Layer(SHORE, 36, (-0.5, 0.7), shake=2.0))
CUT = clip("cut", Layer(ORCHARD, 38, (1.1, 0.7), shake=3.0), Layer(BALLS, 39, (-1.0, 2.0)))
SCROLL = clip("text", Layer(PARLOUR, 41, (0.0, -1.2), shake=2.0), Layer(PRINT, 0, (0.7, 0.0)))
NOISE = clip(
    "noise",
    Layer(STREET, 42, (0.5, -0.8), roll=(0.02, -0.0004), shake=4.0),
    Layer(BUSHES, 43, (0.3, -1.5), sway=3.0),
)
DARK = clip("night", Layer(DARKNESS, 44, (0.0, -1.2), shake=2.0), Layer(LIGHTS, 45, (0.1, -1.7), shake=3.0))

SCENES: tuple[Scene, ...] = (
    image(0, Layer(FOREST, 18)),
    image(1, Layer(STREET, 11)),
    image(2, Layer(ORCHARD, 12), height=384, width=288),
    image(3, Layer(MEADOW, 13), Layer(BALLS, 20), height=251, width=333),
    image(4, Layer(PARLOUR, 14), Layer(PRINT, 0)),
    image(5, Layer(SHORE, 15)),
    replace(image(6, Layer(DARKNESS, 16), Layer(LIGHTS, 45)), noise=(2.0, 0.05)),
    image(7, Layer(FUR, 17, scale=(0.75, 0.0)), height=384, width=512),
    PAN,
    replace(ZOOM, blur=True),
    replace(FAST, blur=True),
    replace(FADE, fade=(-4, 28), change=(45, 81), after=(Layer(PARLOUR, 37, (0.2, -0.9), sway=3.0),)),
    replace(CUT, change=(53, 54), after=(Layer(SHORE, 40, (-0.2, -1.9), sway=6.0),)),
    SCROLL,
    replace(NOISE, noise=(60.0, 0.8)),
    replace(DARK, noise=(6.0, 0.3)),
)
"""Eight pictures, then eight clips."""

PINNED: dict[str, str] = {
    "image-leaves-00": "e8cf1ae2fb960910f9d6ac7b1e4bf0ee700b8d4c8e3b725b30db73741a7ef858",
    "image-leaves-01": "21d72e87dc35f0c2aaf0c93f15d8131617cdd18cd0e9f9a2c348841a43ba7cb5",
    "image-leaves-02": "8892c611c2bdee614e26ed5f2b95f2dd51ff5e11e83a77703a75fd412212c369",
    "image-leaves-03": "1584251863c7b4258ad9b59c4f1a5648d36bdaccbaf754a21a8f2857e075ff90",
    "image-leaves-04": "843668c310eee79a77a19551e1ede1954f33fed4dd100a30b75dcb8a74803fc4",
    "image-leaves-05": "e4621123720536ce4f2f06568779532ac50dc384bba12a0b44eb7bf353df6f0f",
    "image-leaves-06": "9ff3cc8264e771f75b35f6ae260115138c748282f09ee26c9897786af31bcbbd",
    "image-leaves-07": "c4c403774c27c4957c0de5c86b3047e867651ad7fd782a6583670c233bcebd44",
    "clip-pan": "37290b2151102e49f235c4290e657c69839e5adeeb59833f70c383edda121205",
    "clip-zoom": "ae1807aa863b2eed832c151db36b6d8f6a91bb1bfb1013557cab43234898f609",
    "clip-fast": "71623d77617a25d2c2fc59b2d30da4e54f60e15fbb32008879b602f5cc4b71cb",
    "clip-fade": "550f844238ab0deee45cd5f99c4faccc98eab9cdb9b58d9ae77647cea7e9ad38",
    "clip-cut": "db8f09b138e1393100d46afde3b8d15ac85f370e29f4f1dff0af873daf224172",
    "clip-text": "85ab13f03e96e20874d6fa509ee3cf597ff16e8269a7f5770bd6885cc3a43bff",
    "clip-noise": "f6a897f6aa3d25817a8edf0dbe9c5e56f4abc803894c359f225c6f838ac089d6",
    "clip-night": "f7b327bfd8a1f72fdf9d7a940b7adf06c3ec85a422343f2b0be4bb5536dedd63",
}
"""SHA-256 of the bytes of frames 0, 9 and 96 of each clip, and of frame 0 of each picture, as `render` orders them."""
