"""Seconds that each metric's probe takes: what `cvbench list metrics` shows of this machine afterwards.

    OMP_NUM_THREADS=1 python benchmarks/bench_metrics.py [PROBE...]

CPU seconds for 100 frames of 256×256 px, target and one reconstruction, in one thread, networks with random weights. A
moving picture with lines of text is measured; probes that look at single frames by a large network are given three
and multiplied. Probes that are named are measured again, the others keep what was found before; one whose package is
not installed is left out and named. Reductions (a mean, a Fréchet distance) are not in it. Writes `metric-costs.toml`.
"""

import sys
import time
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cvbench.core.costs import FILE, Costs, read_costs
from cvbench.core.errors import Unavailable, UnknownName, UsageError
from cvbench.nets.backbones import STAGES, Backbone, Net
from cvbench.probes import FEATURES, PROBES, PairProbe, load_feature_probe, load_probe, text
from cvbench.probes.dists import Dists
from cvbench.probes.perceptual import Lpips

CPU = torch.device("cpu")
FRAMES, FEW, SIDE = 33, 3, 256
CLIP = f"{SIDE}×{SIDE} px"


def clip() -> tuple[Tensor, Tensor]:
    """Return a target that moves and a noisy reconstruction, (3, t, h, w) in [0, 1], rounded to bytes."""
    y, x = np.mgrid[:SIDE, :SIDE]
    frames = [Image.fromarray(_waves(x + 3 * k, y)) for k in range(FRAMES)]
    for frame, (top, size) in product(frames, ((20, 48), (100, 28), (150, 13))):
        ImageDraw.Draw(frame).text((20, top), "moving", fill="black", font=ImageFont.load_default(size=size))
    target = torch.from_numpy(np.stack([np.asarray(frame) for frame in frames])).permute(3, 0, 1, 2) / 255
    noise = 0.03 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    return target, ((target + noise).clamp(0, 1) * 255).round() / 255


def _waves(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    waves = [0.6 + 0.3 * np.sin(x / (5 + 4 * c)) * np.cos(y / (9 - 2 * c)) for c in range(3)]
    return (255 * np.stack(waves, -1)).round().astype(np.uint8)


def random_state(net: Net) -> dict[str, Tensor]:
    """Return weights of a backbone, drawn at random."""
    random = torch.Generator().manual_seed(0)
    convs = [conv for stage in STAGES[net] for conv in stage.convs]
    shapes = {f"features.{c.place}.weight": (c.outputs, c.inputs, c.kernel, c.kernel) for c in convs}
    biases = {f"features.{c.place}.bias": torch.zeros(c.outputs) for c in convs}
    return biases | {
        name: torch.randn(shape, generator=random) * (2 / np.prod(shape[1:])) ** 0.5 for name, shape in shapes.items()
    }


def dists() -> Dists:
    """Return DISTS with random weights."""
    channels = 3 + sum(Backbone("vgg", random_state("vgg"), CPU).widths)
    return Dists(random_state("vgg"), {name: torch.ones(1, channels, 1, 1) for name in ("alpha", "beta")}, CPU)


BY_HAND: Mapping[str, Callable[[], PairProbe]] = {
    "dists": dists,
    **{
        f"lpips-{net}{'-unit' * unit}": lambda net=net, unit=unit: Lpips(net, random_state(net), unit=unit)
        for net in STAGES
        for unit in (False, True)
    },
}
"""Pair probes that are otherwise defined on published weights."""


def pair_seconds(probe: PairProbe, target: Tensor, recon: Tensor) -> float:
    """Return the time of a whole clip, window by window."""
    probe.rows(recon[:, :2], probe.prepare(target[:, :2]))  # what is only done once
    text.lines_of.cache_clear()
    text.text_in.cache_clear()
    start = time.process_time()
    for first in range(0, FRAMES, probe.frames_at_once):
        window = slice(first, first + probe.frames_at_once)
        probe.rows(recon[:, window], probe.prepare(target[:, window]))
    return (time.process_time() - start) / FRAMES


def feature_seconds(name: str, target: Tensor) -> float:
    """Return the time of describing target and reconstruction."""
    frames = FRAMES if FEATURES[name].per == "clip" else FEW
    probe = load_feature_probe(name, CPU, init="random")
    start = time.process_time()
    probe.rows(target[:, :frames])
    return 2 * (time.process_time() - start) / frames


def seconds(name: str) -> float:
    """Return the CPU seconds of a probe for 100 frames."""
    target, recon = clip()
    if name in FEATURES:
        return 100 * feature_seconds(name, target)
    probe = BY_HAND[name]() if name in BY_HAND else load_probe(name, CPU)
    return 100 * pair_seconds(probe, target, recon)


def machine() -> str:
    """Name the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"one thread of {names[0] if names else 'an unnamed processor'}"


def write(costs: Costs) -> None:
    """Write the costs, most expensive last."""
    lines = [f'machine = "{costs.machine}"', f'clip = "{costs.clip}"', "", "[seconds]"]
    lines += [f'"{name}" = {found:.3g}' for name, found in sorted(costs.seconds.items(), key=lambda item: item[1])]
    (Path(__file__).parent / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(names: list[str]) -> None:
    known = [name for name, entry in PROBES.items() if entry.looks_at == "frames"] + list(FEATURES)
    for name in names:
        if name not in known:
            raise UnknownName("probe", name, known)
    torch.set_num_threads(1)
    try:
        found = dict(read_costs().seconds) if names else {}
    except UsageError:
        found = {}
    for name in names or known:
        try:
            found[name] = seconds(name)
            print(f"{name}\t{found[name]:.3g}", flush=True)
        except Unavailable as error:
            print(f"{name}\tleft out: {error}", flush=True)
        write(Costs(machine(), CLIP, found))


if __name__ == "__main__":
    main(sys.argv[1:])
