"""What all tests share: caches of their own, no network, small pictures and clips."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from PIL import Image

from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import DataFacts, ModelFacts, RunRecord, SampleRecord, Score
from cvbench.core.signature import Signature
from cvbench.engine.coding import code
from cvbench.engine.shown import as_bytes
from cvbench.engine.subject import traits_of
from cvbench.probes.bits import bits_of

PLACES = count()


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own caches, so that none sees what another left."""
    root = tmp_path_factory.getbasetemp() / f"caches{next(PLACES)}"  # mktemp would list thousands each time
    monkeypatch.setenv("CVBENCH_CACHE", str(root / "cvbench"))
    monkeypatch.setenv("HF_HOME", str(root / "hf"))
    monkeypatch.setenv("TORCH_HOME", str(root / "torch"))
    for name in ("CVBENCH_DATA", "CVBENCH_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(1)


def scene(t: int, h: int, w: int, seed: int = 0) -> np.ndarray:
    """A moving texture with edges, uint8 (3, t, h, w)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (3, h // 4 + t, w // 4 + t)).astype(np.uint8)
    fine = rng.integers(-12, 13, (3, h + t, w + t))
    frames = []
    for k in range(t):
        block = np.kron(coarse[:, k // 4 :, k // 4 :], np.ones((1, 4, 4), int))[:, :h, :w]
        frames.append(np.clip(block * 0.6 + 50 + fine[:, k : k + h, k : k + w], 0, 255))
    return np.stack(frames, 1).astype(np.uint8)


@pytest.fixture
def textures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit Gaussian generators to smooth noise: drawing the built-in scenes takes seconds."""
    from cvbench.generators import gaussian

    def latents(_vae: object) -> list[np.ndarray]:
        noise = np.random.default_rng(0).standard_normal((6, 4, 2, 40, 40))
        return list(noise[..., 4:-4, 4:-4] + noise[..., 3:-5, 4:-4] + noise[..., 4:-4, 3:-5])

    gaussian.fitted.cache_clear()
    monkeypatch.setattr(gaussian, "_latents", latents)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with three images of 64×48 and one clip of frames (5 × 64×48)."""
    folder = tmp_path / "pictures"
    (folder / "walk").mkdir(parents=True)
    for i in range(3):
        Image.fromarray(scene(1, 48, 64, i)[:, 0].transpose(1, 2, 0)).save(folder / f"image{i}.png")
    for k, frame in enumerate(scene(5, 48, 64, 9).transpose(1, 2, 3, 0)):
        Image.fromarray(frame).save(folder / "walk" / f"{k:05d}.png")
    return folder


class Bare:
    """A model as the loop of coding sees it, without a subject around it."""

    def __init__(self, model: Any) -> None:
        self.encode, self.decode, self.traits = model.encode, model.decode, traits_of(model)


def reconstruct(
    model: Any, targets: torch.Tensor, protocol: EvalProtocol, seed: int = 0
) -> tuple[torch.Tensor, list[float]]:
    """Code clips as a run does; return the reconstructions, as the protocol measures them, and each clip's bits."""
    coded = code(Bare(model), targets, [seed] * len(targets))
    recon = torch.stack([each.recon for each in coded])
    bits = [bits_of(each.latents, each.clips, traits_of(model).codebook)[each.place] for each in coded]
    return as_bytes(recon, protocol.eight, protocol.cast), bits


PROTOCOL = EvalProtocol("p", 1)


def signature(metric: str = "psnr", **more: Any) -> Signature:
    """Of a score that was made like all others of these tests, but for what is said."""
    fields = {"version": "1", "data": "d", "manifest": "1", "protocol": PROTOCOL}
    return Signature(metric, **{**fields, **more})


def record(
    model: str = "m", data: str = "d", value: float = 30.0, signed: Signature | None = None, **more: Any
) -> RunRecord:
    """A record of one sample and one score."""
    sample = SampleRecord('a/ü "1".png', 1, 48, 64, "0" * 64, {"stride": 1}, {"psnr": [value]})
    made = RunRecord(
        model=ModelFacts(model, "1" * 64, params=(34_163_592, 49_490_179), temporal=1),
        data=DataFacts(data, "2" * 64, 1),
        protocol=PROTOCOL,
        probes={"psnr": "1"},
        scores={"psnr": Score(value, value - 1, value + 1, 1, signed or signature(data=data))},
        samples=[sample],
    )
    return dataclasses.replace(made, **more)


def scored(
    values: Mapping[str, Sequence[float]],
    model: str = "m",
    *,
    data: str = "d",
    protocol: EvalProtocol = PROTOCOL,
    **more: Any,
) -> RunRecord:
    """A record with one value a clip for each metric; clip i has the id "clip i" and pixels of its own."""
    n = len(next(iter(values.values())))
    samples = [
        SampleRecord(f"clip{i}", 1, 8, 8, f"{i:064d}", {}, {name: [float(v[i])] for name, v in values.items()})
        for i in range(n)
    ]
    scores = {
        m: Score(float(np.mean(v)), None, None, n, signature(m, data=data, manifest="2" * 12, protocol=protocol))
        for m, v in values.items()
    }
    made = RunRecord(ModelFacts(model, "1" * 64), DataFacts(data, "2" * 64, n), protocol, {}, scores, samples)
    return dataclasses.replace(made, **more)


def in_windows(clips: Sequence[Sequence[float]], model: str = "m", *, protocol: EvalProtocol = PROTOCOL) -> RunRecord:
    """A record of clips cut into windows, one PSNR each."""
    made = scored({"psnr": [value for clip in clips for value in clip]}, model, protocol=protocol)
    names = [(f"clip{c}#{k}", {"windows": len(clip)}) for c, clip in enumerate(clips) for k in range(len(clip))]
    samples = [dataclasses.replace(s, id=n, facts=f) for s, (n, f) in zip(made.samples, names, strict=True)]
    return dataclasses.replace(made, samples=samples)


def whole_set(value: float, low: float | None, high: float | None, manifest: str = "2" * 64) -> RunRecord:
    """A record of two clips and one score of the whole set."""
    made = scored({"psnr": [30, 31]}, data="d")
    score = Score(value, low, high, 5000, signature("rfid", manifest=manifest))
    return dataclasses.replace(made, scores={"rfid": score}, data=DataFacts("d", manifest, 2))
