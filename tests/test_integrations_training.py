import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import scene
from PIL import Image
from training import ToyVAE, collected, trained

import cvbench
from cvbench.core.errors import NothingScored, UnknownName, UsageError
from cvbench.integrations import loggers
from cvbench.integrations.training import EveryN, Monitored
from cvbench.metrics import sample_values
from cvbench.metrics.sequential import Sampling

SMALL = {"size": 32, "frames": 1}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for i in range(40):
        Image.fromarray(scene(1, 32, 32, i)[:, 0].transpose(1, 2, 0)).save(folder / f"{i:02}.png")
    return folder


def every(n: int, data: Path, **more: Any) -> EveryN:
    options: dict[str, Any] = {"metrics": ["psnr", "ssim"], "protocol": "cvbench-1", "changes": SMALL, "strict": True}
    return EveryN(n, str(data), **{**options, **more})


SETTINGS = [
    pytest.param({"autocast": True}, id="autocast"),
    pytest.param({}, id="fp32", marks=pytest.mark.large),
    pytest.param({"dtype": torch.bfloat16}, id="bf16", marks=pytest.mark.large),
    pytest.param({"compiled": True}, id="compile", marks=pytest.mark.large),
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_training_ends_in_the_very_weights_it_ends_in_without_a_monitor(setting: dict[str, Any], images: Path) -> None:
    monitor = every(20, images, budget=8)
    watched, alone = trained(monitor, **setting), trained(**setting)
    assert [found.step for found in monitor.history] == [20, 40, 60, 80, 100]
    assert all(torch.equal(watched[name], alone[name]) for name in alone)
    torch.manual_seed(1)
    assert not all(torch.equal(a, b) for a, b in zip(ToyVAE().state_dict().values(), alone.values(), strict=True))


@pytest.mark.large
def test_the_interval_holds_the_full_score_in_95_of_100_repeats(images: Path) -> None:
    net = ToyVAE().eval()
    full = cvbench.evaluate(net, str(images), ["psnr"], "cvbench-1", changes=SMALL)
    by_id = {name: value for (name, _), value in sample_values(full, "psnr").items()}
    values = [by_id[f"{i:02}.png"] for i in range(40)]
    held = 0
    for seed in range(100):
        for look in Sampling.of(40, 32, seed=seed).looks:
            estimate = Sampling.of(40, 32, seed=seed).estimate({i: values[i] for i in look})
            if estimate.half < 0.3:
                break
        held += estimate.low <= full.scores["psnr"].value <= estimate.high
    assert held >= 95
    (found,) = [every(1, images, budget=32, within={"psnr": 0.3}).measure(1, net)]
    estimate = found.scores[f"{images.name}/psnr"]
    assert estimate.low <= full.scores["psnr"].value <= estimate.high
    assert 0 < estimate.n < estimate.of == 40


@pytest.mark.large
def test_without_a_budget_it_is_the_score_of_evaluate(images: Path) -> None:
    net = ToyVAE().eval()
    full = cvbench.evaluate(net, str(images), ["psnr", "ssim"], "cvbench-1", changes=SMALL)
    found = every(1, images).measure(1, net)
    assert found.values == {f"{images.name}/{m}": full.scores[m].value for m in ("psnr", "ssim")}
    assert all(e.low == e.value == e.high and e.n == 40 for e in found.scores.values())


def test_it_is_time_every_n_steps_and_once_a_step(images: Path) -> None:
    monitor, net = every(10, images, budget=4), ToyVAE()
    times = [step for step in [0, 5, 10, 10, 15, 20, 20] if monitor(step, net)]
    assert times == [10, 20]


@pytest.mark.parametrize(
    ("more", "error", "text"),
    [
        ({"metrics": ["psrn"]}, UnknownName, "psnr"),
        ({"metrics": ["rfid"]}, UsageError, "whole sets"),
        ({"within": {"ssim": 0.1}, "metrics": ["psnr"]}, UsageError, "none of the metrics"),
        ({"within": {"psnr": 0.0}}, UsageError, "more than 0"),
        ({"budget": 2}, UsageError, "budget of 2"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(
    more: dict[str, Any], error: type[Exception], text: str, images: Path
) -> None:
    with pytest.raises(error, match=text):
        every(5, images, **more)
    with pytest.raises(UsageError, match="every 0"):
        every(0, images)


class Broken(ToyVAE):
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents[:, :1]


def test_a_failure_while_training_is_a_warning_unless_strict(images: Path) -> None:
    with pytest.warns(UserWarning, match="cvbench at step 5: Broken failed"):
        assert every(5, images, budget=4, strict=False)(5, Broken()) is None
    with pytest.raises(NothingScored):
        every(5, images, budget=4)(5, Broken())


def test_samples_that_failed_are_named(images: Path, tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes((images / f"{i:02}.png").read_bytes())
    (tmp_path / "7.png").write_bytes(b"no picture")
    found = every(1, tmp_path).measure(1, ToyVAE())
    assert list(found.failed) == [f"{tmp_path.name}/7.png"]
    assert {e.n for e in found.scores.values()} == {7}


class Fails(ToyVAE):
    """Gives no numbers for some of the pictures it is shown."""

    def __init__(self, *times: int) -> None:
        super().__init__()
        self.times, self.shown = times, 0

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        self.shown += 1
        made = super().decode(latents)
        return made * float("nan") if self.shown in self.times else made


@pytest.mark.parametrize("strict", [False, True])
def test_pictures_without_numbers_do_not_end_the_training(strict: bool, images: Path, tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes((images / f"{i:02}.png").read_bytes())
    monitor = every(1, tmp_path, batch=1, strict=strict)
    found = monitor(1, Fails(2, 3, 5))
    assert found is not None
    assert {e.n for e in found.scores.values()} == {5}
    monitor = every(1, tmp_path, batch=1, strict=False)
    with pytest.warns(UserWarning, match="5 of 8 samples gave a number: too few"):
        assert monitor(1, Fails(2, 3, 4)) is None


def test_images_are_no_part_of_what_flicker_is_estimated_of(tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / f"clip{i}").mkdir()
        for k, frame in enumerate(scene(3, 32, 32, i).transpose(1, 2, 3, 0)):
            Image.fromarray(frame).save(tmp_path / f"clip{i}" / f"{k}.png")
    for i in range(3):
        Image.fromarray(scene(1, 32, 32, i)[:, 0].transpose(1, 2, 0)).save(tmp_path / f"image{i}.png")
    asked: Any = {"metrics": ["psnr", "flicker"], "protocol": "cvbench-1", "changes": {"size": 32, "frames": 3}}
    found = EveryN(1, str(tmp_path), **asked).measure(1, ToyVAE())
    assert [found.scores[f"{tmp_path.name}/{name}"].of for name in ("psnr", "flicker")] == [11, 8]
    assert found.failed == {}
    assert cvbench.evaluate(ToyVAE(), str(tmp_path), **asked).scores["flicker"].n == 8


def test_a_metric_without_numbers_costs_the_others_nothing(images: Path) -> None:
    found = every(1, images, metrics=["psnr", "flicker"], budget=4).measure(1, ToyVAE())
    assert list(found.scores) == [f"{images.name}/psnr"]
    assert "too few" in found.failed[f"{images.name}/flicker"]


@pytest.fixture(scope="module")
def found(images: Path) -> Monitored:
    return every(1, images, budget=4, pictures=2).measure(7, ToyVAE())


def test_pictures_are_the_same_samples_every_time(images: Path, found: Monitored) -> None:
    again = every(1, images, budget=8, pictures=2).measure(8, ToyVAE())
    assert [p.id for p in again.pictures] == [p.id for p in found.pictures] == ["00.png", "39.png"]
    pair = loggers.picture(found.pictures[0])
    assert pair.shape == (64, 32, 3)
    assert np.array_equal(pair[:32], found.pictures[0].target[:, 0].transpose(1, 2, 0))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_back_what_was_logged(found: Monitored, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        loggers.TensorBoard(writer).log(found)
    events = EventAccumulator(str(tmp_path)).Reload()
    for name, value in loggers.numbers(found).items():
        (event,) = events.Scalars(name)
        assert (event.step, event.value) == (7, pytest.approx(value))
    assert len(events.Tags()["images"]) == 2


@pytest.mark.large
@pytest.mark.filterwarnings("ignore")
def test_wandb_takes_it_offline(found: Monitored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    with wandb.init(project="p", mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True)) as run:
        loggers.WandB(run).log(found)
        summary = dict(run.summary)
    assert {k: summary[k] for k in loggers.numbers(found)} == pytest.approx(loggers.numbers(found))
    assert summary["cvbench/step"] == 7
    assert len(list(tmp_path.rglob("*.png"))) == 2


@pytest.mark.filterwarnings("ignore")
def test_trackio_takes_it(found: Monitored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    trackio = pytest.importorskip("trackio", reason="trackio takes Pillow below 13 alone: pip install cvbench[trackio]")
    run = trackio.init(project="p", name="r", embed=False)
    loggers.Trackio(run).log(found)
    trackio.finish()
    (held,) = trackio.Api().runs("p")
    assert held.name == "r"


def test_accelerate_passes_it_to_its_trackers(found: Monitored, images: Path) -> None:
    from accelerate import Accelerator
    from accelerate.tracking import GeneralTracker

    class Kept(GeneralTracker):
        name, requires_logging_directory = "kept", False

        def __init__(self) -> None:
            super().__init__()
            self.scores: dict[str, float] = {}
            self.images: dict[str, Any] = {}

        @property
        def tracker(self) -> None:
            return None

        def store_init_configuration(self, values: dict[str, Any]) -> None:
            pass

        def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
            assert step == 7
            self.scores = values

        def log_images(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
            self.images = values

    tracker = Kept()
    accelerator = Accelerator(cpu=True, log_with=tracker)
    accelerator.init_trackers("p")
    loggers.Accelerate(accelerator).log(found)
    assert tracker.scores == loggers.numbers(found)
    assert [images.shape for images in tracker.images.values()] == [(1, 64, 32, 3)] * 2
    assert every(1, images, budget=4).measure(7, accelerator.prepare(ToyVAE())).values


@pytest.mark.parametrize("name", ["TensorBoard", "WandB", "Trackio", "Accelerate"])
def test_a_logger_says_what_it_wants(name: str) -> None:
    with pytest.raises(UsageError, match="not a str"):
        getattr(loggers, name)("runs/1")


@pytest.mark.large
@pytest.mark.filterwarnings("ignore")
def test_lightning_calls_it_and_logs(images: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.loggers import CSVLogger

    from cvbench.integrations.lightning import Monitor

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.vae = ToyVAE()

        def training_step(self, batch: torch.Tensor, _index: int) -> torch.Tensor:
            return (self.vae(batch) - batch).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    monitor = Monitor(3, str(images), ["psnr"], "cvbench-1", changes=SMALL, budget=4, model="vae", strict=True)
    trainer = Trainer(
        max_steps=7, callbacks=[monitor], logger=CSVLogger(str(tmp_path)), accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1, enable_checkpointing=False, barebones=False,
    )  # fmt: skip
    trainer.fit(Module(), torch.utils.data.DataLoader(torch.rand(16, 3, 1, 8, 8), 2))  # type: ignore[arg-type]
    assert [m.step for m in monitor.monitor.history] == [3, 6]
    assert monitor.found is not None
    assert f"cvbench/{images.name}/psnr" in next(tmp_path.rglob("metrics.csv")).read_text()
    with pytest.raises(UsageError, match="no attribute net"):
        Monitor(1, str(images), model="net")._autoencoder(Module())


def free_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


@pytest.mark.large
def test_two_ranks_train_as_without_it_and_find_what_one_finds(images: Path, tmp_path: Path) -> None:
    script, port = Path(__file__).parent / "training.py", free_port()
    lines = [[sys.executable, str(script), str(images), str(tmp_path), str(rank), "2", port] for rank in (0, 1)]
    processes = [subprocess.Popen(line) for line in lines]
    assert [process.wait(300) for process in processes] == [0, 0]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["equal"]
    assert second["equal"]
    assert first["found"] == second["found"]
    assert len(first["found"]) == 5
    assert {n for step in first["found"] for *_, n in step.values()} == {16}
    assert {k: first[k] for k in ("PSNR", "SSIM")} == {k: second[k] for k in ("PSNR", "SSIM")} == collected(0, 1)
