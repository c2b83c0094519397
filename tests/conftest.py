"""What all tests share: caches of their own, no network, small pictures and clips."""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own caches, so that none sees what another left."""
    root = tmp_path_factory.mktemp("caches")
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
def pictures(tmp_path: Path) -> Path:
    """A folder with three images of 64×48 and one clip of frames (5 × 64×48)."""
    folder = tmp_path / "pictures"
    (folder / "walk").mkdir(parents=True)
    for i in range(3):
        Image.fromarray(scene(1, 48, 64, i)[:, 0].transpose(1, 2, 0)).save(folder / f"image{i}.png")
    for k, frame in enumerate(scene(5, 48, 64, 9).transpose(1, 2, 3, 0)):
        Image.fromarray(frame).save(folder / "walk" / f"{k:05d}.png")
    return folder
