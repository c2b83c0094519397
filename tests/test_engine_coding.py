import random

import numpy as np
import pytest
import torch
from conftest import reconstruct, scene

from cvbench.core.errors import BadOutput, BadRange, UnsuitableInput
from cvbench.core.protocol import PROTOCOLS, protocol
from cvbench.core.types import FrameRule, Traits
from cvbench.engine.coding import code, pad, quantize, seeded, to_videos
from cvbench.engine.measuring import Probes, measure_pairs
from cvbench.models.floors import Identity

P = PROTOCOLS["cvvae-2405"]
CPU = torch.device("cpu")
RULES = [FrameRule(), FrameRule(1, 4), FrameRule(1, 8), FrameRule(0, 4), FrameRule(5, 17), FrameRule(24, 16, 24)]


class Changed:
    """Decodes to what `change` makes of the input, and remembers what it was given."""

    def __init__(self, change=lambda x: x, traits: Traits | None = None) -> None:  # type: ignore[no-untyped-def]
        self.change, self.traits, self.seen = change, traits or Traits(), torch.Size()

    def encode(self, videos: torch.Tensor) -> torch.Tensor:
        self.seen = videos.shape
        return videos

    def decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        return self.change(latents)


@pytest.mark.parametrize("frames", range(1, 41))
@pytest.mark.parametrize("rule", RULES)
def test_every_length_is_padded_to_the_rule_and_no_further(rule: FrameRule, frames: int) -> None:
    fitted = rule.fit(frames)
    admissible = [rule.base + k * rule.step for k in range(60) if rule.base + k * rule.step >= max(frames, rule.least)]
    assert fitted == admissible[0]


@pytest.mark.parametrize("frames", [1, 2, 5, 6])
def test_padding_repeats_the_last_frame_row_and_column_and_is_cropped_again(frames: int) -> None:
    video = to_videos([scene(frames, 13, 21)], CPU)
    model = Changed(traits=Traits(4, 8, 4, FrameRule(1, 4)))
    recon, _ = reconstruct(model, video, P)
    assert torch.equal(recon, video)
    assert model.seen == (1, 3, FrameRule(1, 4).fit(frames), 16, 24)
    padded = pad(video, model.traits)
    assert torch.equal(padded[:, :, -1, 13:, 21:], padded[:, :, frames - 1, 12:13, 20:21].expand(1, 3, 3, 3))


def test_rounding_is_to_the_nearest_level_and_keeps_8_bit_pixels_exactly() -> None:
    levels = torch.arange(256, dtype=torch.float32).view(1, 1, 1, 16, 16).expand(1, 3, 1, 16, 16) / 255
    assert torch.equal(quantize(levels), levels)
    assert torch.equal(quantize(levels[..., :15, :] + 0.4 / 255), levels[..., :15, :])


def test_without_rounding_the_reconstruction_is_only_clamped() -> None:
    video = to_videos([scene(1, 16, 16)], CPU)
    recon, _ = reconstruct(Changed(lambda x: x + 0.3 / 255), video, protocol("cvvae-2405", ["round8=false"]))
    assert torch.equal(recon, (video + 0.3 / 255).clamp(0, 1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x * torch.nan, "NaN"),
        (lambda x: x * 0 + 0.5, "constant"),
        (lambda x: x * 255, "value range"),
        (lambda x: x[:, :, :-1], "gave"),
        (lambda x: x[..., :-8], "gave"),
    ],
)
def test_an_output_that_is_no_picture_is_reported(change, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadOutput, match=words):
        reconstruct(Changed(change), to_videos([scene(3, 16, 16)], CPU), P)


def test_a_constant_target_may_come_back_constant() -> None:
    black = torch.zeros(1, 3, 1, 16, 16)
    assert torch.equal(reconstruct(Identity(), black, P)[0], black)


def test_a_stochastic_model_repeats_itself_for_one_seed() -> None:
    video = to_videos([scene(1, 16, 16)], CPU)
    model = Changed(lambda x: x + 0.1 * torch.randn_like(x))
    before = torch.random.get_rng_state()
    first, again, other = (reconstruct(model, video, P, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_model_that_draws_gives_each_clip_the_same_alone_and_in_a_batch() -> None:
    video = to_videos([scene(1, 16, 16, seed) for seed in range(3)], CPU)
    for draw in (torch.randn_like, lambda x: torch.tensor(np.random.rand(*x.shape))):

        class Noisy(Changed):
            def encode(self, videos: torch.Tensor) -> torch.Tensor:
                return (videos + 0.1 * draw(videos)).float()  # noqa: B023 - used within this turn

        together = code(Noisy(), video, [5, 6, 7])
        alone = [code(Noisy(), video[i : i + 1], [5 + i])[0] for i in range(3)]
        assert all(torch.equal(a.recon, b.recon) for a, b in zip(together, alone, strict=True))


def test_random_numbers_of_the_caller_go_on_as_if_nothing_had_been_drawn() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    for draw in (lambda: float(torch.rand(1)), np.random.rand, random.random):
        with seeded(1, CPU) as drew:
            assert not drew()
            first = draw()
            assert drew()
        with seeded(1, CPU):
            assert draw() == first
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


@pytest.mark.parametrize("mode", ["autocast", "tf32", "double", "grad"])
def test_the_callers_switches_change_no_number(mode: str) -> None:
    layer = torch.nn.Conv3d(3, 3, 3, padding=1)
    video = to_videos([scene(2, 16, 16)], CPU)
    model = Changed(lambda x: torch.sigmoid(layer(x)))
    expected = code(model, video, [0])[0].recon
    before = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    try:
        torch.set_default_dtype(torch.float64 if mode == "double" else torch.float32)
        torch.set_float32_matmul_precision("medium" if mode == "tf32" else "highest")
        with torch.autocast("cpu", torch.bfloat16, enabled=mode == "autocast"), torch.set_grad_enabled(mode == "grad"):
            found = code(model, video, [0])[0].recon
            assert torch.is_autocast_enabled("cpu") == (mode == "autocast")
            assert torch.is_grad_enabled() == (mode == "grad")
    finally:
        torch.set_default_dtype(before[0])
        torch.set_float32_matmul_precision(before[1])
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert not found.is_inference()  # or the caller's next backward would fail


def test_a_model_that_works_in_place_spoils_neither_the_target_nor_the_next_try() -> None:
    video = to_videos([scene(1, 16, 16, seed) for seed in range(2)], CPU)
    kept = video.clone()

    class InPlace(Changed):
        def encode(self, videos: torch.Tensor) -> torch.Tensor:
            return videos.mul_(0.5)

    assert torch.equal(code(InPlace(), video, [0, 1])[1].recon, kept[1] * 0.5)
    assert torch.equal(video, kept)


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_an_output_between_minus_one_and_one_is_recognised(scale: float) -> None:
    video = to_videos([scene(1, 16, 16)], CPU) * scale  # dark pictures as well
    with pytest.raises(BadRange, match=r"\[-1, 1\]"):
        code(Changed(lambda x: 2 * x - 1), video, [0])


@pytest.mark.parametrize(
    "change", [lambda x: 1.2 * x - 0.1, lambda x: 1 - x, lambda x: 0.1 * torch.sin(40 * x), lambda x: x - 0.2]
)
def test_a_bad_picture_is_not_taken_for_another_range(change) -> None:  # type: ignore[no-untyped-def]
    code(Changed(change), to_videos([scene(1, 16, 16)], CPU), [0])


class Counting:
    """A probe that counts how often it prepares."""

    version, frames_at_once = "1", 2

    def __init__(self) -> None:
        self.prepared = 0

    def prepare(self, target: torch.Tensor) -> torch.Tensor:
        self.prepared += target.shape[1]
        return target

    def rows(self, recon: torch.Tensor, prepared: torch.Tensor) -> np.ndarray:
        return (recon - prepared).abs().mean((0, 2, 3)).double().numpy()


class Refusing(Counting):
    def prepare(self, target: torch.Tensor) -> torch.Tensor:
        raise UnsuitableInput("too small")


class Failing(Counting):
    def rows(self, recon: torch.Tensor, prepared: torch.Tensor) -> np.ndarray:
        if float(recon.max()) > 1.1:
            raise RuntimeError("out of memory")
        return super().rows(recon, prepared)


def probes_of(**pairs: Counting) -> Probes:
    probes = Probes(["psnr", "ssim", "flicker"], CPU, {})
    probes.pairs.update(pairs)
    return probes


def test_the_target_side_is_computed_once_for_all_models() -> None:
    target = to_videos([scene(5, 16, 16)], CPU)[0]
    probe = Counting()
    recons = {"a": target, "b": target + 0.25}
    wanted = {"a": ["psnr", "ssim"], "b": ["psnr"]}
    found = measure_pairs(probes_of(psnr=probe, ssim=Refusing()), recons, target, wanted)
    assert probe.prepared == 5
    assert found["a"].rows["psnr@1"].tolist() == [0.0] * 5
    assert found["b"].rows["psnr@1"] == pytest.approx([0.25] * 5, abs=1e-6)
    assert str(found["a"].rows["ssim@1"]) == "too small"


def test_a_probe_that_fails_on_one_reconstruction_fails_for_that_one_alone() -> None:
    target = to_videos([scene(2, 16, 16)], CPU)[0]
    both = {name: ["psnr", "ssim"] for name in "ab"}
    found = measure_pairs(probes_of(psnr=Failing(), ssim=Counting()), {"a": target, "b": target + 1}, target, both)
    assert found["a"].rows["psnr@1"].tolist() == [0.0, 0.0]
    assert not found["a"].failed
    assert "out of memory" in str(found["b"].failed["psnr"])
    assert found["b"].rows["ssim@1"] == pytest.approx([1.0, 1.0])


def test_what_is_not_finite_is_a_reason_and_no_number() -> None:
    target = to_videos([scene(1, 16, 16)], CPU)[0]
    found = measure_pairs(probes_of(psnr=Counting()), {"a": target * torch.nan}, target, {"a": ["psnr"]})
    assert "not finite" in str(found["a"].rows["psnr@1"])
