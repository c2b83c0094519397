"""Inputs and stand-ins of the recorded outputs of other projects' evaluation scripts (`golden/protocols.*`).

Networks are replaced on both sides: the model by a blur of two columns that leaves the range of values, LPIPS by the
mean difference plus a tenth of the means, I3D and Inception by a matrix on pooled pixels.
"""

import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from cvbench.core.protocol import protocol
from cvbench.core.records import RunRecord
from cvbench.core.types import Sample, Sampling
from cvbench.data.dataset import Dataset, Item
from cvbench.data.sampling import BLACK, plan
from cvbench.engine.measuring import Probes
from cvbench.engine.subject import Setting, subject_of
from cvbench.metrics import resolve
from cvbench.probes.features import I3d, I3dPrefixes, Inception
from cvbench.probes.pixel import check_shape
from cvbench.store import MemoryStore
from cvbench.tasks.reconstruction import Reconstruction
from cvbench.tasks.request import Request

GOLDEN = Path(__file__).parent / "golden"
ARRAYS = np.load(GOLDEN / "protocols.npz")
STATED: dict[str, Any] = json.loads((GOLDEN / "protocols.json").read_text())
VALUES: dict[str, Any] = STATED["values"]
CPU = torch.device("cpu")
RATE = 24.0
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def rng(name: str) -> np.random.Generator:
    """Return the generator that a name seeds."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


@cache
def u8(name: str, frames: int, height: int, width: int) -> np.ndarray:
    """Return the bytes (3, t, h, w) of a name: waves that move, and a little noise."""
    draw = rng(name)
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    waves = np.empty((3, frames, height, width))
    for k in range(3):
        fx, fy, phase, speed = (draw.uniform(*edge) for edge in ((1, 4), (1, 4), (0, 6.28), (-1, 1)))
        for t in range(frames):
            waves[k, t] = 0.45 * np.sin(6.28 * (fx * x + fy * y) + phase + speed * t)
    waves += 0.05 * draw.standard_normal((1, *waves.shape))[0]
    waves = (-1 + (np.clip(waves, -1, 1) + 1) / 2 * 2).astype(np.float32).astype(np.float64)
    mixed = 0.8 * waves.mean(axis=0, keepdims=True) + 0.2 * waves
    return np.clip(np.rint(127.5 + 400 * mixed), 0, 255).astype(np.uint8)


def clip(index: int) -> np.ndarray:
    """Return a recorded clip's pixels."""
    return u8(f"protocols/clip{index}", *STATED["inputs"]["clips_T_H_W"][index])


def picture(index: int, name: str = "pic") -> np.ndarray:
    """Return a recorded picture's pixels (3, 1, h, w)."""
    return u8(f"protocols/{name}{index}", 1, *STATED["inputs"][f"{name}s_H_W"][index])


def large() -> np.ndarray:
    """Return the recorded clip of 36 frames of 290 × 410."""
    return u8("protocols/large", *STATED["inputs"]["large_T_H_W"])


def odd() -> np.ndarray:
    """Return the recorded clip of 36 frames of 97 × 131."""
    return u8("protocols/odd", *STATED["inputs"]["odd_T_H_W"])


def off(key: str, made: np.ndarray) -> np.ndarray:
    """Return how far what was made is from what was recorded, at the points that were kept; shapes are equal."""
    assert list(made.shape) == STATED["arrays"][key]["shape"], key
    count = min(2500, made.size)
    kept = np.ascontiguousarray(made).reshape(-1)[(np.arange(count) * (made.size - 1)) // (count - 1)]
    return np.abs(kept.astype(np.float64) - ARRAYS[key].astype(np.float64))


def item(name: str, pixels: np.ndarray, fps: float = RATE) -> Item:
    """Return pixels as an item of a data set, read as files are."""

    def read(sampling: Sampling) -> Sample:
        if pixels.shape[1] == 1:
            return Sample(name, pixels, None)
        chosen = plan(pixels.shape[1], sampling, fps, name)
        taken = pixels[:, [max(index, 0) for index in chosen.indices]]
        taken[:, [index == BLACK for index in chosen.indices]] = 0
        return Sample(name, taken, fps, {"stride": chosen.stride, **chosen.facts})

    return Item(name, lambda: name, read)


class Blur:
    """The model: (x + x one column to the right) / 2 · 1.0625, in a range and precision of its script.

    With `exact` its range is made from bytes (and half ones, of a border) in float64, as some scripts do before they
    hand float32 on: where a byte is hit exactly, the last bit decides what a floor makes of it.
    """

    params = (0, 0)

    def __init__(self, dtype: str = "fp32", low: float = -1.0, high: float = 1.0, exact: bool = False) -> None:
        self.dtype, self.low, self.high, self.exact = DTYPES[dtype], low, high, exact

    def encode(self, videos: torch.Tensor) -> torch.Tensor:
        """Return pixels in the model's range."""
        return videos

    def decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        """Return the blurred pixels in [0, 1]."""
        span = self.high - self.low
        pixels = (510 * latents.double()).round() / 510 if self.exact else latents
        x = (span * pixels + self.low).to(self.dtype)
        made = (x + torch.roll(x, 1, dims=-1)) * 0.5 * 1.0625
        return (made.float() - self.low) / span


class Difference:
    """LPIPS: mean |a − b| + 0.1 (mean a + mean b) of each frame, of the values that the net is handed."""

    frames_at_once = 1 << 30

    def __init__(self, version: str, unit: bool = False) -> None:
        self.version, self.unit = version, unit

    def prepare(self, target: torch.Tensor) -> torch.Tensor:
        """Return the target."""
        return target

    def rows(self, recon: torch.Tensor, prepared: torch.Tensor) -> np.ndarray:
        """Return one value a frame."""
        check_shape(recon, prepared.shape)
        a, b = (x.double() if self.unit else 2 * x.double() - 1 for x in (recon, prepared))
        means = (a - b).abs().mean((0, 2, 3)) + 0.1 * (a.mean((0, 2, 3)) + b.mean((0, 2, 3)))
        return means.numpy()


class Pooled(torch.nn.Module):
    """I3D or Inception: pixels pooled to 8 × 8, times a matrix."""

    def __init__(self, name: str, width: int) -> None:
        super().__init__()
        self.matrix = torch.from_numpy(rng(f"protocols/{name}").standard_normal((192, width)) / np.sqrt(192)).float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return one row a clip or picture."""
        pooled = F.adaptive_avg_pool3d(x, (1, 8, 8)) if x.ndim == 5 else F.adaptive_avg_pool2d(x, 8)
        return pooled.flatten(1).float() @ self.matrix


def probes_for(names: list[str], named: str, changes: list[str]) -> Probes:
    """Return a run's probes with the networks replaced."""
    made = Probes(resolve(names, protocol(named, changes)), CPU, {}, init="random")
    for name in made.names:
        version = made.versions[name]
        if name.startswith("lpips"):
            made.pairs[name] = Difference(version, name.endswith("-unit"))
        elif name.startswith("i3d"):
            kind = I3dPrefixes if name.endswith("-prefixes") else I3d
            made.features[name] = kind(Pooled("i3d", 400), name.split("-")[1], version, CPU)
        elif name.startswith("inception"):
            resize = "tf1" if name.endswith("tf1") else "torch"
            made.features[name] = Inception(Pooled("inception", 4), version, CPU, resize)
    return made


def run(named: str, items: list[Item], names: list[str], model: Blur, *changes: str) -> RunRecord:
    """Return the record of a run of a protocol, with stand-ins for all networks."""
    chosen = protocol(named, list(changes))
    probes = probes_for(names, named, list(changes))
    subject = subject_of(model, Setting(chosen, CPU, {}))
    request = Request((subject.name,), ("golden",), names, chosen, device="cpu")
    task = Reconstruction(request, Dataset("golden", tuple(items)), [subject], probes, MemoryStore())
    (record,) = task.records()
    return record


def clips() -> list[Item]:
    """Return the five recorded clips."""
    return [item(f"clip{k}", clip(k)) for k in range(5)]


def pictures() -> list[Item]:
    """Return the five recorded pictures."""
    return [item(f"pic{k}", picture(k)) for k in range(5)]
