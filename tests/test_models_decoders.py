"""Decoders alone against recorded outputs of hustvl/Turbo-VAED 9268488 and against diffusers, and their partners."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden.weights import rng
from safetensors.torch import save_file
from small import small, small_options
from zoo2 import close, official, shapes, shapes_of

from cvbench import models
from cvbench.commands.weights import sources
from cvbench.core.errors import BadWeights, UnsuitableInput
from cvbench.core.protocol import PROTOCOLS
from cvbench.engine.subject import Listed, Setting
from cvbench.models import MODELS
from cvbench.models.building import construct
from cvbench.models.decoder_entries import DECODERS
from cvbench.models.decoders import reach
from cvbench.models.entry import Loading
from cvbench.models.tokenizers import of_layout
from cvbench.nets import turbovaed

TURBO = {
    "hunyuan": turbovaed.Layout(16, (48, 32, 16, 8), (5, 4, 4, 4, 5)),
    "ltx": turbovaed.Layout(128, (64, 48, 32, 64), (1, 1, 3, 2, 3), (2, 2, 2), 4),
    "dc": turbovaed.Layout(128, (64, 48, 32, 64), (4, 3, 3, 3, 4), (2, 2, 1), 4, drop=False),
}
FULL = {
    "hunyuan": of_layout(turbovaed.Layout(), MODELS["turbo-vaed-hunyuan"].config),
    "ltx": of_layout(turbovaed.Layout(), MODELS["turbo-vaed-ltx"].config),
    "dc": turbovaed.Layout(128, blocks=(4, 3, 3, 3, 4), patch=4, drop=False),
}
LTX25 = "ltx-2.5-diffusion"


@pytest.mark.parametrize(
    ("variant", "case", "shape", "stride"),
    [
        ("hunyuan", "t1", (2, 16, 1, 4, 6), 2),
        ("hunyuan", "t3", (1, 16, 3, 4, 4), 2),
        ("ltx", "t3", (1, 128, 3, 1, 2), 4),
        ("dc", "t3", (1, 128, 3, 1, 2), 4),
        pytest.param("ltx", "t1", (2, 128, 1, 2, 3), 4, marks=pytest.mark.large),
        pytest.param("dc", "t1", (2, 128, 1, 2, 3), 4, marks=pytest.mark.large),
    ],
)
def test_light_decoders_give_the_official_pixels(variant: str, case: str, shape: tuple[int, ...], stride: int) -> None:
    name = f"turbo-vaed-{variant}-small"
    net = turbovaed.TurboVAED(TURBO[variant]).eval().requires_grad_(False)
    net.load_state_dict(official(name))
    z = torch.from_numpy(rng(f"{name}/{case}").standard_normal(shape).astype(np.float32))
    close(net(z), f"{name}/{case}/recon", stride)


@pytest.mark.parametrize("variant", FULL)
def test_full_size_tensors_are_the_official_ones(variant: str) -> None:
    with torch.device("meta"):
        assert shapes_of(turbovaed.TurboVAED(FULL[variant])) == shapes(f"turbo-vaed-{variant}-full")


def halves(name: str, folder: Path) -> tuple[Any, Path, Path]:
    """Build a small decoder and its teacher's encoder at random; save both."""
    whole = small(name, seed=3)
    teacher = small_options(name)["teacher"]
    net = construct(teacher["_class_name"], teacher)
    net.load_state_dict(whole.partner.net.state_dict(), strict=False)  # which has no decoder
    save_file(net.state_dict(), folder / "teacher.safetensors")
    save_file(whole.net.state_dict(), folder / "decoder.safetensors")
    return whole, folder / "decoder.safetensors", folder / "teacher.safetensors"


def of_files(name: str, decoder: Path, teacher: Path, **settings: Any) -> Any:
    loading = Loading(torch.device("cpu"), torch.float32, path=decoder, partner=teacher, options=small_options(name))
    return models.build(MODELS[name], Loading(**{**vars(loading), **settings}))


@pytest.mark.parametrize("name", ["turbo-vaed-hunyuan", LTX25])
def test_a_decoder_codes_by_its_partner_and_each_half_has_its_own_weights(name: str, tmp_path: Path) -> None:
    whole, decoder, teacher = halves(name, tmp_path)
    again = of_files(name, decoder, teacher, seed=3)
    side = again.traits.least_side if again.traits.least_side > 1 else 16
    x = torch.rand(1, 3, again.traits.frame_rule.fit(2), side, side)
    with torch.inference_mode():
        z = again.encode(x)
        assert torch.equal(z, whole.partner.encode(x))
        torch.testing.assert_close(again.decode(z, x.shape[2]), whole.decode(z, x.shape[2]), atol=1e-5, rtol=0)
    with pytest.raises(UnsuitableInput, match=r"latents of \d+ channels"):
        again.decode(torch.zeros(1, 3, 1, 2, 2), 1)


@pytest.mark.parametrize("name", DECODERS)
def test_parameters_of_each_half_are_those_that_run(name: str) -> None:
    model = small(name)
    encoder, decoder = (sum(p.numel() for p in net.parameters()) for net in (model.partner.net.encoder, model.net))
    assert model.params == (encoder, decoder)
    assert not hasattr(model.partner.net, "decoder")


def changed(file: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes(change((folder / file).read_bytes())) and None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (changed("decoder.safetensors", lambda held: held[: len(held) // 2]), "decoder.safetensors is damaged"),
        (changed("teacher.safetensors", lambda held: held[: len(held) // 2]), "teacher.safetensors is damaged"),
        (
            lambda folder: (folder / "teacher.safetensors").replace(folder / "decoder.safetensors") and None,
            "decoder.safetensors belongs to another architecture",
        ),
    ],
    ids=["half a decoder", "half a teacher", "the teacher as decoder"],
)
def test_halves_that_are_not_whole_or_not_theirs_are_refused(
    change: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    _, decoder, teacher = halves("turbo-vaed-hunyuan", tmp_path)
    change(tmp_path)
    with pytest.raises(BadWeights, match=says):
        of_files("turbo-vaed-hunyuan", decoder, teacher if teacher.exists() else None)  # type: ignore[arg-type]


def test_a_decoder_s_file_may_name_a_whole_autoencoder(tmp_path: Path) -> None:
    whole, decoder, teacher = halves("turbo-vaed-hunyuan", tmp_path)
    state = {f"decoder.{name}": value for name, value in whole.net.state_dict().items()}
    more = {"encoder.conv.weight": torch.ones(2), "decoder.aligned_feature_projection_heads.0.weight": torch.ones(2)}
    save_file({**state, **more}, decoder)
    net = of_files("turbo-vaed-hunyuan", decoder, teacher).net
    assert all(torch.equal(value, whole.net.state_dict()[name]) for name, value in net.state_dict().items())


def test_a_record_says_of_both_halves_whose_they_are() -> None:
    setting = Setting(PROTOCOLS["cvbench-1"], torch.device("cpu"), {}, "random")
    facts = Listed("turbo-vaed-hunyuan", setting).facts
    assert facts.encoder == "hunyuan-video"
    assert facts.licence == "tencent-hunyuan-community (encoder), not stated (decoder)"
    assert facts.params == (100_341_408, 40_687_811)


def test_its_weights_are_fetched_with_those_of_its_encoder() -> None:
    assert list(sources(["turbo-vaed-ltx", "taef2"])) == ["turbo-vaed-ltx", "taef2", "ltx"]


# ---- LTX-2.5's diffusion decoder


def own() -> Any:
    """diffusers' small decoder with its own attention."""
    options = {name: value for name, value in small_options(LTX25).items() if name != "teacher"}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        return construct("LTX2VideoDiffusionDecoderModel", options).eval()  # as the adapter draws it


@pytest.mark.large  # its imports alone take seconds
@pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")
def test_pixels_are_those_of_diffusers_own_attention_from_the_same_noise() -> None:
    adapted, net = small(LTX25, seed=3), own()
    z = torch.randn(2, 16, 2, 3, 4, generator=torch.Generator().manual_seed(1))
    generators = [torch.Generator().manual_seed(3) for _ in z]
    with torch.no_grad():
        expected = net.decode(z, generator=generators).sample
        torch.testing.assert_close(adapted.decode(z, 9), (expected + 1) / 2, atol=1e-5, rtol=0)


def test_the_noise_is_that_of_the_seed_and_of_no_clip_s_place() -> None:
    z = torch.zeros(2, 16, 2, 3, 3)
    with torch.no_grad():
        first, second = small(LTX25, seed=3).decode(z, 9)
        torch.testing.assert_close(first, second)
        other = small(LTX25, seed=3)
        other.seed = 4
        assert not torch.allclose(other.decode(z[:1], 9)[0], first, atol=1e-3)


def test_the_settings_beside_the_weights_go_over_the_entry_s(tmp_path: Path) -> None:
    net = own()
    net.save_pretrained(tmp_path / "ltx")
    options = {"_class_name": "LTX2VideoDiffusionDecoderModel", "teacher": small_options(LTX25)["teacher"]}
    _, _, teacher = halves(LTX25, tmp_path)
    model = of_files(LTX25, tmp_path / "ltx", teacher, options=options)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in model.net.state_dict().items())


def test_no_axis_is_shorter_than_a_window() -> None:
    net = own()
    traits = reach(net.config)
    assert (traits.frame_rule.fit(1), traits.least_side) == (9, 96)  # 3 positions of 32 pixels, 3 frames of 1 + 8k
    with torch.no_grad(), pytest.raises(ValueError, match="at least its kernel size"):
        small(LTX25).net.decode(torch.zeros(1, 16, 2, 2, 3))
