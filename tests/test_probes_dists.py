"""DISTS against torchmetrics' port: a deterministic backbone, the published weights that torchmetrics carries."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchmetrics
from test_probes_perceptual import backbone, pair
from torch import Tensor, nn
from torchmetrics.functional.image import dists as reference
from torchvision.models.vgg import cfgs, make_layers

from cvbench.core.errors import BadWeights, MissingWeights, UnsuitableInput
from cvbench.probes import PROBES, load_probe, weights_of
from cvbench.probes.dists import Dists
from cvbench.weights import file_digest

CPU = torch.device("cpu")
WEIGHTS = Path(torchmetrics.__file__).parent / "functional" / "image" / "dists_models" / "weights.pt"


@cache
def probe() -> Dists:
    return Dists(backbone("vgg"), WEIGHTS, CPU)


def rows(recon: Tensor, target: Tensor) -> list[float]:
    found: list[float] = probe().rows(recon, probe().prepare(target)).tolist()
    return found


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """torchmetrics' network with our backbone."""
    layers = SimpleNamespace(features=make_layers(cfgs["D"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "vgg16", lambda weights: layers)
        net = reference.DISTSNetwork()
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            place = name.rpartition(".")[2]
            module.load_state_dict({k: backbone("vgg")[f"features.{place}.{k}"] for k in ("weight", "bias")})
    return net.eval()


@pytest.mark.parametrize("size", [(64, 48), (33, 47), (16, 16)])
def test_it_equals_torchmetrics(theirs: nn.Module, size: tuple[int, int]) -> None:
    target, recon = pair(*size)
    with torch.no_grad():
        expected = theirs(recon.transpose(0, 1), target.transpose(0, 1)).flatten()
    assert rows(recon, target) == pytest.approx(expected.tolist(), abs=2e-5)


def test_the_published_weights_are_those_of_the_registry() -> None:
    assert file_digest(WEIGHTS) == PROBES["dists"].beside["dists"].sha256


def test_equal_frames_are_0_and_noise_is_further_away_the_more_there_is() -> None:
    target, near = pair(48, 40, deviation=0.02)
    _, far = pair(48, 40, deviation=0.2)
    assert rows(target, target) == [0.0, 0.0]
    assert all(0 < x < y < 1 for x, y in zip(rows(near, target), rows(far, target), strict=True))


def test_neither_neighbours_nor_order_move_it() -> None:
    target, recon = pair(40, 56, frames=3)
    whole = rows(recon, target)
    assert whole == [rows(recon[:, k : k + 1], target[:, k : k + 1])[0] for k in range(3)]
    assert rows(target, recon) == pytest.approx(whole, rel=1e-9)


def test_small_frames_and_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsuitableInput, match="16 px"):
        probe().prepare(torch.zeros(3, 1, 15, 40))
    with pytest.raises(BadWeights, match="alpha"):
        Dists(backbone("vgg"), {"beta": torch.zeros(1, 1475, 1, 1)}, CPU)
    assert list(weights_of("dists")) == ["lpips-vgg", "dists"]
    with pytest.raises(MissingWeights, match="vgg16-397923af"):
        load_probe("dists", CPU, {"lpips-vgg": tmp_path / "vgg16-397923af.pth", "dists": WEIGHTS})
