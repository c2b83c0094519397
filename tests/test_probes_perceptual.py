"""LPIPS against recorded values and the published package, with deterministic backbones."""

from functools import cache
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
from golden import weights
from golden.pixel_cases import RECORDED, videos
from safetensors.torch import save_file
from torch import Tensor

from cvbench.core.errors import BadOutput, BadWeights, UnsuitableInput
from cvbench.probes import PROBES, PairProbe, load_probe
from cvbench.probes.perceptual import Lpips

NETS = ["alex", "vgg"]
LEAST = {"alex": 31, "vgg": 16}


@cache
def backbone(net: str) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in weights.state_dict(RECORDED["backbones"][net]).items()}


@cache
def probe(net: str) -> Lpips:
    return Lpips(net, backbone(net))


def distances(net: str, recon: Tensor, target: Tensor) -> np.ndarray:
    return probe(net).rows(recon, probe(net).prepare(target))


def pair(height: int, width: int, frames: int = 2, deviation: float = 0.1) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    target = torch.rand(3, frames, height, width, generator=random)
    return target, (target + deviation * torch.randn(target.shape, generator=random)).clamp(0, 1)


@cache
def package(net: str) -> lpips.LPIPS:
    """The published package, its backbone replaced by ours."""
    theirs = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    names = {name: name.split(".") for name in theirs.net.state_dict()}
    theirs.net.load_state_dict({k: backbone(net)[f"features.{place}.{kind}"] for k, (_, place, kind) in names.items()})
    return theirs


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("case", ["image1", "image2", "clip"])
def test_each_frame_has_the_recorded_distance(net: str, case: str) -> None:
    target, recon = videos(case)
    assert distances(net, recon, target) == pytest.approx(RECORDED[case][f"lpips_{net}_per_frame"], rel=1e-5)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("case", ["image1", "image2", "clip"])
def test_each_layer_adds_what_was_recorded(net: str, case: str) -> None:
    target, recon = (video[:, :1] for video in videos(case))
    layers = probe(net).layers(recon, probe(net).prepare(target))
    assert layers[0].tolist() == pytest.approx(RECORDED[case][f"lpips_{net}_layers_frame0"], rel=1e-5)


# the package calls torchvision with arguments that were renamed in 0.13
@pytest.mark.filterwarnings("ignore:The parameter 'pretrained' is deprecated", "ignore:Arguments other than a weight")
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("size", [(31, 47), (96, 64)])
def test_it_equals_the_published_package(net: str, size: tuple[int, int]) -> None:
    target, recon = pair(*size)
    with torch.no_grad():
        theirs = package(net)(recon.transpose(0, 1), target.transpose(0, 1), normalize=True).flatten()
    assert distances(net, recon, target) == pytest.approx(theirs.tolist(), rel=1e-6)


@pytest.mark.parametrize("net", NETS)
def test_equal_frames_have_distance_zero(net: str) -> None:
    target, _ = pair(48, 40)
    assert distances(net, target, target).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("net", NETS)
def test_black_and_constant_frames_have_a_finite_distance(net: str) -> None:
    black = torch.zeros(3, 1, 32, 32)
    assert np.isfinite(distances(net, torch.ones_like(black), black)).all()


@pytest.mark.parametrize("net", NETS)
def test_swapping_reconstruction_and_target_changes_nothing(net: str) -> None:
    target, recon = pair(48, 40)
    assert distances(net, recon, target) == pytest.approx(distances(net, target, recon), rel=1e-12)


@pytest.mark.parametrize("net", NETS)
def test_more_noise_is_further_away(net: str) -> None:
    near, far = (distances(net, *reversed(pair(48, 40, deviation=d))) for d in (0.02, 0.2))
    assert (near < far).all()


@pytest.mark.parametrize("net", NETS)
def test_where_a_clip_is_cut_changes_no_bit(net: str) -> None:
    target, recon = pair(40, 56, frames=5)
    whole = distances(net, recon, target)
    pieces = zip(recon.split(2, 1), target.split(2, 1), strict=True)
    assert np.array_equal(np.concatenate([distances(net, x, y) for x, y in pieces]), whole)
    assert whole.shape == (5,)
    assert whole.dtype == np.float64
    assert len(set(whole.tolist())) == 5


def test_target_features_serve_many_reconstructions_unchanged() -> None:
    target, recon = pair(40, 40)
    prepared = probe("alex").prepare(target)
    first = probe("alex").rows(recon, prepared)
    probe("alex").rows(1 - recon, prepared)
    assert np.array_equal(probe("alex").rows(recon, prepared), first)


@pytest.mark.parametrize("net", NETS)
def test_frames_that_pooling_leaves_empty_are_refused(net: str) -> None:
    least = LEAST[net]
    assert distances(net, *pair(least, least)).shape == (2,)
    with pytest.raises(UnsuitableInput, match=f"{least} px or more, got {least}×{least - 1}"):
        distances(net, *pair(least, least - 1))


def test_a_reconstruction_of_another_shape_is_refused() -> None:
    prepared = probe("alex").prepare(torch.zeros(3, 2, 40, 40))
    with pytest.raises(BadOutput, match=r"its target \(3, 2, 40, 40\)"):
        probe("alex").rows(torch.zeros(3, 2, 40, 41), prepared)


def test_missing_and_misshaped_weights_are_named() -> None:
    broken = dict(backbone("alex"))
    del broken["features.6.bias"]
    broken["features.3.weight"] = broken["features.3.weight"][:, :32]
    with pytest.raises(BadWeights, match=r"features\.6\.bias") as caught:
        Lpips("alex", broken)
    assert "features.3.weight (192, 32, 5, 5) instead of (192, 64, 5, 5)" in str(caught.value)


def test_the_backbone_of_the_other_net_is_refused() -> None:
    with pytest.raises(BadWeights, match="another architecture"):
        Lpips("vgg", backbone("alex"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_torchvisions_whole_classifier_is_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"whole{suffix}"
    state = {**backbone("alex"), "classifier.1.weight": torch.zeros(4, 4), "classifier.1.bias": torch.zeros(4)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = Lpips("alex", path)
    target, recon = pair(40, 40)
    assert np.array_equal(loaded.rows(recon, loaded.prepare(target)), distances("alex", recon, target))


def test_a_backbone_that_is_not_the_published_one_makes_no_lpips(tmp_path: Path) -> None:
    torch.save(backbone("alex"), tmp_path / "mine.pth")
    with pytest.raises(BadWeights, match=r"mine\.pth is not alexnet-owt-7be5be79\.pth"):
        load_probe("lpips-alex", torch.device("cpu"), {"lpips-alex": tmp_path / "mine.pth"})


@pytest.mark.parametrize("net", NETS)
def test_the_registry_lists_the_probe_as_it_is(net: str) -> None:
    entry = PROBES[f"lpips-{net}"]
    assert isinstance(probe(net), PairProbe)
    assert probe(net).version == entry.version
    assert net in entry.version


@pytest.mark.parametrize("net", NETS)
def test_the_pinned_hash_begins_with_the_digits_in_torchvisions_file_name(net: str) -> None:
    source = PROBES[f"lpips-{net}"].source
    assert source is not None
    digits = Path(source.files[0]).stem.rpartition("-")[2]
    assert len(source.sha256) == 64
    assert source.sha256.startswith(digits)
    assert source.url.endswith(source.files[0])
