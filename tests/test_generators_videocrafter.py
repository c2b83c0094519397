"""VideoCrafter2 against recorded outputs of the official code: denoiser, sampler, text encoder, and all of them."""

import gzip
import json
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import weights
from safetensors.torch import save_file
from torch import Tensor

from cvbench.core.errors import BadWeights, UsageError
from cvbench.generators import Condition, GeneratorLoading, Settings
from cvbench.generators.videocrafter import UNET, VideoCrafter2, network, sample
from cvbench.nets.videocrafter import PREFIX, TEXT, text_encoder, to_diffusers

GOLDEN = Path(__file__).parent / "golden"
SHAPES = json.loads(gzip.decompress((GOLDEN / "generation.shapes.json.gz").read_bytes()))


def state(variant: str, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + k: torch.from_numpy(weights.tensor(k, tuple(s))) for k, s in SHAPES[variant].items()}


def drawn(key: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(weights.rng(key).standard_normal(shape).astype(np.float32))


def noise(key: str, shape: tuple[int, ...]) -> Iterator[Tensor]:
    yield drawn(f"{key}/x_T", shape)
    for i in range(1000):
        yield drawn(f"{key}/noise/{i}", shape)


@cache
def small() -> Any:
    return network(state("vc2-small", PREFIX), "vc2-small")


@pytest.mark.parametrize(
    ("case", "shape", "times", "fps", "length"),
    [
        ("t981", (2, 4, 5, 8, 16), [981, 981], [28, 28], 7),
        ("t21", (1, 4, 4, 16, 8), [21], [8], 7),
        ("mixed", (2, 4, 3, 8, 8), [501, 1], [28, 3], 77),
        ("t1", (1, 4, 1, 8, 8), [401], [28], 7),
    ],
)
def test_the_denoiser_is_the_official_one(
    case: str, shape: tuple[int, ...], times: list[int], fps: list[int], length: int
) -> None:
    key = f"vc2-small/{case}"
    text = drawn(f"{key}/context", (shape[0], length, 48))
    with torch.no_grad():
        made = small()(drawn(f"{key}/x", shape), torch.tensor(times), torch.tensor(fps), text)
    assert np.abs(made.numpy() - np.load(GOLDEN / "vc2.npz")[f"{key}/eps"]).max() < 1e-4


def toy(scale: float, guided: bool) -> Any:
    def guess(x: Tensor, t: int) -> Tensor:
        base = torch.tanh(x) * (0.5 + t / 2000)
        return base - 0.1 + scale * 0.3 if guided else base + 0.2

    return guess


@pytest.mark.parametrize(
    ("key", "steps", "eta", "guidance", "scaled"),
    [
        ("ddim/vc2-50", 50, 1.0, 12.0, True),
        ("ddim/toy-5", 5, 1.0, 12.0, True),
        ("ddim/eta0-noscale-5", 5, 0.0, 1.0, False),
    ],
)
def test_the_sampler_is_the_official_one(key: str, steps: int, eta: float, guidance: float, scaled: bool) -> None:
    golden = np.load(GOLDEN / "ddim.npz")
    made = list(sample(toy(guidance, guidance > 1), noise(key, (2, 4, 3, 4, 6)), steps, eta, scaled))
    assert len(made) == steps
    for step, expected in zip(golden[f"{key}/steps_kept"], golden[f"{key}/x"], strict=True):
        assert np.abs(made[step].numpy() - expected).max() < 5e-6 * np.abs(expected).max()
    final = golden[f"{key}/final"]
    assert np.abs(made[-1].numpy() - final).max() < 5e-6 * np.abs(final).max()


def test_sampler_and_denoiser_together_are_the_official_ones() -> None:
    key = "ddim/vc2-small-5"
    texts = torch.cat([drawn(f"{key}/uncond", (1, 7, 48)), drawn(f"{key}/context", (1, 7, 48))])

    def guess(x: Tensor, t: int) -> Tensor:
        with torch.no_grad():
            both = small()(x.expand(2, -1, -1, -1, -1), torch.tensor([t, t]), torch.tensor([28, 28]), texts)
        return both[:1] + 12 * (both[1:] - both[:1])

    *_, made = sample(guess, noise(key, (1, 4, 4, 8, 8)), 5)
    final = np.load(GOLDEN / "ddim.npz")[f"{key}/final"]
    assert np.abs(made.numpy() - final).max() < 1e-4 * np.abs(final).max()


def test_the_text_encoder_is_the_official_one() -> None:
    golden = np.load(GOLDEN / "openclip_text.npz")
    model = text_encoder(state("openclip-text-small", TEXT), heads=4)
    with torch.no_grad():
        made = model(torch.from_numpy(golden["openclip-text-small/tokens"]).long()).last_hidden_state
    assert np.abs(made.numpy() - golden["openclip-text-small/penultimate"]).max() < 1e-5


@pytest.mark.parametrize("steps", [0, 30, 16, 1001])
def test_steps_of_which_the_official_code_takes_others_are_refused(steps: int) -> None:
    with pytest.raises(UsageError, match="divide 1000"):
        next(sample(toy(1, False), noise("x", (1, 4, 1, 8, 8)), steps))


def test_weights_of_something_else_are_refused() -> None:
    with pytest.raises(BadWeights, match="no VideoCrafter2"):
        network({"a": torch.zeros(1)}, "some file")


def test_the_checkpoint_of_all_parts_and_the_folder_for_diffusers_draw_the_same(tmp_path: Path) -> None:
    shapes = {k: [*s[:-1], 64 if s[-1:] == [48] else s[-1]] if s else s for k, s in SHAPES["vc2-small"].items()}
    official = {PREFIX + k: torch.from_numpy(weights.tensor(k, tuple(s))) for k, s in shapes.items()}
    texts = state("openclip-text-small", TEXT)
    whole, folder = tmp_path / "whole" / "model.ckpt", tmp_path / "folder"
    whole.parent.mkdir()
    torch.save({"state_dict": {**official, **texts, "betas": torch.zeros(1000)}}, whole)
    folder.mkdir()
    save_file({k: v.contiguous() for k, v in to_diffusers(official).items()}, folder / UNET)
    text_encoder(texts).save_pretrained(folder / "text_encoder")
    settings = Settings((64, 64), 2, {"steps": 1, "guidance": 12.0, "fps": 28})
    first, second = (
        VideoCrafter2(GeneratorLoading(torch.device("cpu"), settings, path)).draw(Condition("a red cat"), 3)
        for path in (whole, folder)
    )
    assert first.shape == (4, 2, 8, 8)
    assert np.isfinite(first).all()
    assert np.array_equal(first, second)
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(BadWeights, match="text_encoder"):
        VideoCrafter2(GeneratorLoading(torch.device("cpu"), settings, folder))
