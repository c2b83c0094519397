"""Stable Video Diffusion and SD2.1 against recorded numbers of the official code: noise levels, guidance, sampling."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from golden import weights
from tiny_pipelines import stable_diffusion, stable_video_diffusion
from torch import Tensor

from cvbench.core.protocol import PROTOCOLS, derive
from cvbench.generators import GENERATORS, Condition
from cvbench.generators.pipelines import Pipeline, resolved, scheduler

pytestmark = pytest.mark.filterwarnings("ignore")
GOLDEN = Path(__file__).parent / "golden"
KNOWN = json.loads((GOLDEN / "svd.json").read_text(encoding="utf-8"))
FIRST = np.zeros((3, 1, 24, 40), np.uint8)


class Toy(torch.nn.Module):
    """The network that the recording was made with: it sees x·c_in and c_noise as time, and no picture."""

    def __init__(self, config: Any, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config, self.dtype, self.device, self.asked = config, dtype, torch.device("cpu"), []
        self.add_embedding = torch.nn.Module()
        self.add_embedding.linear_1 = torch.nn.Linear(3 * config.addition_time_embed_dim, 1)

    def forward(self, x: Tensor, time: Tensor, added_time_ids: Tensor, **_more: Any) -> tuple[Tensor]:
        self.asked.append(added_time_ids)
        text = torch.tensor([-0.1, 0.2]).view(2, 1, 1, 1, 1)
        return (torch.tanh(x[:, :, :4]) * (1 + 0.1 * time) + text,)


def svd(steps: int, *changes: str, **call: Any) -> Any:
    """The pipeline as suites run it, its network the toy."""
    made = object.__new__(Pipeline)
    made.pipe, _ = stable_video_diffusion(levels=4)
    made.pipe.register_modules(unet=Toy(made.pipe.unet.config))
    made.pipe.set_progress_bar_config(disable=True)
    changed = derive(PROTOCOLS["cvvae-i2v-2405"], [f"steps={steps}", *changes])
    made.settings, made.extra = replace(GENERATORS["svd"].settings(changed), size=(24, 40)), call
    return made


def test_sampling_is_the_official_one() -> None:
    golden, key = np.load(GOLDEN / "svd.npz"), "svd/euler-5"
    start = torch.from_numpy(weights.rng(f"{key}/x_T").standard_normal((4, 4, 3, 5)).astype(np.float32))
    made = svd(5, "video_frames=4", "guidance_first=1.5", latents=start[None])
    steps: list[Tensor] = []

    def after(_pipe: Any, _step: int, _time: Any, held: dict[str, Tensor]) -> dict[str, Tensor]:
        steps.append(held["latents"][0])
        return {}

    made.extra["callback_on_step_end"] = after
    latents = made.draw(Condition("", FIRST), 0)
    np.testing.assert_allclose(made.pipe.scheduler.sigmas, golden[f"{key}/sigmas"], rtol=1e-5)
    for found, expected in zip(steps, golden[f"{key}/x"], strict=True):
        assert np.abs(found.numpy() - expected).max() < 5e-6 * np.abs(expected).max()
    final = golden[f"{key}/final"]
    assert np.abs(latents.swapaxes(0, 1) * 0.18215 - final).max() < 5e-6 * np.abs(final).max()
    assert made.pipe.unet.asked[0].tolist() == [pytest.approx([6, 127, 0.02])] * 2


@pytest.mark.parametrize(("least", "largest", "frames"), [(1.0, 2.5, 14), (1.5, 3.0, 25)])
def test_guidance_rises_over_the_frames_as_in_the_official_code(least: float, largest: float, frames: int) -> None:
    made = svd(1, f"guidance_first={least}", f"guidance={largest}", f"video_frames={frames}")
    made.draw(Condition("", FIRST), 0)
    found = made.pipe.guidance_scale.flatten().tolist()
    assert found == pytest.approx(KNOWN[f"svd.guidance_official_{least}_{largest}_{frames}"], abs=1e-6)


@pytest.mark.parametrize("steps", [25, 30])
def test_noise_levels_are_the_official_ones(steps: int) -> None:
    made = svd(steps, "video_frames=2")
    made.draw(Condition("", FIRST), 0)
    used = made.pipe.scheduler
    np.testing.assert_allclose(used.sigmas, KNOWN[f"svd.edm_sigmas_{steps}"], rtol=1e-5)
    np.testing.assert_allclose(0.25 * used.sigmas[:-1].log(), used.timesteps, atol=1e-5)
    if steps == 25:
        np.testing.assert_allclose(used.timesteps, KNOWN["svd.diffusers_timesteps_25"], atol=1e-6)
        assert float(used.init_noise_sigma) == pytest.approx(KNOWN["svd.diffusers_init_noise_sigma_25"])


def test_numbers_are_embedded_as_in_the_official_code() -> None:
    net = diffusers.models.embeddings.Timesteps(256, True, 0)  # what UNetSpatioTemporalConditionModel makes of them
    for number, expected in KNOWN["svd.timestep_embedding_256"].items():
        found = net(torch.tensor([float(number)]))[0, KNOWN["svd.timestep_embedding_256_index"]]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("name", "kind"), [("sd21", "DDIMScheduler"), ("sd21-base", "PNDMScheduler")])
def test_euler_of_sd21_takes_the_spacing_that_the_paper_s_notebook_had(name: str, kind: str) -> None:
    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    prediction = {"prediction_type": "v_prediction"} if name == "sd21" else {}
    pipe, _ = stable_diffusion()
    pipe.scheduler = getattr(diffusers, kind).from_config({**config, **prediction})
    found = scheduler(pipe, "euler")
    found.set_timesteps(50)
    known = KNOWN[f"{name}.euler_50"]
    for values, expected in ((found.timesteps, known["timesteps"]), (found.sigmas, known["sigmas"])):
        np.testing.assert_allclose([*values[:3], *values[-3:]], expected, rtol=1e-6)
    assert float(found.init_noise_sigma) == pytest.approx(known["init_noise_sigma"])
    assert resolved(found)["timestep_spacing"] == known["timestep_spacing"]
    assert resolved(found).get("prediction_type", "epsilon") == prediction.get("prediction_type", "epsilon")
