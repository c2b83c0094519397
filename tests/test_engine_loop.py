"""What fails fails for its model and sample alone, and what was made is kept at once."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cvbench.cli import run_program
from cvbench.core.errors import CvbenchError, UsageError
from cvbench.core.protocol import protocol
from cvbench.core.records import RunRecord
from cvbench.core.run import Run
from cvbench.engine import device, loop, measuring, pictures, speed
from cvbench.engine import pictures as sample_pictures
from cvbench.models.floors import Identity, Pool8x8
from cvbench.probes import FeatureLoading
from cvbench.store import FileStore
from cvbench.tasks import crossdecoding, reconstruction
from cvbench.tasks.request import Request

SMALL = protocol("cvbench-1", ["frames=5", "size=48"])
BOTH = ("identity", "pool-8x8")


def request(folder: Path, *models: str, **more: Any) -> Request:
    made = Request(models or BOTH, (str(folder),), ("psnr", "ssim"), SMALL, device="cpu")
    return dataclasses.replace(made, **more)


def failing_if(condition: Callable[[torch.Tensor], bool], original: Any) -> Any:
    def encode(self: Any, videos: torch.Tensor) -> torch.Tensor:
        if condition(videos):
            raise RuntimeError("CUDA out of memory, say")
        made: torch.Tensor = original(self, videos)
        return made

    return encode


@pytest.fixture
def fails_on_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool8x8, "encode", failing_if(lambda v: v.shape[2] > 1, Pool8x8.encode))


def by_name(records: list[RunRecord]) -> dict[str, RunRecord]:
    return {record.model.name: record for record in records}


def command(folder: Path, out: Path, *more: str) -> int:
    line = ["run", "-m", ",".join(BOTH), "-d", str(folder), "--out", str(out), "--metrics", "psnr", "--device", "cpu"]
    return run_program([*line, "--set", "frames=5", "--set", "size=48", *more])


def written(out: Path) -> dict[str, RunRecord]:
    return by_name([RunRecord.load(path) for path in (out / "records").glob("*.json")])


def test_a_model_that_fails_on_one_sample_costs_itself_that_sample(
    pictures: Path, tmp_path: Path, fails_on_clips: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(pictures, tmp_path / "out", "--no-speed") == 3
    records = written(tmp_path / "out")
    assert [f.id for f in records["pool-8x8"].failures] == ["walk"]
    assert records["pool-8x8"].scores["psnr"].n == 3
    assert (records["identity"].scores["psnr"].n, records["identity"].complete) == (4, True)
    assert "walk" in capsys.readouterr().out


@pytest.mark.parametrize("batch", [1, 4])
def test_of_a_batch_only_what_fails_alone_is_lost(
    batch: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(pictures, "pool-8x8", batch=batch)
    (clean,) = reconstruction.run(asked, store=FileStore(tmp_path / "clean"))
    pixels = loop.read_prepared(0, asked.datasets()[0].items[0], SMALL).pixels
    first = torch.from_numpy(np.asarray(pixels)).float() / 255

    def holds_first(videos: torch.Tensor) -> bool:
        return any(torch.equal(video, first) for video in videos)

    monkeypatch.setattr(Pool8x8, "encode", failing_if(holds_first, Pool8x8.encode))
    (record,) = reconstruction.run(asked, store=FileStore(tmp_path / "failing"))
    assert [f.id for f in record.failures] == ["image0.png"]
    assert [s.rows["psnr"] for s in record.samples] == [s.rows["psnr"] for s in clean.samples[1:]]


def test_a_probe_that_fails_on_one_sample_costs_that_metric_alone(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = measuring.queued

    def queued(probe: Any, recons: Any, target: torch.Tensor) -> Any:
        if type(probe).__name__.lower().startswith("ssim") and target.shape[1] > 1:
            raise RuntimeError("CUDA out of memory, say")
        return original(probe, recons, target)

    monkeypatch.setattr(measuring, "queued", queued)
    for record in reconstruction.run(request(pictures)):
        assert record.scores["psnr"].n == 4
        assert record.scores["ssim"].n == 3
        assert not record.complete
        assert "1 of 4 samples" in record.unavailable["ssim"]
        assert [(f.id, f.error.partition(":")[0]) for f in record.failures] == [("walk", "ssim")]


def refuse(*_: object, **__: object) -> Any:
    raise RuntimeError("CUDA out of memory, say")


@pytest.mark.parametrize(
    ("module", "name", "what", "more"),
    [
        (speed, "measure_speed", "speed was not measured", ["--speed"]),
        (
            reconstruction,
            "compared",
            "precision was not measured",
            ["--no-speed", "--dtype=bf16", "-m", "tiny-image"],
        ),
        (pictures, "save", "no pictures of", ["--no-speed"]),
    ],
)
def test_what_stands_beside_the_scores_costs_none_of_them(
    module: Any,
    name: str,
    what: str,
    more: list[str],
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, name, refuse)
    code = command(pictures, tmp_path / "out", *more)
    records, told = written(tmp_path / "out"), "".join(capsys.readouterr())
    assert len(records) >= 2
    assert all(record.scores["psnr"].n == 4 for record in records.values())
    notes = " ".join(note for record in records.values() for note in record.notes)
    if name == "save":
        assert what in told
    else:
        assert what in notes
        assert "out of memory" in notes
        assert code == 3
    assert "Traceback" not in told


def test_a_network_that_cannot_be_moved_costs_its_model_alone(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "large.py"
    file.write_text(
        "import torch\nclass V(torch.nn.Module):\n    def to(self, *_): raise RuntimeError('out of memory, say')\n"
        "    def encode(self, v): return v\n    def decode(self, z, frames): return z\n"
    )
    large, identity = reconstruction.run(request(pictures, f"{file}:V", "identity"))
    assert "out of memory" in str(large.error)
    assert identity.complete


def test_a_run_that_is_interrupted_leaves_the_records_of_those_before(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = speed.measure_speed

    def interrupted(subject: Any, video: torch.Tensor, **more: Any) -> Any:
        if subject.name == "pool-8x8":
            raise KeyboardInterrupt
        return original(subject, video, **more)

    monkeypatch.setattr(speed, "measure_speed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reconstruction.run(request(pictures, "jpeg", "pool-8x8", speed=True, out=tmp_path / "out"))
    assert set(written(tmp_path / "out")) == {"jpeg"}


def test_an_interrupted_run_goes_on_where_it_stopped(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, seen = Pool8x8.encode, []

    def encode(self: Any, videos: torch.Tensor) -> Any:
        seen.append(videos.shape[2])
        if len(seen) == 3:
            raise KeyboardInterrupt
        return original(self, videos)

    monkeypatch.setattr(Pool8x8, "encode", encode)
    with pytest.raises(KeyboardInterrupt):
        reconstruction.run(request(pictures))
    for record in reconstruction.run(request(pictures)):
        assert record.complete
    assert len(seen) == 5  # the third sample twice


def test_strict_stops_at_the_first_failure_of_any_kind(
    pictures: Path, fails_on_clips: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        reconstruction.run(request(pictures, strict=True))
    with pytest.raises(CvbenchError):
        reconstruction.run(request(pictures, "vae-sd21", strict=True))
    monkeypatch.setattr(speed, "measure_speed", refuse)
    with pytest.raises(RuntimeError, match="out of memory"):
        reconstruction.run(request(pictures, "jpeg", strict=True, speed=True))


class Forgetful(FileStore):
    """Loses rows once they have been read so many times."""

    def __init__(self, root: Path, after: int) -> None:
        super().__init__(root)
        self.after = after

    def rows(self, key: str) -> dict[str, np.ndarray]:
        self.after -= 1
        if self.after == 0:
            for path in self.root.glob("store/*.shard"):
                os.truncate(path, 0)
        return super().rows(key)


@pytest.mark.parametrize("after", [1, 20, 30, 31, 35, 38, 40])
def test_rows_lost_on_the_way_are_made_again(after: int, pictures: Path, tmp_path: Path, fails_on_clips: None) -> None:
    records = by_name(reconstruction.run(request(pictures), store=Forgetful(tmp_path, after)))
    assert records["identity"].complete
    assert [len(r.samples) for r in records.values()] == [4, 3]
    assert [f.id for f in records["pool-8x8"].failures] == ["walk"]  # once


def test_rows_of_another_runtime_are_not_reused(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = Pool8x8.encode
    monkeypatch.setattr(Pool8x8, "encode", lambda self, v: calls.append(1) or original(self, v))
    described = []
    monkeypatch.setattr(measuring, "feature_loading", lambda name, device, *_: FeatureLoading("mean", "", device))

    class Mean:
        version = "mean"

        def rows(self, video: torch.Tensor) -> np.ndarray:
            described.append(video.shape)
            return video.mean((1, 2, 3)).numpy()[None].astype(np.float32)

    monkeypatch.setattr(measuring, "load_feature_probe", lambda *_: Mean())
    asked = request(pictures, "pool-8x8", metrics=("psnr", "rfid"))
    for version, times in (("2.9", 1), ("2.9", 1), ("3.0", 2)):
        monkeypatch.setattr(torch, "__version__", version)
        (record,) = reconstruction.run(asked)
        assert record.complete
        assert len(calls) == 4 * times
        assert len(described) == 8 * times  # reconstructions and targets


def test_the_environment_is_that_of_the_rows(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = reconstruction.run(request(pictures, "jpeg", metrics=("psnr",)))
    original = device.environment
    monkeypatch.setattr("cvbench.tasks.request.environment", lambda d: {**original(d), "device": "another machine"})
    (again,) = reconstruction.run(request(pictures, "jpeg", metrics=("psnr",)))
    assert again.environment == first.environment
    (more,) = reconstruction.run(request(pictures, "jpeg"))
    assert "another machine" in more.environment["device"]
    assert json.loads(json.dumps(more.environment)) == more.environment


def test_a_target_that_cannot_be_described_is_a_reason_of_its_metric(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "feature_loading", lambda name, device, *_: FeatureLoading("mean", "", device))

    class Mean:
        version, seen = "mean", 0

        def rows(self, video: torch.Tensor) -> np.ndarray:
            Mean.seen += 1
            if Mean.seen == 1:  # the first target
                raise RuntimeError("CUDA out of memory, say")
            return video.mean((1, 2, 3)).numpy()[None].astype(np.float32)

    monkeypatch.setattr(measuring, "load_feature_probe", lambda *_: Mean())
    (record,) = reconstruction.run(request(pictures, "pool-8x8", metrics=("rfid",)))
    assert record.scores["rfid"].n == 3
    assert "1 of 4 samples" in record.unavailable["rfid"]
    assert not record.complete


def test_a_stochastic_model_has_the_same_rows_in_any_batch_and_after_a_stop(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Identity, "encode", lambda self, v: v + 0.1 * torch.randn_like(v))
    rows, asked = [], request(pictures, "identity")
    for batch in (1, 3, 4):
        store = FileStore(tmp_path / str(batch))
        (record,) = reconstruction.run(dataclasses.replace(asked, batch=batch), store=store)
        rows.append([s.rows["psnr"] for s in record.samples])
    store = FileStore(tmp_path / "stopped")
    reconstruction.run(request(pictures, "identity", limit=2), store=store)
    (record,) = reconstruction.run(request(pictures, "identity", batch=4), store=store)
    rows.append([s.rows["psnr"] for s in record.samples])
    assert rows == [rows[0]] * 4


OWN = """
import neighbour
from cvbench.core.types import Traits
class V:
    traits = Traits(temporal=1, spatial=1, channels=3)
    def encode(self, v):
        import late
        return v * neighbour.GAIN * late.GAIN
    def decode(self, z, frames):
        return z
"""


def test_users_models_are_crossed_like_ours(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, gain in (("a", 0.9), ("b", 0.8)):
        (tmp_path / name).mkdir()
        for file, text in (("model", OWN), ("neighbour", f"GAIN = {gain}"), ("late", "GAIN = 1.0")):
            (tmp_path / name / f"{file}.py").write_text(text)
    specs = [f"{tmp_path / name / 'model.py'}:V" for name in "ab"]
    asked = request(pictures, *specs, metrics=("psnr",))
    records = crossdecoding.run(asked)
    alone = by_name(reconstruction.run(asked))
    still = [r for r in records if r.crossing and r.crossing["target"] == "images" and not r.crossing["noise"]]
    pairs = {(r.crossing["encoder"], r.crossing["decoder"]): r for r in still if r.crossing}
    assert len(pairs) >= 2
    for (encoder, _), found in pairs.items():  # decoding does nothing, so the encoder alone decides
        expected = [s.rows["psnr"] for s in alone[encoder].samples if s.frames == 1]
        assert [s.rows["psnr"] for s in found.samples] == expected
    monkeypatch.setattr(crossdecoding.task, "encoded", refuse)  # all is stored
    again = crossdecoding.run(asked)
    assert [[s.rows for s in r.samples] for r in again] == [[s.rows for s in r.samples] for r in records]


@pytest.mark.parametrize("metric", ["rfid", "rfvd", "bpp"])
def test_crossing_refuses_what_does_not_compare_frames_before_any_work(
    metric: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "read_prepared", refuse)
    with pytest.raises(UsageError, match=metric):
        crossdecoding.run(request(pictures, *BOTH, metrics=("psnr", metric)))


def test_no_field_of_a_runtime_is_forgotten_in_a_key() -> None:
    keys = {
        Run(SMALL, "s", ("m",), {"device": d, "torch": t, "diffusers": f}).key("measure")
        for d in ("cpu", "cuda") for t in "12" for f in "12"
    }  # fmt: skip
    assert len(keys) == 8


def test_untrained_models_are_measured_by_trained_networks(pictures: Path) -> None:
    (record,) = reconstruction.run(request(pictures, "rife", init="random", metrics=("psnr", "lpips")))
    assert record.scores["psnr"].n == 4
    assert "vgg16" in record.unavailable["lpips-vgg"]  # not drawn at random, but missed


def test_a_model_that_fails_in_its_picture_costs_itself_that_picture(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, words = reconstruction.Reconstruction.keep_pictures, list[str]()
    monkeypatch.setattr(reconstruction, "SHOTS", 0)  # as when more was made than is kept in memory

    def keep(self: reconstruction.Reconstruction, records: Any) -> None:
        monkeypatch.setattr(Pool8x8, "decode", lambda *_: None)
        original(self, records)

    monkeypatch.setattr(reconstruction.Reconstruction, "keep_pictures", keep)
    asked = request(pictures, "pool-8x8", "jpeg", out=tmp_path / "out", pictures=1)
    records = reconstruction.run(asked, tell=words.append)
    assert all(record.complete for record in records)
    assert [word.partition(" for ")[0] for word in words] == ["no picture by pool-8x8"]
    (gallery,) = sample_pictures.read(tmp_path / "out" / "pictures")
    assert list(gallery.clips[0].recons) == ["jpeg"]
