"""Throughput and peak memory: counted on a model whose memory is known."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cvbench.core.protocol import PROTOCOLS
from cvbench.engine.speed import measure_speed
from cvbench.engine.subject import Own, Setting
from cvbench.nets.tensors import Latents, Videos


class Hungry:
    """Holds eight buffers of 3 MiB while it encodes, one of 6 MiB while it decodes."""

    params = (0, 0)

    def encode(self, videos: Videos) -> Latents:
        held = [torch.zeros(3 << 18) for _ in range(8)]
        return videos + held[0][0]

    def decode(self, latents: Latents, frames: int) -> Videos:
        torch.zeros(6 << 18)
        assert isinstance(latents, torch.Tensor)
        return latents


def hungry() -> Own:
    return Own("hungry", Hungry(), Setting(PROTOCOLS["cvvae-2405"], torch.device("cpu"), {}))


def test_peak_memory_is_what_is_held_at_one_time() -> None:
    found = measure_speed(hungry(), torch.rand(1, 3, 1, 16, 16))
    assert found["peak_mib"] == pytest.approx(24, abs=0.01)
    assert found["shape"] == "1x3x1x16x16"
    assert 1 <= int(found["runs"] or 0) <= 10


def test_throughput_is_frames_over_seconds() -> None:
    found = measure_speed(hungry(), torch.rand(2, 3, 4, 16, 16))
    for side in ("encode", "decode"):
        assert float(found[f"{side}_fps"] or 0) * float(found[f"{side}_ms"] or 0) == pytest.approx(8000)


def test_measuring_prints_nothing() -> None:
    script = "import test_engine_speed as t, torch; t.measure_speed(t.hungry(), torch.rand(1, 3, 1, 16, 16))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )
    assert (done.stdout, done.stderr) == ("", "")


class Slow(Hungry):
    """Takes its time to encode, and counts."""

    calls = 0

    def encode(self, videos: Videos) -> Latents:
        self.calls += 1
        time.sleep(0.3)
        return super().encode(videos)


@pytest.mark.parametrize(("warm", "calls"), [(True, 1), (False, 2)])
def test_a_slow_side_of_a_warm_model_is_run_once(warm: bool, calls: int) -> None:
    model = Slow()
    setting = Setting(PROTOCOLS["cvvae-2405"], torch.device("cpu"), {})
    found = measure_speed(Own("slow", model, setting), torch.rand(1, 3, 1, 16, 16), warm=warm)
    assert model.calls == calls
    assert 0 < float(found["encode_fps"] or 0) < 1 / 0.3
    assert float(found["decode_fps"] or 0) > 1 / 0.3
    assert found["peak_mib"] == pytest.approx(24, abs=0.01)


class Idle(Hungry):
    """Does nothing when it encodes."""

    def encode(self, videos: Videos) -> Latents:
        return videos


def test_a_side_that_does_nothing_has_no_throughput() -> None:
    setting = Setting(PROTOCOLS["cvvae-2405"], torch.device("cpu"), {})
    found = measure_speed(Own("idle", Idle(), setting), torch.rand(1, 3, 1, 16, 16))
    assert (found["encode_fps"], found["encode_ms"]) == (None, None)
    assert found["decode_fps"] is not None
