"""rFVD of whole runs: neither the size of batches nor the names and order of files may move it.

With a stand-in for I3D that projects a clip's pixels with a fixed random matrix. Every run has a store of its
own, for with a common one the second run would only read what the first has found.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import scene
from PIL import Image

from cvbench.core.protocol import protocol
from cvbench.core.records import Score
from cvbench.engine import measuring
from cvbench.metrics.distances import frechet
from cvbench.models.floors import Pool8x8
from cvbench.probes import FeatureLoading
from cvbench.store import FileStore
from cvbench.tasks import reconstruction
from cvbench.tasks.request import Request

CLIPS, FRAMES, SIDE = 8, 9, 48
SMALL = protocol("cvbench-1", [f"frames={FRAMES}", f"size={SIDE}"])


class Projection:
    """One row a clip: its pixels times a fixed random matrix."""

    version = "projection"

    def __init__(self, width: int) -> None:
        rng = np.random.default_rng(0)
        self.matrix = rng.standard_normal((width, 3 * FRAMES * SIDE * SIDE)).astype(np.float32)

    def rows(self, video: torch.Tensor) -> np.ndarray:
        projected: np.ndarray = video.flatten().numpy() @ self.matrix.T
        return projected[None]


@pytest.fixture(params=[3, 20], ids=["more clips than features", "fewer"])
def projection(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Projection:
    """Put the projection in the place of I3D; of either width, for `frechet` has a way of its own for each."""
    made = Projection(request.param)
    monkeypatch.setattr(measuring, "feature_loading", lambda name, device, *_: FeatureLoading("projection", "", device))
    monkeypatch.setattr(measuring, "load_feature_probe", lambda *_: made)
    return made


class Broken(Projection):
    def rows(self, video: torch.Tensor) -> np.ndarray:
        return super().rows(video) * np.nan


def save(folder: Path, seed: int) -> np.ndarray:
    """Write a clip as numbered PNGs and return its pixels, uint8 (3, t, h, w)."""
    folder.mkdir(parents=True)
    clip = scene(FRAMES, SIDE, SIDE, seed)
    for k, frame in enumerate(clip.transpose(1, 2, 3, 0)):
        Image.fromarray(frame).save(folder / f"{k:05d}.png")
    return clip


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for i in range(CLIPS):
        save(tmp_path / "clips" / f"clip{i}", i)
    return tmp_path / "clips"


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that the model is given."""
    seen: list[int] = []
    original = Pool8x8.encode

    def encode(self: Pool8x8, videos: torch.Tensor) -> torch.Tensor:
        seen.append(len(videos))
        return original(self, videos)

    monkeypatch.setattr(Pool8x8, "encode", encode)
    return seen


def rfvd(data: Path, store: Path, batch: int = 1) -> Score:
    wanted = Request(("pool-8x8",), (str(data),), ("rfvd",), SMALL, device="cpu", batch=batch)
    (record,) = reconstruction.run(wanted, store=FileStore(store))
    assert record.complete, record.unavailable
    return record.scores["rfvd"]


def renamed(source: Path, target: Path, order: Sequence[int]) -> Path:
    """Copy the clips so that they are read in another order: the first is now `order[0]`."""
    for place, i in enumerate(order):
        shutil.copytree(source / f"clip{i}", target / f"{place}-of-another-name")
    return target


def test_rfvd_does_not_depend_on_the_size_of_batches(
    clips: Path, tmp_path: Path, projection: Projection, batches: list[int]
) -> None:
    values, sizes = [], []
    for batch in (1, 2, 8):
        batches.clear()
        values.append(rfvd(clips, tmp_path / f"rows{batch}", batch).value)
        sizes.append(max(batches))
    assert sizes == [1, 2, 8]
    assert values[0] > 0
    assert values[1:] == pytest.approx([values[0]] * 2, rel=1e-6)


def test_rfvd_is_the_distance_of_the_whole_sets(clips: Path, tmp_path: Path, projection: Projection) -> None:
    model = Pool8x8()
    videos = torch.stack([torch.from_numpy(scene(FRAMES, SIDE, SIDE, i)) for i in range(CLIPS)]).float() / 255
    recons = (255 * model.decode(model.encode(videos), FRAMES)).round() / 255
    made, real = (np.concatenate([projection.rows(video) for video in side]) for side in (recons, videos))
    covariances = [np.cov(side, rowvar=False) for side in (made, real)]
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).astype(complex)).real.sum()
    expected = ((made.mean(0) - real.mean(0)) ** 2).sum() + sum(map(np.trace, covariances)) - 2 * roots
    assert rfvd(clips, tmp_path / "rows", 2).value == pytest.approx(expected, rel=1e-4)
    halves = [frechet(made[half], real[half]) for half in (slice(0, 4), slice(4, 8))]
    assert np.mean(halves) != pytest.approx(expected, rel=0.05)  # what averaging over batches would give


@pytest.mark.parametrize("order", [(7, 6, 5, 4, 3, 2, 1, 0), (3, 0, 6, 1, 7, 4, 2, 5)])
def test_rfvd_and_its_interval_do_not_depend_on_names_and_order_of_files(
    order: Sequence[int], clips: Path, tmp_path: Path, projection: Projection
) -> None:
    first = rfvd(clips, tmp_path / "rows")
    again = rfvd(renamed(clips, tmp_path / "renamed", order), tmp_path / "other rows")
    assert (again.value, again.low, again.high) == (first.value, first.low, first.high)


def test_one_row_of_a_metric_of_sets_is_a_stated_reason(tmp_path: Path, projection: Projection) -> None:
    save(tmp_path / "one" / "clip", 0)
    (record,) = reconstruction.run(Request(("pool-8x8",), (str(tmp_path / "one"),), ("rfvd",), SMALL, device="cpu"))
    assert "rfvd" not in record.scores
    assert "1 row is none" in record.unavailable["rfvd"]
    assert record.samples


def test_features_that_are_not_finite_are_a_reason(
    clips: Path, projection: Projection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "load_feature_probe", lambda *_: Broken(4))
    (record,) = reconstruction.run(Request(("pool-8x8",), (str(clips),), ("rfvd",), SMALL, device="cpu"))
    assert "not finite" in record.unavailable["rfvd"]


def test_rows_of_targets_that_were_lost_are_measured_again(clips: Path, tmp_path: Path, projection: Projection) -> None:
    first = rfvd(clips, tmp_path / "rows")
    (shard,) = (tmp_path / "rows").glob("store/*.shard")
    os.truncate(shard, shard.stat().st_size // 2)
    assert rfvd(clips, tmp_path / "rows") == first


class Means(Projection):
    """One row a frame: its mean red, green and blue."""

    def rows(self, video: torch.Tensor) -> np.ndarray:
        means: np.ndarray = video.mean((2, 3)).T.numpy()
        return means


def test_dreamsim_holds_the_embedding_of_each_frame_against_its_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model that loses blue: 1 - cosine of (r, g, 0) and (r, g, b) is 1 - √(r² + g²) / √(r² + g² + b²)."""
    monkeypatch.setattr(measuring, "feature_loading", lambda name, device, *_: FeatureLoading("means", "", device))
    monkeypatch.setattr(measuring, "load_feature_probe", lambda *_: Means(3))
    red, green, blue = (save(tmp_path / "clips" / "a", 0) / 255.0).mean((2, 3))
    (tmp_path / "half.py").write_text(
        "import torch\n\n\nclass Blind:\n"
        "    def encode(self, videos):\n        return videos * torch.tensor([1, 1, 0]).view(1, 3, 1, 1, 1)\n\n"
        "    def decode(self, latents, frames):\n        return latents\n\n\ndef build():\n    return Blind()\n"
    )
    request = Request(
        (f"{tmp_path / 'half.py'}:build",), (str(tmp_path / "clips"),), ("dreamsim",), SMALL, device="cpu"
    )
    (record,) = reconstruction.run(request, store=FileStore(tmp_path / "store"))
    expected = 1 - np.sqrt(red**2 + green**2) / np.sqrt(red**2 + green**2 + blue**2)
    assert record.samples[0].rows["dreamsim-distance"] == pytest.approx(expected.tolist(), abs=1e-5)
    assert record.scores["dreamsim"].value == pytest.approx(float(expected.mean()), abs=1e-5)
    assert record.scores["dreamsim"].signature.head == "dreamsim:means"
    assert record.complete
