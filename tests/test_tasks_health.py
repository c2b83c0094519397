import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import scene
from einops import reduce
from test_cli import run
from torch import Tensor, nn

from cvbench.core.protocol import PROTOCOLS
from cvbench.core.types import Traits
from cvbench.engine.subject import Setting, subject_of
from cvbench.tasks.health import LIMITS, Checkup, Examination
from cvbench.tasks.request import Request


class Sound(nn.Module):
    """Halves both sides and doubles them again, with one weight."""

    traits = Traits(spatial=2, channels=3)

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def encode(self, x: Tensor) -> Tensor:
        return reduce(x * self.gain, "b c t (h p) (w q) -> b c t h w", "mean", p=2, q=2)

    def decode(self, z: Tensor) -> Tensor:
        return z.repeat_interleave(2, 3).repeat_interleave(2, 4)


class WrongRange(Sound):
    def decode(self, z: Tensor) -> Tensor:
        return 2 * super().decode(z) - 1


class ShiftedTile(Sound):
    def decode(self, z: Tensor) -> Tensor:
        x = super().decode(z).clone()
        x[..., 32:64, 32:64] = x[..., 32:64, 35:67]
        return x


class TintedFirst(Sound):
    def decode(self, z: Tensor) -> Tensor:
        x = super().decode(z).clone()
        x[:, 0, 0] += 0.04
        return x


class DropsState(Sound):
    """A causal filter in time, run in chunks: at frame 8 it begins with an empty state."""

    def decode(self, z: Tensor) -> Tensor:
        x = super().decode(z)
        return torch.cat([self.filtered(chunk) for chunk in (x[:, :, :8], x[:, :, 8:])], 2)

    def filtered(self, x: Tensor) -> Tensor:
        return 0.9 * x + 0.1 * torch.cat([torch.full_like(x[:, :, :1], 0.5), x[:, :, :-1]], 2)


class Overflows(Sound):
    """Goes through numbers beyond 65,504."""

    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x) * 2e5

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(z / 2e5)


class DropsOut(Sound):
    def decode(self, z: Tensor) -> Tensor:
        return super().decode(nn.functional.dropout(z, 0.02, training=True))


class Halves(Sound):
    """Two tiles beside each other, neither blended: one a little lighter, the other darker."""

    def decode(self, z: Tensor) -> Tensor:
        x = super().decode(z).clone()
        x[..., 48:] += 0.01
        x[..., :48] -= 0.01
        return x


class RunsOn(Sound):
    """Keeps of a frame only the change from the frame before: a run of frames by itself begins with nothing."""

    def encode(self, x: Tensor) -> Tensor:
        return torch.cat([super().encode(x)[:, :, :1] * (x.shape[2] > 8), super().encode(x).diff(dim=2)], 2)

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(z.cumsum(2))


class DeadChannel(Sound):
    def encode(self, x: Tensor) -> Tensor:
        z = super().encode(x)
        return torch.cat([z, torch.full_like(z[:, :1], 0.5)], 1)

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(z[:, :3])


def panned(frames: int, height: int, width: int, seed: int) -> Tensor:
    """A texture that moves by a pixel a frame, as a camera sees it."""
    texture = torch.from_numpy(scene(1, height, width, seed)[:, 0]).float() / 255
    return torch.stack([texture.roll(k, 2) for k in range(frames)], 1)


CLIPS = [panned(13, 96, 96, seed) for seed in range(3)]


def examined(model: object, clips: Sequence[Tensor] = CLIPS, **changes: Any) -> Checkup:
    request = Request(("m",), ("sample",), (), replace(PROTOCOLS["cvbench-1"], **changes), device="cpu")
    subject = subject_of(model, Setting(request.protocol, torch.device("cpu"), {}), "m")
    return Checkup("m", list(Examination(subject, model, request, clips).findings()))


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (Sound, set()),
        (WrongRange, {"range"}),
        (ShiftedTile, {"alignment"}),
        (TintedFirst, {"first frame"}),
        (DropsState, {"breaks in time"}),
        (Overflows, {"fp16"}),
        (DropsOut, {"repeatable"}),
        (Halves, {"seams"}),
        (RunsOn, {"chunks"}),
    ],
)
def test_each_planted_fault_is_named_and_no_other(fault: type[Sound], named: set[str]) -> None:
    checkup = examined(fault())
    found = {finding.check: (finding.verdict, finding.value) for finding in checkup.findings}
    assert {check for check, (verdict, _) in found.items() if verdict == "broken"} == named, found
    words = [value for verdict, value in found.values() if verdict == "look"]
    assert all(value.startswith("not measured") for value in words), found
    assert checkup.broken == bool(named)


def test_tiles_are_told_with_their_cost_and_place() -> None:
    """The tiny image VAE says no size of tiles, and gets 512 px; a network of diffusers' own default has 32 px."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    net = AutoencoderKL(block_out_channels=[8, 8], layers_per_block=1, norm_num_groups=2, **blocks).eval()
    whole, cut = ({f.check: f for f in examined(m, [panned(2, 64, 64, 0)]).findings} for m in ("tiny-image", net))
    assert (whole["tiles"].value, whole["chunks"].verdict) == ("the same bits", "ok")
    assert re.fullmatch(
        r"[+-]\d\.\d\d, \d+\.\d dB from whole, most at rows \d+ to \d+, columns \d+ to \d+", cut["tiles"].value
    )


def test_a_dead_channel_is_worth_a_look() -> None:
    found = {f.check: (f.verdict, f.value) for f in examined(DeadChannel()).findings}
    assert {check for check, (verdict, _) in found.items() if verdict in ("look", "broken")} == {"dead channels"}, found
    assert found["dead channels"][1] == "1 of 4"


def test_what_is_held_against_float32_does_not_depend_on_the_protocol() -> None:
    plain, half, tiled = (
        {f.check: f.value for f in examined("tiny-image", [panned(2, 48, 48, 0)], **more).findings}
        for more in ({}, {"dtype": "bf16"}, {"tiling": True})
    )
    for check in ("bf16", "fp16", "tiles"):
        assert plain[check] == half[check] == tiled[check]
    assert float(plain["bf16"]) < 60


def test_a_model_that_fails_is_a_finding() -> None:
    class Fails(Sound):
        def decode(self, z: Tensor) -> Tensor:
            raise ValueError("no decoder")

    (last,) = (f for f in examined(Fails()).findings if f.check == "coding")
    assert (last.verdict, "no decoder" in last.value) == ("broken", True)


@pytest.mark.parametrize(("check", "value", "verdict"), [
    ("bf16", 40.0, "ok"), ("bf16", 30.0, "look"), ("bf16", float("nan"), "broken"),
    ("colour", 1.0, "ok"), ("colour", 3.0, "look"), ("colour", float("inf"), "broken"),
])  # fmt: skip
def test_limits_go_both_ways_and_no_number_is_broken(check: str, value: float, verdict: str) -> None:
    assert LIMITS[check].verdict(value) == verdict


def test_the_program_prints_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ("-d", "sample-clips", "--limit", "1", "--set", "size=64", "--set", "frames=9", "--device", "cpu")
    code, text, err = run(
        capsys, "run", "--suite", "health", "-m", "tiny-video,vae-sd21", *small, "-q", "--out", str(tmp_path / "o")
    )
    assert "tiny-video: ok" in text
    assert err == ""
    assert (code, "vae-sd21: broken: loading" in text) == (3, True)
    assert [checkup["model"] for checkup in json.loads((tmp_path / "o" / "health.json").read_text())] == [
        "vae-sd21",
        "tiny-video",
    ]


def test_options_that_it_does_not_take_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "run", "--suite", "health", "--metrics", "psnr", "--dry-run")
    assert (code, "--metrics and --dry-run: the suite health" in err) == (2, True), err
    for option in (("-v",), ("--seed", "3")):
        code, _, err = run(capsys, "run", "--suite", "health", *option)
        assert (code, "the suite health (health) takes no such option" in err) == (2, True), err
    code, _, err = run(capsys, "run", "--suite", "health", "-d", "sample-clips,sample-images")
    assert (code, "looks at one data set" in err) == (2, True), err
