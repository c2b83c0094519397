"""Drop-in decoders: candidates on the base's latents, held against the base's own decoding."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import scene
from PIL import Image

from cvbench.core.errors import UsageError
from cvbench.core.protocol import PROTOCOLS
from cvbench.core.records import RunRecord
from cvbench.engine import speed
from cvbench.store import FileStore
from cvbench.tables import lay_out, markdown
from cvbench.tasks.crossdecoding import run_drop_in
from cvbench.tasks.request import Request

MODELS = """
from einops import reduce

from cvbench.core.types import Traits


class Halves:
    '''Means of 2 × 2, repeated: `lighter` is added when it decodes, `gain` multiplies what it encodes.'''

    def __init__(self, lighter=0.0, gain=1.0, channels=3):
        self.lighter, self.gain = lighter, gain
        self.traits = Traits(spatial=2, channels=channels)

    def encode(self, x):
        return self.gain * reduce(x, "b c t (h p) (w q) -> b c t h w", "mean", p=2, q=2)

    def decode(self, z):
        return z.repeat_interleave(2, 3).repeat_interleave(2, 4) + self.lighter


def base():
    return Halves()


def small():
    return Halves(2 / 255, gain=0.3)


def wide():
    return Halves(channels=4)
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "halves.py").write_text(MODELS)
    (tmp_path / "photos").mkdir()
    for k in range(3):
        pixels = scene(1, 32, 48, k)[:, 0].transpose(1, 2, 0) // 2 + 40
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "photos" / f"{k}.png")
    return tmp_path


def records(folder: Path, *names: str, **more: object) -> list[RunRecord]:
    models = [name if name == "vae-sd21" else f"{name}={folder}/halves.py:{name}" for name in names]
    protocol = replace(PROTOCOLS["cvbench-1"], size=None)
    asked = {"metrics": ("psnr",), "protocol": protocol, "device": "cpu", **more}
    return run_drop_in(Request(models, (f"photos={folder}/photos",), **asked), store=FileStore())  # type: ignore[arg-type]


def test_the_target_is_the_bases_own_decoding(photos: Path) -> None:
    """A decoder 2 levels of 255 lighter is 42.11 dB off whatever its own encoder does, and whatever the clip was."""
    base, candidate = records(photos, "base", "small")
    assert (base.model.name, base.model.role, base.scores["psnr"].value) == ("base", "reference", 100.0)
    assert candidate.scores["psnr"].value == pytest.approx(20 * np.log10(255 / 2), abs=0.02)
    assert (candidate.data.name.endswith(":images by base"), candidate.data.n, candidate.speed) == (True, 3, None)
    assert "held against what base itself makes" in candidate.data.note
    assert candidate.crossing is None


def test_other_latents_are_refused_with_the_reason_and_decoding_alone_is_timed(photos: Path) -> None:
    found = {r.model.name: r for r in records(photos, "base", "wide", "small", speed=True)}
    assert "3 and 4 channels" in str(found["base>wide"].error)
    timed = found["small"].speed or {}
    assert (timed["encode_fps"], timed["shape"]) == (None, "1x3x1x32x48")
    assert "images by base" in markdown(lay_out(list(found.values())))
    with pytest.raises(UsageError, match="two or more"):
        records(photos, "base")


def test_a_record_says_how_many_frames_were_compared_whatever_was_measured(photos: Path) -> None:
    (photos / "photos" / "clip").mkdir()
    for k, frame in enumerate(scene(3, 32, 48, 7).transpose(1, 2, 3, 0)):
        Image.fromarray(frame).save(photos / "photos" / "clip" / f"{k}.png")
    found = {r.data.name.partition(":")[2]: r for r in records(photos, "base", "small", metrics=("flicker", "psnr"))}
    (of_clip,) = found["clips by base"].samples
    assert (of_clip.frames, len(of_clip.rows["flicker"]), len(of_clip.rows["psnr"])) == (3, 2, 3)
    assert {sample.frames for sample in found["images by base"].samples} == {1}


def test_a_speed_is_reused_under_the_conditions_it_was_measured_in(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    kept = speed.measure_decoding
    monkeypatch.setattr(speed, "measure_decoding", lambda *given: calls.append(1) or kept(*given))
    for threads in (1, 1, 2):
        monkeypatch.setattr("torch.get_num_threads", lambda threads=threads: threads)
        assert [(r.speed or {}).get("threads") for r in records(photos, "base", "small", speed=True)] == [threads] * 2
    assert len(calls) == 4


def test_a_base_that_cannot_be_loaded_leaves_no_candidate_without_a_word(photos: Path) -> None:
    found = records(photos, "vae-sd21", "small")
    assert [(r.model.name, bool(r.error)) for r in found] == [("vae-sd21", True), ("small", True)]
    assert "vae-sd21, whose latents it was to decode, did not load" in str(found[1].error)
