import copy
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import scene
from PIL import Image
from torchmetrics import MetricCollection

from cvbench.core.errors import BadOutput, BadRange, Unavailable, UnknownName, UnsuitableInput, UsageError
from cvbench.core.protocol import PROTOCOLS, EvalProtocol
from cvbench.core.records import RunRecord
from cvbench.data import open_dataset
from cvbench.engine import measuring
from cvbench.engine.coding import to_videos
from cvbench.engine.loop import read_prepared
from cvbench.integrations import torchmetrics as ours
from cvbench.metrics import METRICS
from cvbench.metrics.registry import average_of, meant
from cvbench.probes import load_feature_probe
from cvbench.probes.perceptual import Lpips
from cvbench.tasks import scoring
from cvbench.tasks.evaluation import Plan
from cvbench.tasks.request import Request

PROTOCOL = EvalProtocol("small", 1, frames=9, stride=1, size=48)
SHAPES = {
    0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)
}  # fmt: skip
ALEX = {
    f"features.{place}.{part}": torch.randn(shape[:size], generator=torch.Generator().manual_seed(place)) / 20
    for place, shape in SHAPES.items()
    for part, size in (("weight", 4), ("bias", 1))
}


class Shrink:
    """A reconstruction that is not on the grid of 8 bits."""

    def encode(self, videos: torch.Tensor) -> torch.Tensor:
        return videos

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents * 0.93 + 0.021


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks drawn at random for the table and for torchmetrics, the same for both."""
    alex = Lpips("alex", ALEX)
    real = measuring.load_probe
    for module in (measuring, ours):
        monkeypatch.setattr(module, "load_probe", lambda name, *a: alex if name == "lpips-alex" else real(name, *a))
    ours._pair_probe.cache_clear()


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for n in range(4):
        for k, frame in enumerate(scene(9, 48, 64, n).transpose(1, 2, 3, 0)):
            path = tmp_path / "clips" / f"clip{n}" / f"{k:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(path)
    return tmp_path / "clips"


def table(clips: Path, names: tuple[str, ...], protocol: EvalProtocol = PROTOCOL) -> RunRecord:
    """What a run gives, feature networks drawn at random."""
    plan = Plan((str(clips),), names, protocol)
    probes = measuring.Probes([*names, "bpp"], torch.device("cpu"), {}, init="random")
    plan.probes["cpu"] = probes
    measured = plan.measure(Shrink())
    (dataset,) = Request(("m",), (str(clips),), names, protocol).datasets()
    return measured.on(dataset)[0]


def batches(clips: Path, protocol: EvalProtocol = PROTOCOL) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The very clips of the data set, in twos, and what the model makes of them."""
    items = open_dataset(str(clips), {}).items
    pixels = [read_prepared(i, item, protocol).pixels for i, item in enumerate(items)]
    targets = torch.stack([to_videos([each], torch.device("cpu"))[0] for each in pixels if each is not None])
    return [(targets[i : i + 2] * 0.93 + 0.021, targets[i : i + 2]) for i in range(0, 4, 2)]


PAIRED: dict[str, Callable[..., ours.TableMetric]] = {
    "psnr": ours.PSNR, "ssim": ours.SSIM, "flicker": ours.Flicker, "lpips-alex": lambda **o: ours.LPIPS("alex", **o),
    "cvvdp": ours.CVVDP,
}  # fmt: skip


@pytest.mark.usefixtures("networks")
def test_values_are_the_tables_to_the_last_bit(clips: Path) -> None:
    record = table(clips, tuple(PAIRED))
    metrics = MetricCollection({name: make() for name, make in PAIRED.items()})
    for preds, target in batches(clips):
        metrics.update(preds, target)
    assert {name: float(v) for name, v in metrics.compute().items()} == {n: record.scores[n].value for n in PAIRED}


@pytest.mark.parametrize("mean", ["clip", "set"])
def test_the_protocols_average_is_taken(clips: Path, mean: str) -> None:
    protocol = EvalProtocol("small", 1, frames=9, stride=1, size=48, psnr_mean=mean)  # type: ignore[arg-type]
    metric = ours.PSNR(protocol=protocol)
    for preds, target in batches(clips):
        metric.update(preds, target)
    assert float(metric.compute()) == table(clips, ("psnr",), protocol).scores["psnr"].value


READING = {
    "frames": 9, "stride": 1, "rate": "none", "spacing": "step", "start": 0, "short": "shrink", "size": 48,
    "filter": "bicubic", "antialias": True, "crop": "center", "fit": "short", "resizer": "pil8", "reader": "pyav",
}  # fmt: skip
"""How pixels are prepared, which is not what a metric does."""


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("metric", ["psnr", "ssim"])
def test_under_every_protocol_it_is_the_tables_value_or_refused(name: str, metric: str, clips: Path) -> None:
    protocol, make = replace(PROTOCOLS[name], **READING), {"psnr": ours.PSNR, "ssim": ours.SSIM}[metric]  # type: ignore[arg-type]
    average = average_of(METRICS[meant(metric, protocol)], protocol)
    if protocol.through not in ("none", "png") or (protocol.windows, average) == ("all", "clips") or average[0] == "b":
        with pytest.raises(UsageError, match="cannot be kept to"):
            make(protocol=protocol)
        return
    mine = make(protocol=protocol)
    for preds, target in batches(clips, protocol):
        mine.update(preds, target)
    found = table(clips, (mine.metric,), protocol).scores[mine.metric].value
    assert float(mine.compute()) == found


def test_what_fields_say_of_bytes_is_heeded(clips: Path) -> None:
    values = {}
    for changes in ({}, {"remap": "half"}, {"eight": "raw"}, {"eight": "floor"}, {"eight": "none"}):
        protocol = replace(PROTOCOL, **changes)  # type: ignore[arg-type]
        mine = ours.PSNR(protocol=protocol)
        for preds, target in batches(clips):
            mine.update(preds, target)
        values[str(changes)] = float(mine.compute())
        assert values[str(changes)] == table(clips, ("psnr",), protocol).scores["psnr"].value
    assert len(set(values.values())) >= 4


@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (ours.PSNR, {"through": "h264-crf23"}),
        (ours.RFVD, {"fvd_batch": 2}),
        (ours.FVD, {"fvd_batch": 2}),
        (ours.KVD, {"fvd_batch": 2}),
        (ours.FVD, {"through": "h264-crf23"}),
        (ours.FID, {"fid_resize": "tf1"}),
        (ours.FVD, {"fvd_prefixes": True}),
        (ours.FID, {"remap": "half"}),
        (ours.SSIM, {"average": "batches-4"}),
        (ours.PSNR, {"windows": "all"}),
    ],
)
def test_fields_that_tensors_alone_cannot_meet_are_refused(make: Any, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes))):
        make(protocol=replace(PROTOCOL, **changes))


def test_what_a_metric_does_not_heed_is_not_refused() -> None:
    assert ours.RKVD(protocol=replace(PROTOCOL, fvd_batch=2)).metric == "rkvd"
    assert ours.FID(protocol=replace(PROTOCOL, average="batches-4", windows="all")).metric == "fid"


def test_plain_names_mean_what_the_protocol_says() -> None:
    protocol = replace(
        PROTOCOL, ssim="padded-signed", lpips="alex", lpips_input="unit", fid_resize="tf1", fvd_prefixes=True
    )
    made = [make(protocol=protocol).metric for make in (ours.SSIM, ours.LPIPS, ours.RFID, ours.RFVD)]
    assert made == ["ssim-padded-signed", "lpips-alex-unit", "rfid-tf1", "rfvd-prefixes"]
    assert ours.LPIPS("vgg", protocol=protocol).metric == "lpips-vgg"


RECONSTRUCTED: dict[str, Callable[..., ours.OfReconstructions]] = {
    "rfid": ours.RFID, "rkid": ours.RKID, "rfvd": ours.RFVD, "rkvd": ours.RKVD
}  # fmt: skip


@pytest.mark.large
@pytest.mark.parametrize("name", RECONSTRUCTED)
def test_distances_of_sets_are_the_tables_to_the_last_bit(name: str, clips: Path) -> None:
    metric = RECONSTRUCTED[name](init="random")
    for preds, target in reversed(batches(clips)):  # the order of samples moves nothing
        metric.update(preds, target)
    assert float(metric.compute()) == table(clips, (name,)).scores[name].value


GENERATED: dict[str, Callable[..., ours.OfGenerated]] = {
    "fid": ours.FID, "kid": ours.KID, "fvd": ours.FVD, "kvd": ours.KVD
}  # fmt: skip


def of_files(clips: Path, folder: Path, names: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Scores of generated clips by `cvbench score`, which reads files, and by torchmetrics, given floats."""
    for k, video in enumerate(preds for preds, _ in batches(clips) for preds in preds):
        for t, frame in enumerate((video * 255).round().byte().permute(1, 2, 3, 0).numpy()):
            path = folder / f"made{k}" / f"{t:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(path)
    record = scoring.score(folder, clips, names, protocol=PROTOCOL, device="cpu", init="random")
    mine = {name: GENERATED[name](protocol=PROTOCOL, init="random") for name in names}
    for metric in mine.values():
        for preds, target in reversed(batches(clips)):
            metric.update(target, real=True)
            metric.update(preds, real=False)
    return {n: s.value for n, s in record.scores.items()}, {n: float(m.compute()) for n, m in mine.items()}


@pytest.mark.large
@pytest.mark.parametrize("name", GENERATED)
def test_generated_sets_are_those_of_score_to_the_last_bit(name: str, clips: Path, tmp_path: Path) -> None:
    table, mine = of_files(clips, tmp_path / "made", [name])
    assert list(table) == [name]
    assert table == mine


class Means:
    """A network of no weight: means of each frame by channel and corner."""

    version = "means"

    def rows(self, video: torch.Tensor) -> np.ndarray:
        parts = torch.nn.functional.adaptive_avg_pool2d(video.transpose(0, 1), 2).flatten(1)
        return parts.numpy()


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "_feature_probe", lambda *_: Means())


@pytest.mark.usefixtures("light")
def test_generated_sets_are_prepared_and_ordered_as_score_does(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "load_feature_probe", lambda *_: Means())
    table, mine = of_files(clips, tmp_path / "made", list(GENERATED))
    assert list(table) == list(GENERATED)
    assert table == mine


@pytest.mark.parametrize(
    "images", [torch.rand(2, 3, 9, 9) * 255, torch.rand(2, 3, 9, 9) - 1, torch.full((2, 3, 9, 9), float("nan"))]
)
def test_generated_pixels_out_of_range_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(UnsuitableInput, match="in \\[0, 1\\]"):
        ours.FID().update(images, real=False)


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("name", GENERATED)
def test_generated_sets_take_either_side_and_any_order(name: str, clips: Path) -> None:
    make = GENERATED[name]
    forwards, backwards = make(), make()
    for preds, target in batches(clips):
        forwards.update(target, real=True)
        forwards.update(preds, real=False)
    for preds, target in reversed(batches(clips)):
        backwards.update(preds.flip(0), real=False)
        backwards.update(target.flip(0), real=True)
    assert float(forwards.compute()) == float(backwards.compute())
    same = make()
    for _, target in batches(clips):
        same.update(target, real=True)
        same.update(target, real=False)
    assert float(same.compute()) == pytest.approx(0, abs=1e-6) or name in ("kid", "kvd")


@pytest.mark.usefixtures("light")
def test_a_distance_is_the_registrys_own(clips: Path) -> None:
    metric = ours.RFID()
    x, y, keys = [], [], []
    for preds, target in batches(clips):
        metric.update(preds, target)
        for recon, video in zip(preds, target, strict=True):
            x.append(Means().rows((recon * 255).round() / 255))
            y.append(Means().rows(video))
            keys.append(ours._content(video))
    order = np.argsort(keys)
    distance = METRICS["rfid"].distance
    assert distance is not None
    groups = np.repeat(np.arange(4), 9)
    expected = distance(np.concatenate([x[i] for i in order]), np.concatenate([y[i] for i in order]), groups, groups)
    assert float(metric.compute()) == expected.value


@pytest.mark.large
def test_pytorch_fids_network_gives_our_features(tmp_path: Path) -> None:
    pytest.importorskip("pytorch_fid")
    net = load_feature_probe("inception", torch.device("cpu"), init="random")
    state = {**net.net.state_dict(), "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}  # type: ignore[attr-defined]
    torch.save(state, tmp_path / "inception.pth")
    video = torch.from_numpy(scene(2, 64, 80)).float() / 255
    theirs = ours.PytorchFid(tmp_path / "inception.pth", torch.device("cpu")).rows(video)
    scale = np.abs(theirs).max()
    assert np.abs(net.rows(video) - theirs).max() < 1e-5 * scale


def test_forward_gives_the_batchs_value_and_keeps_the_whole(clips: Path) -> None:
    metric, alone = ours.PSNR(), ours.PSNR()
    (first, second) = batches(clips)
    metric(*first)
    alone.update(*second)
    assert metric(*second) == alone.compute()
    assert len(ours._joined(metric.sample_values)) == 4
    metric.reset()
    with pytest.warns(UserWarning, match="before the"), pytest.raises(UnsuitableInput, match="no sample"):
        metric.compute()


def test_bytes_and_images_are_taken() -> None:
    images = torch.from_numpy(scene(3, 32, 32).transpose(1, 0, 2, 3).copy())
    noisy = (images.int() + 3).clamp(0, 255).byte()
    floats, whole = ours.PSNR(), ours.PSNR()
    floats.update(noisy.float() / 255, images.float() / 255)
    whole.update(noisy, images)
    assert floats.compute() == whole.compute()


@pytest.mark.parametrize(
    ("preds", "target", "error", "text"),
    [
        (torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 17), UnsuitableInput, "equal shapes"),
        (torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16), UnsuitableInput, "RGB"),
        (torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16) * 2 - 1, UnsuitableInput, r"in \[-"),
        (torch.rand(2, 3, 16, 16) * 255, torch.rand(2, 3, 16, 16), BadRange, "value range"),
        (torch.full((2, 3, 16, 16), float("nan")), torch.rand(2, 3, 16, 16), BadOutput, "NaN"),
        (torch.ones(2, 3, 16, 16).int(), torch.rand(2, 3, 16, 16), UnsuitableInput, "uint8"),
        (torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8), UnsuitableInput, "11 px"),
    ],
)
def test_what_would_give_a_wrong_number_is_refused(preds: Any, target: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        ours.SSIM().update(preds, target)


def test_names_are_checked() -> None:
    with pytest.raises(UnknownName, match="psnr"):
        ours.Paired("psrn")
    for wrong, make in (("rfid", ours.Paired), ("bpp", ours.Paired), ("psnr", ours.OfReconstructions)):
        with pytest.raises(UsageError):
            make(wrong)


def test_networks_are_of_their_metrics() -> None:
    for make in (ours.FVD, ours.RKVD):
        with pytest.raises(UsageError, match="leave it out"):
            make(network="pytorch-fid")
    with pytest.raises(UsageError, match="leave it out"):
        ours.FID(network="torch-fidelity")
    with pytest.raises(Unavailable, match="weights=PATH"):
        ours.FID(network="pytorch-fid").update(torch.rand(2, 3, 9, 9), real=True)


def test_metrics_are_cloned_pickled_and_told_which_way_is_better() -> None:
    collection = MetricCollection([ours.PSNR(), ours.SSIM()])
    images = (torch.rand(2, 3, 16, 16) * 255).round() / 255
    for made in (copy.deepcopy(collection), pickle.loads(pickle.dumps(collection)), collection.clone(prefix="val/")):
        made.update(images, images)
        assert sorted(float(v) for v in made.compute().values()) == [1.0, 100.0]
    assert ours.PSNR().higher_is_better
    assert not ours.Flicker().higher_is_better
