"""What the tiny models learn from: pictures and clips of falling leaves and print, drawn anew for every step.

They come from the generator of the data set `sample` under other seeds, palettes, sizes and motions, so that no scene
the models are measured on is among them. Every draw follows from (seed, step): a training resumed sees the same.
"""

import colorsys
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from cvbench.data.sample import AUTUMN, BEACH, GARDEN, NIGHT, ROOM, TOWN, WOODS, Layer, Leaves, Page, Scene, render

Random = np.random.Generator

PALETTES = (WOODS, TOWN, AUTUMN, GARDEN, BEACH, ROOM, NIGHT)
SHEETS = 10
"""Sheets in use at a time: as many as the generator keeps."""
STEPS_PER_SHEET = 6
FIRST = 1 << 20
"""Seeds below belong to the data set `sample`."""


def palette(random: Random) -> tuple[int, ...]:
    """Draw seven colours: those of a landscape, or near one another, or any."""
    kind = random.integers(3)
    if kind == 0:
        return PALETTES[random.integers(len(PALETTES))]
    hue, spread, vivid = random.random(), 0.1 if kind == 1 else 1.0, random.uniform(0.1, 0.9)
    drawn = ((hue + spread * random.random(), vivid * random.random(), random.random() ** 0.7) for _ in range(7))
    rgb = [[int(255 * each) for each in colorsys.hsv_to_rgb(h % 1, s, v)] for h, s, v in drawn]
    return tuple(r << 16 | g << 8 | b for r, g, b in rgb)


def leaves(random: Random, islands: bool) -> Leaves:
    """Draw what covers a sheet: from fine foliage to a few large shapes."""
    largest = float(2 ** random.uniform(4, 6.8))
    return Leaves(
        palette(random),
        count=int(random.integers(100, 900) if islands else random.integers(800, 4000)),
        radii=(float(2 ** random.uniform(0.6, 3)), largest),
        shapes=tuple(int(each) for each in random.integers(0, 7, 4)),
        calm=0 if islands else int(random.integers(0, 6)),
        islands=60 if islands else -1024,
        grain=int(random.integers(1, 129)),
        relief=int(random.integers(0, 91)),
        height=256,
        width=256,
    )


def page(random: Random) -> Page:
    """Draw a sheet of print."""
    lines = [(int(random.integers(1, 5)), *(int(c) for c in random.integers(0, 1 << 24, 2))) for _ in range(5)]
    return Page(tuple((dot, 0xFF << 24 | ink, 0xFF << 24 | paper) for dot, ink, paper in lines), 256, 256)


@lru_cache(maxsize=4 * SHEETS)
def paint(seed: int, number: int) -> Leaves | Page:
    """Draw sheet `number` of a training; every third is islands that leave what lies under them visible."""
    random = np.random.default_rng((seed, 1, number))
    return page(random) if number % 16 == 7 else leaves(random, islands=number % 3 == 1)


def camera(random: Random, seed: int, number: int) -> Layer:
    """Draw a place over a sheet and a motion: one in eight stands still, a few are fast."""
    still = random.random() < 0.125
    speed = 0.0 if still else float(2 ** random.uniform(-2, 2.6))
    angle, zoom = random.uniform(0, 2 * np.pi), float(2 ** random.uniform(-1.6, 0.7))
    return Layer(
        paint(seed, number),
        FIRST + (seed << 24) + number,
        (speed * float(np.sin(angle)), speed * float(np.cos(angle))),
        (zoom, 0.0 if still else zoom * float(random.normal(0, 0.006))),
        (float(random.normal(0, 0.2)), 0.0 if still else float(random.normal(0, 0.002))),
        0.0 if still else float(random.uniform(0, 4)),
        0.0 if still else float(random.uniform(0, 4)),
        (float(random.uniform(0, 256)), float(random.uniform(0, 256))),
    )


def scene(random: Random, seed: int, step: int, frames: int, side: int) -> Scene:
    """Draw a scene from the sheets of a step."""
    newest = step // STEPS_PER_SHEET + SHEETS
    numbers = newest - random.permutation(SHEETS)
    grounds = [int(n) for n in numbers if n % 3 != 1 or n % 16 == 7]
    islands = [int(n) for n in numbers if n % 3 == 1 and n % 16 != 7]
    layers = [camera(random, seed, grounds[0])]
    if random.random() < 0.5:
        layers.append(camera(random, seed, islands[0]))
    noise = (float(random.uniform(0, 12)), float(random.uniform(0, 0.2))) if random.random() < 0.2 else (0.0, 0.0)
    drawn = Scene("training", "clip", tuple(layers), frames, side, side, noise=noise, blur=frames > 1)
    if frames > 1 and random.random() < 0.04:
        cut = int(random.integers(1, frames))
        return replace(drawn, after=(camera(random, seed, grounds[1]),), change=(cut, cut + 1))
    return drawn


def clip(random: Random, seed: int, step: int, frames: int, side: int) -> Tensor:
    """Draw one clip, (3, frames, side, side) in [-1, 1], its contrast, brightness and directions changed at random."""
    pixels = render(scene(random, seed, step, frames, side), range(frames))
    turned = pixels[random.permutation(3)] if random.random() < 0.5 else pixels
    turned = turned[..., ::-1] if random.random() < 0.5 else turned
    turned = turned.swapaxes(-1, -2) if random.random() < 0.5 else turned
    x = 2 * torch.from_numpy(np.ascontiguousarray(turned)).float() / 255 - 1
    contrast, brightness = random.uniform(0.5, 1.3), random.normal(0, 0.15)
    return (x * contrast + brightness).clamp(-1, 1)


def batch(seed: int, step: int, clips: int, frames: int, side: int) -> Tensor:
    """Return what a step learns from, (clips, 3, frames, side, side) in [-1, 1]."""
    random = np.random.default_rng((seed, 0, step))
    return torch.stack([clip(random, seed, step, frames, side) for _ in range(clips)])
