import numpy as np
import pytest
import torch
from conftest import reconstruct, scene

from cvbench.core.errors import BadOutput, UnsuitableInput
from cvbench.core.protocol import PROTOCOLS, protocol
from cvbench.core.types import FrameRule, Traits
from cvbench.engine.coding import measure, pad, quantize, to_videos
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


def test_the_target_side_is_computed_once_for_all_models() -> None:
    target = to_videos([scene(5, 16, 16)], CPU)[0]
    probe = Counting()
    recons = {"a": target, "b": target + 0.25}
    rows, unsuited = measure(recons, target, {"x": probe, "y": Refusing()}, {"a": ["x", "y"], "b": ["x"]})
    assert probe.prepared == 5
    assert rows["a"]["x"].tolist() == [0.0] * 5
    assert rows["b"]["x"] == pytest.approx([0.25] * 5, abs=1e-6)
    assert unsuited == {"y": "too small"}
