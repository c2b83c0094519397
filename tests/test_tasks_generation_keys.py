"""What stored latents, gates and scores of generation are known by: all that moves them, and what names them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cvbench.core.protocol import PROTOCOLS, derive
from cvbench.data import Dataset
from cvbench.engine.loop import Prepared, silent
from cvbench.engine.measuring import Probes
from cvbench.generators import gaussian
from cvbench.store import MemoryStore
from cvbench.tasks.generation import drawing as drawings
from cvbench.tasks.generation.decoding import Decoding
from cvbench.tasks.generation.drawing import Drawing
from cvbench.tasks.generation.gate import gate
from cvbench.tasks.generation.lineup import Part, line_up
from cvbench.tasks.generation.request import GenerationRequest, prompt_item
from cvbench.tasks.generation.task import drawing_of, parts_of
from cvbench.tasks.reconstruction import Reconstruction
from cvbench.tasks.scoring.rows import Samples

FAST = derive(PROTOCOLS["cvbench-gen-1"], ["size=32", "steps=3"])


def part(model: str, pictures: Path, *changes: str, **more: Any) -> Part:
    request = GenerationRequest((model,), (str(pictures),), (), derive(FAST, changes), device="cpu", **more)
    (found,) = parts_of(request)
    return found


def drawing(model: str, pictures: Path) -> Drawing:
    made = drawing_of(part(model, pictures), (), MemoryStore(), silent)
    assert isinstance(made, Drawing)
    return made


def test_gates_are_known_by_the_precision_that_they_were_tried_in(pictures: Path) -> None:
    store = MemoryStore()
    for change in ("dtype=fp32", "dtype=bf16", "dtype=fp32"):
        decoders, refused = line_up(part("gaussian-t2i+tiny-video", pictures, change))
        assert not refused
        assert gate(decoders[-1], store)
    assert len(store._facts) == 2


class Levels:
    """A feature probe that says which levels it is shown."""

    version = "1"

    def rows(self, video: torch.Tensor) -> np.ndarray:
        made: np.ndarray = video.mean((0, 2, 3))[:, None].numpy()
        return made


@pytest.mark.parametrize("eight", ["round", "half-up", "floor"])
def test_references_are_shown_alike_by_all_tasks(eight: str, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = part("gaussian-t2i", pictures, f"eight={eight}", "frames=1").request
    (dataset,), stores = request.datasets(), [MemoryStore() for _ in range(3)]
    probes = Probes(["fid"], torch.device("cpu"), {}, "random")
    monkeypatch.setattr(Probes, "feature_probes", lambda _self, names: {name: Levels() for name in names})
    scored = Samples(dataset.items, request.protocol, ["inception"], probes, stores[0]).measure("scored")
    assert scored.failed == []
    Reconstruction(request, dataset, [], probes, stores[1], silent).loop.run()
    generated = Decoding(request, dataset, [], {}, (32, 32), probes, stores[2], silent)
    generated.steps = (1,)
    generated.loop.run()
    column = probes.column("inception")
    first, *others = [{key: rows[column].tolist() for key, rows in store._rows.items()} for store in stores]
    assert len(first) == 4
    assert others == [first, first]


def sample(prompt: str) -> Prepared:
    return Prepared(0, prompt_item("a", prompt), "1" * 64, (1, 32, 32), {})


def test_a_caption_beside_a_first_frame_is_known_to_the_latents(pictures: Path) -> None:
    made = drawing("gaussian-i2v", pictures)
    assert made.unit(sample("a cat")).key != made.unit(sample("a dog")).key
    assert made.unit(sample("a cat")).key == made.unit(sample("a cat")).key


def test_latents_of_a_gaussian_are_known_by_what_it_is_fitted_to(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key() -> str:
        return drawing("gaussian-t2i", pictures).unit(sample("")).key

    keys = [key()]
    with monkeypatch.context() as patch:
        patch.setattr(gaussian, "VERSION", -1)
        keys.append(key())
    with monkeypatch.context() as patch:
        entry = gaussian.models.MODELS["tiny-image"]
        assert entry.source is not None
        patch.setitem(
            gaussian.models.MODELS, "tiny-image", replace(entry, source=replace(entry.source, sha256="2" * 64))
        )
        keys.append(key())
    with monkeypatch.context() as patch:
        patch.setattr(gaussian, "open_dataset", lambda name, roots: Dataset(name, (prompt_item(name, name),)))
        keys.append(key())
    with monkeypatch.context() as patch:
        patch.setattr(drawings, "version", lambda package: f"{package} of another day")
        keys.append(key())
    assert len(set(keys)) == 5
    assert key() == keys[0]
