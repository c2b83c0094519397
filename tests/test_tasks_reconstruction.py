import dataclasses
import errno
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import scene
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import cvbench
from cvbench import store
from cvbench.cli import run_program
from cvbench.core.errors import UnreadableSample, UsageError
from cvbench.core.protocol import protocol
from cvbench.core.records import RunRecord, read_records
from cvbench.engine import loop
from cvbench.engine.device import pick_device
from cvbench.models.codecs import Jpeg
from cvbench.store import FileStore
from cvbench.tasks import reconstruction
from cvbench.tasks.request import Request

SMALL = protocol("cvbench-1", ["frames=5", "size=48"])
VOLATILE = ("speed", "environment", "created")


def request(folder: Path, models: tuple[str, ...] = ("identity", "pool-8x8", "jpeg"), **more: Any) -> Request:
    made = Request(models, (str(folder),), ("psnr", "ssim"), SMALL, device="cpu")
    return dataclasses.replace(made, **more)


def stable(record: RunRecord) -> dict[str, Any]:
    return {k: v for k, v in json.loads(record.to_json()).items() if k not in VOLATILE}


def test_images_and_clips_of_one_folder_are_scored_together(pictures: Path) -> None:
    identity, pool, jpeg = reconstruction.run(request(pictures))
    assert [(s.id, s.frames) for s in identity.samples] == [
        ("image0.png", 1),
        ("image1.png", 1),
        ("image2.png", 1),
        ("walk", 5),
    ]
    assert identity.scores["psnr"].value == 100.0
    assert identity.scores["ssim"].value == 1.0
    assert 5 < pool.scores["psnr"].value < jpeg.scores["psnr"].value < 60
    assert identity.complete


def test_scores_equal_scikit_image_on_the_same_pixels(pictures: Path) -> None:
    (record,) = reconstruction.run(request(pictures, ("jpeg@quality=40",)))
    codec = Jpeg(40)
    for sample, name in zip(record.samples, ["image0.png", "image1.png", "image2.png"], strict=False):
        target = np.asarray(Image.open(pictures / name))[:, 8:56]
        video = torch.from_numpy(target.copy()).permute(2, 0, 1)[None, :, None].float() / 255
        recon = (codec.decode(codec.encode(video), 1)[0, :, 0] * 255).round().byte().permute(1, 2, 0).numpy()
        psnr = peak_signal_noise_ratio(target, recon, data_range=255)
        ssim = structural_similarity(
            target / 255,
            recon / 255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=-1,
        )
        assert sample.rows["psnr"] == pytest.approx([psnr], abs=1e-4)
        assert sample.rows["ssim"] == pytest.approx([ssim], abs=1e-4)
        assert sample.rows["bpp"] == pytest.approx([8 * sum(map(len, codec.encode(video))) / 48**2])
    per_clip = [np.mean(s.rows["psnr"]) for s in record.samples]
    assert record.scores["psnr"].value == pytest.approx(np.mean(per_clip), abs=1e-9)


def test_a_finished_run_repeated_reads_and_computes_nothing(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = reconstruction.run(request(pictures, speed=True))

    def refuse(*_: object) -> None:
        raise AssertionError("work was done twice")

    monkeypatch.setattr(loop, "read_prepared", refuse)
    monkeypatch.setattr(reconstruction, "code", refuse)
    again = reconstruction.run(request(pictures, speed=True))
    assert [r.speed for r in again] == [r.speed for r in first]
    assert list(map(stable, again)) == list(map(stable, first))


def test_a_second_model_decodes_and_prepares_nothing_again(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = loop.read_prepared
    monkeypatch.setattr(loop, "read_prepared", lambda *a: calls.append(a[0]) or original(*a))
    reconstruction.run(request(pictures))
    assert calls == [0, 1, 2, 3]


def test_a_changed_file_is_measured_anew(pictures: Path) -> None:
    (before,) = reconstruction.run(request(pictures, ("jpeg",)))
    Image.fromarray(scene(1, 48, 64, 77)[:, 0].transpose(1, 2, 0)).save(pictures / "image1.png")
    (after,) = reconstruction.run(request(pictures, ("jpeg",)))
    changed = [a.rows != b.rows for a, b in zip(before.samples, after.samples, strict=True)]
    assert changed == [False, True, False, False]
    assert before.data.manifest != after.data.manifest


def test_a_metric_asked_for_later_reruns_only_what_it_needs(pictures: Path) -> None:
    reconstruction.run(request(pictures, ("jpeg",), metrics=("psnr",)))
    (record,) = reconstruction.run(request(pictures, ("jpeg",)))
    assert record.complete
    assert set(record.scores) == {"psnr", "ssim", "bpp"}


def test_batches_change_nothing(pictures: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    singles = reconstruction.run(request(pictures, batch=1), store=FileStore(tmp_path / "one"))
    fours = reconstruction.run(request(pictures, batch=4), store=FileStore(tmp_path / "four"))
    for a, b in zip(singles, fours, strict=True):
        for x, y in zip(a.samples, b.samples, strict=True):
            assert x.rows["psnr"] == pytest.approx(y.rows["psnr"], abs=1e-5)


class Fussy:
    """Fails on clips, and dims images by a tenth."""

    def encode(self, videos: torch.Tensor) -> torch.Tensor:
        if videos.shape[2] > 1:
            raise RuntimeError("CUDA out of memory, say")
        return videos

    def decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
        return latents * 0.9


def test_a_model_that_fails_on_a_sample_keeps_the_others_and_says_so(pictures: Path) -> None:
    record = cvbench.evaluate(Fussy(), data=str(pictures), metrics=["psnr"], protocol=SMALL)
    assert [f.id for f in record.failures] == ["walk"]
    assert "out of memory" in record.failures[0].error
    assert record.scores["psnr"].n == 3


def test_evaluate_takes_any_object_and_leaves_it_in_training_mode(pictures: Path) -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor(0.9))
            self.dropout = torch.nn.Dropout(0.5)

        def encode(self, videos: torch.Tensor) -> torch.Tensor:
            return self.dropout(videos * self.gain)

        def decode(self, latents: torch.Tensor, frames: int) -> torch.Tensor:
            return latents

    net = Net().train()
    first = cvbench.evaluate(net, data=str(pictures), metrics=["psnr"], protocol=SMALL)
    assert net.training
    assert net.gain.requires_grad
    with torch.no_grad():
        net.gain.fill_(0.8)
    second = cvbench.evaluate(net, data=str(pictures), metrics=["psnr"], protocol=SMALL)
    assert first.scores["psnr"].value > second.scores["psnr"].value + 1


def test_a_users_code_that_changed_is_measured_anew(pictures: Path, tmp_path: Path) -> None:
    helper = "import torch\ndef gain(): return {}\n"
    (tmp_path / "my_gain.py").write_text(helper.format(0.9))
    model = tmp_path / "my_vae.py"
    model.write_text(
        "import sys; sys.path.insert(0, __file__.rsplit('/', 1)[0])\n"
        "import importlib, my_gain; importlib.reload(my_gain)\n"
        "class V:\n    def encode(self, v): return v * my_gain.gain()\n    def decode(self, z, frames): return z\n"
        "def build(): return V()\n"
    )
    run = request(pictures, (f"{model}:build",))
    (first,) = reconstruction.run(run)
    (tmp_path / "my_gain.py").write_text("# changed\n" + helper.format(0.5))
    sys.modules.pop("my_gain", None)
    (second,) = reconstruction.run(run)
    assert second.scores["psnr"].value < first.scores["psnr"].value - 3


def test_an_unreadable_file_is_named_and_never_in_the_mean(pictures: Path) -> None:
    (clean,) = reconstruction.run(request(pictures, ("jpeg",)))
    (pictures / "broken.png").write_bytes((pictures / "image0.png").read_bytes()[:300])
    (record,) = reconstruction.run(request(pictures, ("jpeg",)))
    assert [f.id for f in record.failures] == ["broken.png"]
    assert record.scores["psnr"].value == clean.scores["psnr"].value
    assert not record.complete
    with pytest.raises(UnreadableSample, match="broken"):
        reconstruction.run(request(pictures, ("jpeg",), strict=True))


def test_missing_lpips_weights_never_stop_the_rest(pictures: Path) -> None:
    (record,) = reconstruction.run(request(pictures, ("jpeg",), metrics=("psnr", "lpips")))
    assert "psnr" in record.scores
    assert "vgg16-397923af.pth" in record.unavailable["lpips-vgg"]


def test_a_metric_that_cannot_take_the_size_is_a_reason_that_is_remembered(pictures: Path) -> None:
    run = request(pictures, ("jpeg",), metrics=("psnr", "ms-ssim"))
    first, again = reconstruction.run(run)[0], reconstruction.run(run)[0]
    assert "161" in first.unavailable["ms-ssim"]
    assert first.unavailable == again.unavailable


def test_models_without_weights_are_records_too(pictures: Path, tmp_path: Path) -> None:
    records = reconstruction.run(request(pictures, ("vae-sd21", "identity"), out=tmp_path / "out"))
    assert "sd2-community" in str(records[0].error)
    assert records[1].complete
    assert len(list((tmp_path / "out" / "records").glob("*.json"))) == 2


def test_an_unknown_device_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="cuda:7"):
        pick_device("cuda:7")


def test_averages_of_psnr_differ_as_the_protocol_says(pictures: Path) -> None:
    values = {}
    for mean in ("frames", "clip", "set"):
        changed = protocol("cvbench-1", ["frames=5", "size=48", f"psnr_mean={mean}"])
        (record,) = reconstruction.run(request(pictures, ("pool-8x8",), protocol=changed))
        values[mean] = record.scores["psnr"].value
    errors = [np.mean([10 ** (-p / 10) for p in s.rows["psnr"]]) for s in record.samples]
    assert values["set"] == pytest.approx(-10 * np.log10(np.mean(errors)), abs=1e-9)
    assert values["clip"] == pytest.approx(np.mean([-10 * np.log10(e) for e in errors]), abs=1e-9)
    assert values["set"] < values["clip"] <= values["frames"]


def run_slowly(folder: Path, out: Path, cache: str) -> None:
    """Run in a process of its own, each clip taking a moment, so that a kill finds work half done."""
    os.environ["CVBENCH_CACHE"] = cache
    original = loop.read_prepared

    def slowly(*arguments: Any) -> loop.Prepared:
        time.sleep(0.02)
        return original(*arguments)

    loop.read_prepared = slowly  # type: ignore[assignment]
    torch.set_num_threads(1)
    reconstruction.run(request(folder, ("identity", "jpeg"), out=out))


def test_a_run_killed_ten_times_ends_in_the_same_record(pictures: Path, tmp_path: Path) -> None:
    for i in range(20):
        Image.fromarray(scene(1, 48, 64, 100 + i)[:, 0].transpose(1, 2, 0)).save(pictures / f"more{i:02d}.png")
    undisturbed = reconstruction.run(request(pictures, ("identity", "jpeg")), store=FileStore(tmp_path / "other"))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_tasks_reconstruction"])
    chance = random.Random(0)
    kills = 0
    for _ in range(60):
        process = context.Process(target=run_slowly, args=(pictures, tmp_path / "out", os.environ["CVBENCH_CACHE"]))
        process.start()
        if kills < 10:
            process.join(chance.uniform(0.05, 0.3))
            process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        if kills == 10 and process.exitcode == 0:
            break
    assert kills == 10
    found = [RunRecord.load(path) for path in sorted((tmp_path / "out" / "records").glob("*.json"))]
    assert list(map(stable, found)) == list(map(stable, undisturbed))


def test_two_runs_at_once_into_one_folder_leave_whole_records(pictures: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_tasks_reconstruction"])
    arguments = (pictures, tmp_path / "out", os.environ["CVBENCH_CACHE"])
    processes = [context.Process(target=run_slowly, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    found = [RunRecord.load(path) for path in sorted((tmp_path / "out" / "records").glob("*.json"))]
    assert list(map(stable, found)) == list(map(stable, reconstruction.run(request(pictures, ("identity", "jpeg")))))


NEVER_TWICE = """
import time

busy = []

class Watched:
    def encode(self, videos):
        if busy:
            open(__file__ + ".twice", "w").close()
        busy.append(1)
        time.sleep(0.02)
        busy.pop()
        return videos

    def decode(self, latents, frames):
        return latents.clamp(0, 1)

def build():
    return Watched()
"""


def test_an_own_model_is_never_run_by_two_threads_at_once(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    for i in range(12):  # each of a size of its own, of which a key must be made while the one before is coded
        Image.fromarray(scene(1, 32 + 4 * i, 48, i)[:, 0].transpose(1, 2, 0)).save(tmp_path / "media" / f"{i}.png")
    (tmp_path / "watched.py").write_text(NEVER_TWICE)
    sizes = protocol("cvbench-1", ["size=none"])
    reconstruction.run(request(tmp_path / "media", ("identity",), protocol=sizes))  # what is known is not read
    (record,) = reconstruction.run(request(tmp_path / "media", (f"{tmp_path / 'watched.py'}:build",), protocol=sizes))
    assert len(record.samples) == 12
    assert not (tmp_path / "watched.py.twice").exists()


def test_a_record_that_cannot_be_written_says_so_and_costs_nobody_the_others(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = store.records.write_text

    def full(path: Path, text: str, **more: Any) -> None:
        if "identity" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        original(path, text, **more)

    monkeypatch.setattr(store.records, "write_text", full)
    options = ("--metrics", "psnr", "--set", "size=48", "--no-speed", "--pictures", "0", "--device", "cpu")
    code = run_program(["run", "-m", "identity,jpeg", "-d", str(pictures), "--out", str(tmp_path / "out"), *options])
    out, err = capsys.readouterr()
    assert code == 3
    assert "| identity" in out
    assert f"identity on pictures: no record in {tmp_path / 'out'}: No space left on device" in err
    assert [r.model.name for r in read_records([tmp_path / "out"])] == ["jpeg"]


def test_half_precision_reports_how_far_it_is_from_float32(pictures: Path) -> None:
    half = protocol("cvbench-1", ["frames=5", "size=48", "dtype=bf16"])
    models = ("rife", "jpeg")
    rife, jpeg = reconstruction.run(request(pictures, models, protocol=half, init="random", metrics=("psnr",)))
    assert rife.precision_db is not None
    assert 15 < rife.precision_db < 99
    assert jpeg.precision_db is None
    assert reconstruction.run(request(pictures, ("rife",), init="random", metrics=("psnr",)))[0].precision_db is None
