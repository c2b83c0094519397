"""What the harness relies on, of every model in the registry.

Entries are taken from MODELS as they are, so a new one is held to this by being there. A network without shipped
weights is built small and at random, from the one table in `small.py`; entries that are the same small network are
tried once.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small import small, small_options
from torch import Tensor, nn

from cvbench import models
from cvbench.core.errors import BadWeights, UnknownName, UsageError
from cvbench.core.types import Traits
from cvbench.engine.coding import pad
from cvbench.models import MODELS
from cvbench.models.precision import NAMES
from cvbench.nets.tensors import VideoVAE

LARGEST = 20_000_000
"""Parameters of what is built here, encoder and decoder together: more take seconds."""
TOLERANCE = 1e-4
"""Of pixels, between a clip in a batch and alone: kernels add in another order, and untrained norms amplify that."""
AMPLIFIED = {"turbo-vaed-ltx": 2e-3}
"""Where they amplify it more; in float64 nothing differs."""


def trained(name: str) -> bool:
    """Tell what gives pictures, as it has weights or needs none, from what was drawn at random."""
    source = MODELS[name].source
    return source is None or source.bundled


def likeness(name: str) -> str:
    """Return what entries share that are one network here."""
    entry = MODELS[name]
    return name if trained(name) else f"{entry.build} {json.dumps(small_options(name), sort_keys=True)}"


ALIKE = {likeness(name): name for name in reversed(MODELS)}
NAMES_HERE = sorted(ALIKE.values())
NETWORKS = [name for name in NAMES_HERE if MODELS[name].source]
CODECS = [name for name in NAMES_HERE if MODELS[name].role == "codec"]


@cache
def model(name: str) -> Any:
    return small(name)


def traits(name: str) -> Traits:
    found: Traits = model(name).traits
    return found


def networks(name: str) -> list[nn.Module]:
    return [value for value in vars(model(name)).values() if isinstance(value, nn.Module)]


SIDES = {"allegro": 32}
"""Where tiles, which traits say nothing of, decide."""


def side(name: str) -> int:
    """Return a height and width that a model takes as they are."""
    if name in SIDES:
        return SIDES[name]
    found = traits(name)
    return found.multiple if found.multiple > 2 else max(2 * found.spatial, found.least_side, 16)


def clips(name: str, frames: int, height: int, width: int, count: int = 1) -> Tensor:
    """Smooth clips in [0, 1], no two alike, on 8-bit levels."""
    b, c, t, y, x = torch.meshgrid(*(torch.arange(n) for n in (count, 3, frames, height, width)), indexing="ij")
    return ((0.5 + 0.4 * torch.sin(b + 2 * c + (x + 2 * y + 3 * t) / 9)) * 255).round() / 255


@torch.inference_mode()
def coded(name: str, videos: Tensor) -> tuple[Any, Tensor]:
    """Code clips as the harness does; return the latents, and reconstructions cut to the clips."""
    padded = pad(videos, traits(name))
    latents = model(name).encode(padded)
    recon = model(name).decode(latents, padded.shape[2])
    assert recon.shape == padded.shape
    return latents, recon[:, :, : videos.shape[2], : videos.shape[3], : videos.shape[4]]


def test_every_entry_is_held_to_the_contract() -> None:
    assert {ALIKE[likeness(name)] for name in MODELS} == set(NAMES_HERE)


@pytest.mark.parametrize("name", NAMES_HERE)
def test_a_model_is_built_by_one_function_and_has_both_methods(name: str) -> None:
    assert isinstance(model(name), VideoVAE)
    assert isinstance(model(name).traits, Traits)
    assert sum(model(name).params) <= LARGEST, f"give {name} a small config in tests/small.py"


@pytest.mark.parametrize("name", NAMES_HERE)
def test_length_and_size_come_back(name: str) -> None:
    rule = traits(name).frame_rule
    lengths = {1, 2, rule.step + 2} if rule.step < 9 else {1, rule.fit(1) + 1}
    lengths |= {window + 1, window + 3, 2 * window + 2} if (window := traits(name).window) else set()
    for frames in lengths:
        assert coded(name, clips(name, frames, side(name), side(name)))[1].shape[2] == frames
    for frames, height, width in ((2, side(name) - 3, side(name) - 7), (1, 1, 5))[: 1 if name in SIDES else 2]:
        _, recon = coded(name, clips(name, frames, height, width))
        assert recon.shape == (1, 3, frames, height, width)


@pytest.mark.parametrize("name", NAMES_HERE)
def test_pixels_are_finite_float32_of_the_right_range(name: str) -> None:
    videos = clips(name, 3, side(name), side(name))
    _, recon = coded(name, videos)
    assert recon.dtype == torch.float32
    assert recon.isfinite().all()
    if trained(name):
        assert -0.2 < recon.amin() < 0.4 < 0.6 < recon.amax() < 1.2
        assert (recon - videos).abs().mean() < 0.15


@pytest.mark.parametrize("name", NAMES_HERE)
def test_a_clip_gives_the_same_bits_twice_and_alone_what_it_gives_in_a_batch(name: str) -> None:
    batch = clips(name, 3, side(name), side(name), count=2)
    torch.manual_seed(1)
    latents, recon = coded(name, batch)
    torch.manual_seed(2)
    again, repeated = coded(name, batch)
    assert torch.equal(recon, repeated)
    assert latents == again if isinstance(latents, list) else torch.equal(latents, again)
    alone = torch.cat([coded(name, clip)[1] for clip in batch.split(1)])
    torch.testing.assert_close(recon, alone, atol=AMPLIFIED.get(name, TOLERANCE), rtol=0)


def _of_chunks(frames: int) -> int:
    return (frames - 5) // 17 * 5 + 2


LATENT_FRAMES = {"minimax-h3": _of_chunks, "taeh3": _of_chunks}
"""As published, where it does not follow from the temporal compression."""


def latent_frames(name: str, frames: int) -> int:
    """Frames that a network codes `frames` frames in: of those before the steps begin, each four, say, or fewer one."""
    rule, factor = traits(name).frame_rule, traits(name).temporal
    by_rule = -(-rule.base // factor) + (frames - rule.base) // factor
    return LATENT_FRAMES.get(name, lambda t: by_rule)(frames)


@pytest.mark.parametrize("name", [name for name in NAMES_HERE if MODELS[name].role not in ("codec", "reference")])
def test_latents_are_as_many_as_the_traits_say(name: str) -> None:
    found = traits(name)
    height, width = side(name), side(name)
    for frames in (found.frame_rule.fit(1), found.frame_rule.fit(6)):
        latents, _ = coded(name, clips(name, frames, height, width, count=2))
        cells = latent_frames(name, frames) * (found.tokens or (height // found.spatial) * (width // found.spatial))
        assert latents.numel() == 2 * cells * (1 if found.codebook else found.channels)
        assert latents.is_floating_point() == (not found.codebook)
        if found.codebook:
            assert 0 <= latents.amin() <= latents.amax() < found.codebook


@pytest.mark.parametrize("name", CODECS)
def test_a_codec_gives_a_byte_string_a_clip(name: str) -> None:
    assert (traits(name).channels, traits(name).codebook) == (0, None)
    batch = clips(name, 3, 64, 64, count=2)
    streams, _ = coded(name, batch)
    assert all(isinstance(stream, bytes) and stream for stream in streams)
    assert streams == [coded(name, clip)[0][0] for clip in batch.split(1)]


@pytest.mark.parametrize("name", NAMES_HERE)
def test_networks_are_frozen_and_in_evaluation_mode(name: str) -> None:
    assert bool(networks(name)) == (MODELS[name].source is not None)
    for net in networks(name):
        assert not any(module.training for module in net.modules())
        assert not any(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_in_half_precision_is_that_of_its_seed_rounded(name: str) -> None:
    state = torch.get_rng_state()
    half = small(name, dtype=torch.bfloat16)
    assert torch.equal(torch.get_rng_state(), state)
    whole = model(name).net.state_dict()
    for key, value in half.net.state_dict().items():
        assert torch.equal(value, whole[key].to(value.dtype)), key
    dtypes = {NAMES[p.dtype] for p in half.net.parameters()}
    assert set(re.findall("fp32|fp16|bf16", half.computes_in)) == dtypes
    assert half.computes_in.startswith("bf16")
    assert model(name).computes_in == "fp32"


@pytest.mark.parametrize("name", [name for name in NAMES_HERE if name not in NETWORKS])
def test_what_has_no_network_says_what_it_computes_in(name: str) -> None:
    assert model(name).computes_in == ("8 bits" if name in CODECS else "fp32")


ADAPTERS = list({MODELS[name].build: name for name in NETWORKS if not trained(name)}.values())
OTHERS = {
    "numbers": lambda value: torch.ones(()),
    "flat": lambda value: value.flatten().clone(),
    "whole numbers": lambda value: torch.ones(value.shape, dtype=torch.int64),
    "more axes": lambda value: torch.ones(1, 1, 1, 1, 1, 1),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", [*ADAPTERS, "vae-sd21"])
def test_tensors_of_the_right_names_and_nothing_else_right_are_refused(name: str, kind: str, tmp_path: Path) -> None:
    state = {key: OTHERS[kind](value) for key, value in model(name).net.state_dict().items()}
    save_file(state, tmp_path / "net.safetensors")
    with pytest.raises(BadWeights, match=r"net\.safetensors"):
        small(name, path=tmp_path / "net.safetensors")


@pytest.mark.parametrize("name", ADAPTERS)
def test_another_seed_draws_another_network(name: str) -> None:
    first, other = model(name).net.state_dict(), small(name, seed=1).net.state_dict()
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_options_of_a_user_go_over_the_entry_s() -> None:
    jpeg = models.build(MODELS["jpeg"], models.Loading(torch.device("cpu"), torch.float32, options={"quality": 40}))
    assert jpeg.quality == 40


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        *(("jpeg@", UnknownName), ("jpeg@quality=1,", UnknownName), ("jpeg@,quality=1", UnknownName)),
        *(("jpeg@qualty=1", UnknownName), ("identity@a=1", UnknownName), ("jpgg", UnknownName), ("", UnknownName)),
        *(("jpeg@quality=1,quality=2", UsageError), ("jpeg@quality", UsageError), ("jpeg@quality=²", UsageError)),
        *(("ltx-0.9.5@decode_noise=nan", UsageError), (f"jpeg@quality={'9' * 5000}", UsageError)),
    ],
)
def test_a_name_or_option_that_matches_nothing_is_refused(spec: str, error: type[UsageError]) -> None:
    with pytest.raises(error):
        models.parse(spec)
