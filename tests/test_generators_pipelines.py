"""Pipelines of diffusers with random weights: what is captured decodes to what the pipeline itself returns."""

from typing import Any

import diffusers
import pytest
import torch

from cvbench.core.errors import Unavailable
from cvbench.generators import Condition, Settings
from cvbench.generators.pipelines import Pipeline, as_clip, captured, class_of

pytestmark = pytest.mark.filterwarnings("ignore")


def vae() -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, layers_per_block=1,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, latent_channels=4,
    )  # fmt: skip


def stable_diffusion() -> tuple[Any, dict[str, Any]]:
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=16, norm_num_groups=4,
        attention_head_dim=4, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    pipe = diffusers.StableDiffusionPipeline(
        vae(), None, None, unet, diffusers.EulerDiscreteScheduler(), None, None, requires_safety_checker=False
    )
    return pipe, {"height": 16, "width": 16}


def stable_diffusion_xl() -> tuple[Any, dict[str, Any]]:
    """In float16, with a VAE that is float32 while it decodes."""
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=16, norm_num_groups=4,
        attention_head_dim=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 16,
    )  # fmt: skip
    net = vae()
    net.register_to_config(force_upcast=True, scaling_factor=0.13025)
    pipe = diffusers.StableDiffusionXLPipeline(
        net, None, None, None, None, unet, diffusers.EulerDiscreteScheduler(), add_watermarker=False
    ).to(torch.float16)
    pooled = {"pooled_prompt_embeds": torch.ones(1, 16).half(), "negative_pooled_prompt_embeds": torch.zeros(1, 16)}
    return pipe, {"height": 16, "width": 16, **pooled}


def wan() -> tuple[Any, dict[str, Any]]:
    net = diffusers.AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    transformer = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, text_dim=16, freq_dim=16, ffn_dim=16,
        num_layers=1, rope_max_seq_len=32,
    )  # fmt: skip
    pipe = diffusers.WanPipeline(None, None, net, diffusers.FlowMatchEulerDiscreteScheduler(), transformer)
    return pipe, {"height": 16, "width": 16, "num_frames": 5}


@pytest.mark.parametrize("make", [stable_diffusion, wan])
def test_what_is_captured_decodes_to_what_the_pipeline_returns(make: Any) -> None:
    torch.manual_seed(0)
    pipe, more = make()
    pipe.set_progress_bar_config(disable=True)
    texts = {"prompt_embeds": torch.randn(1, 7, 16), "negative_prompt_embeds": torch.zeros(1, 7, 16)}
    arguments = {**more, **texts, "num_inference_steps": 2, "output_type": "pt"}
    with torch.no_grad():
        whole = pipe(**arguments, generator=torch.Generator().manual_seed(1))[0]
        latents = captured(pipe, {**arguments, "generator": torch.Generator().manual_seed(1)})
        given = latents[None] if isinstance(pipe, diffusers.WanPipeline) else latents.movedim(1, 0)
        made = (pipe.vae.decode(given).sample / 2 + 0.5).clamp(0, 1)
    expected = whole.movedim(1, 2) if whole.ndim == 5 else whole
    assert (made - expected).abs().max() < 1e-5
    assert "decode" not in vars(pipe.vae)


def test_a_second_sample_is_drawn_as_the_first_where_the_vae_is_upcast() -> None:
    torch.manual_seed(0)
    pipe, more = stable_diffusion_xl()
    pipe.set_progress_bar_config(disable=True)
    texts = {"prompt_embeds": torch.randn(1, 7, 16).half(), "negative_prompt_embeds": torch.zeros(1, 7, 16).half()}
    arguments = {**more, **texts, "num_inference_steps": 2}
    one, two = (captured(pipe, {**arguments, "generator": torch.Generator().manual_seed(1)}) for _ in range(2))
    assert one.dtype == two.dtype == torch.float32
    assert torch.equal(one, two)
    assert pipe.vae.dtype == torch.float16


def test_one_frame_of_a_generator_of_videos_is_asked_for() -> None:
    asked = {}
    for make in (stable_diffusion, wan):
        found = object.__new__(Pipeline)
        found.settings, found.extra, (found.pipe, _) = Settings((16, 16), 1, {}), {}, make()
        asked[make] = found.arguments(Condition("a"), torch.Generator())
    assert asked[wan]["num_frames"] == 1
    assert "num_frames" not in asked[stable_diffusion]


def test_latents_of_another_form_are_refused() -> None:
    with pytest.raises(Unavailable, match="known are"):
        as_clip(torch.zeros(2, 4, 1, 8, 8))


@pytest.mark.parametrize("name", ["NoSuchPipeline", "AutoencoderKL", 3, None])
def test_another_class_is_refused(name: object) -> None:
    with pytest.raises(Unavailable, match="has no class for"):
        class_of({"_class_name": name}, "here")
