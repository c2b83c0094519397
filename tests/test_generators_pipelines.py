"""Pipelines of diffusers with random weights: what is captured decodes to what the pipeline itself returns."""

import copy
import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_pipelines import PIPELINES

from cvbench.core.errors import Unavailable
from cvbench.core.protocol import PROTOCOLS
from cvbench.generators import Condition, Settings
from cvbench.generators.hub import entry_of
from cvbench.generators.pipelines import Pipeline, as_clip, captured, class_of, encoding_by
from cvbench.generators.spaces import raw, scaled
from cvbench.models.diffusers import Diffusers

pytestmark = pytest.mark.filterwarnings("ignore")


def drawn(make: str) -> tuple[Any, dict[str, Any]]:
    torch.manual_seed(0)
    pipe, more = PIPELINES[make]()
    pipe.set_progress_bar_config(disable=True)
    return pipe, {**more, "num_inference_steps": 2, "output_type": "pt"}


@pytest.mark.parametrize("make", PIPELINES)
def test_what_is_captured_decodes_to_what_the_pipeline_returns(make: str) -> None:
    pipe, arguments = drawn(make)
    with torch.no_grad():
        whole = pipe(**arguments, generator=torch.Generator().manual_seed(1))[0]
        latents = captured(pipe, {**arguments, "generator": torch.Generator().manual_seed(1)})
        expected = whole.movedim(1, 2) if whole.ndim == 5 else whole[:, :, None]
        made = Diffusers.around(pipe.vae).decode(latents[None], expected.shape[2]).clamp(0, 1)
    assert expected.std() > 0.05
    assert (made - expected).abs().max() < 1e-5
    assert "decode" not in vars(pipe.vae)


@pytest.mark.parametrize("make", PIPELINES)
def test_every_pipeline_is_called_by_its_own_names(make: str) -> None:
    pipe, asked = drawn(make)
    entry = entry_of("hf:a/b", "a/b", {"_class_name": type(pipe).__name__, "vae": []})
    found = object.__new__(Pipeline)
    settings = entry.settings(PROTOCOLS["cvbench-gen-1"])
    found.settings, found.extra, found.pipe = replace(settings, frames=asked.get("num_frames", 1)), {}, pipe
    condition = Condition("a", np.zeros((3, 1, 8, 8), np.uint8))
    made = found.arguments(condition, torch.Generator())
    takes = inspect.signature(pipe.__call__).parameters
    assert made.keys() <= takes.keys()
    assert {name for name in ("prompt", "image", "num_frames", "video_length", "height") if name in takes} <= {*made}
    assert made["num_inference_steps"] == takes["num_inference_steps"].default


def test_a_second_sample_is_drawn_as_the_first_where_the_vae_is_upcast() -> None:
    pipe, asked = drawn("stable_diffusion_xl")
    pipe.to(torch.float16)
    arguments = {name: value.half() if isinstance(value, torch.Tensor) else value for name, value in asked.items()}
    one, two = (captured(pipe, {**arguments, "generator": torch.Generator().manual_seed(1)}) for _ in range(2))
    assert one.dtype == two.dtype == torch.float32
    assert torch.equal(one, two)
    assert pipe.vae.dtype == torch.float16


def test_one_frame_of_a_generator_of_videos_is_asked_for() -> None:
    asked = {}
    for make in ("stable_diffusion", "wan"):
        found = object.__new__(Pipeline)
        found.settings, found.extra, (found.pipe, _) = Settings((16, 16), 1, {}), {}, drawn(make)
        asked[make] = found.arguments(Condition("a"), torch.Generator())
    assert asked["wan"]["num_frames"] == 1
    assert "num_frames" not in asked["stable_diffusion"]


def test_latents_of_another_form_are_refused() -> None:
    with pytest.raises(Unavailable, match="known are"):
        as_clip(torch.zeros(2, 4, 1, 8, 8))


@pytest.mark.parametrize("name", ["NoSuchPipeline", "AutoencoderKL", 3, None])
def test_another_class_is_refused(name: object) -> None:
    with pytest.raises(Unavailable, match="has no class for"):
        class_of({"_class_name": name}, "here")


def test_another_encoder_codes_first_frames() -> None:
    pipe, arguments = drawn("stable_video_diffusion")
    same, darker = copy.deepcopy(pipe.vae), copy.deepcopy(pipe.vae)
    seeds = iter([1, 1, 1])

    def latents() -> torch.Tensor:
        return captured(pipe, {**arguments, "generator": torch.Generator().manual_seed(next(seeds))})

    own = latents()
    pipe.vae.encode = encoding_by(Diffusers.around(same).encode)
    assert torch.allclose(latents(), own, atol=1e-3)  # pixels go to [0, 1] and back
    pipe.vae.encode = encoding_by(lambda videos: Diffusers.around(darker).encode(videos / 2))
    assert not torch.allclose(latents(), own, atol=1e-1)


@pytest.mark.parametrize("make", ["stable_diffusion_3", "wan"])
def test_raw_latents_are_those_that_were_scaled(make: str) -> None:
    pipe, _ = drawn(make)
    base, latents = Diffusers.around(pipe.vae), torch.randn(2, 4, 1, 2, 2)
    there = scaled(latents, base)
    assert not torch.allclose(there, latents)
    assert torch.allclose(raw(there, base), latents, atol=1e-5)
