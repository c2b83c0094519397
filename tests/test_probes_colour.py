"""CIEDE2000 against the paper's own pairs and scikit-image."""

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, rgb2lab

from cvbench.core.errors import BadOutput
from cvbench.probes import load_probe
from cvbench.probes.colour import Ciede2000, Ciede2000P95, delta_e

PAIRS = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0010), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, -0.001, 2.49), (50, 0.0011, -2.49), 4.7461),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]
"""Of table 1 of Sharma, Wu and Dalal 2005."""


@pytest.mark.parametrize(("first", "second", "expected"), PAIRS)
def test_it_gives_the_published_differences(
    first: tuple[float, ...], second: tuple[float, ...], expected: float
) -> None:
    x, y = (torch.tensor(lab, dtype=torch.float64) for lab in (first, second))
    assert float(delta_e(x, y)) == pytest.approx(expected, abs=5e-5)
    assert float(delta_e(y, x)) == pytest.approx(expected, abs=5e-5)


def frames(height: int = 40, width: int = 56, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    target = torch.rand(3, count, height, width, generator=random)
    target[:, 0, :8] = target[:1, 0, :8]  # greys have no hue
    noise = 0.1 * torch.randn(target.shape, generator=random)
    noise[:, 0, :4] = noise[:1, 0, :4]
    return target, (target + noise).clamp(0, 1)


def test_it_equals_scikit_image() -> None:
    target, recon = frames()
    labs = [rgb2lab(video.double().permute(1, 2, 3, 0).numpy()) for video in (target, recon)]
    expected = deltaE_ciede2000(*labs)
    for probe, reduce in ((Ciede2000(), np.mean), (Ciede2000P95(), lambda e: np.percentile(e, 95))):
        rows = probe.rows(recon, probe.prepare(target))
        assert rows.tolist() == pytest.approx([reduce(each) for each in expected], abs=1e-6)


def test_black_and_white_are_a_hundred_apart_and_equal_frames_nothing() -> None:
    black, white = torch.zeros(3, 1, 1, 1), torch.ones(3, 1, 1, 1)
    for probe in (Ciede2000(), Ciede2000P95()):
        assert probe.rows(white, probe.prepare(black)).tolist() == pytest.approx([100.0], abs=1e-3)
        target, _ = frames()
        assert probe.rows(target, probe.prepare(target)).tolist() == [0.0] * 3


def test_one_wrong_pixel_in_ten_is_seen_by_the_percentile_alone() -> None:
    target = torch.full((3, 1, 10, 10), 0.5)
    recon = target.clone()
    recon[0, :, 0] = 1.0
    mean, tail = (probe.rows(recon, probe.prepare(target))[0] for probe in (Ciede2000(), Ciede2000P95()))
    assert tail == pytest.approx(10 * mean)


def test_a_frame_does_not_depend_on_its_neighbours_nor_on_the_order() -> None:
    target, recon = frames()
    probe = load_probe("ciede2000", torch.device("cpu"))
    whole = probe.rows(recon, probe.prepare(target))
    alone = [probe.rows(recon[:, k : k + 1], probe.prepare(target[:, k : k + 1]))[0] for k in range(3)]
    assert whole.tolist() == alone
    assert probe.rows(target, probe.prepare(recon)) == pytest.approx(whole, rel=1e-12)


def test_another_shape_is_refused() -> None:
    target, recon = frames()
    with pytest.raises(BadOutput, match="trim or crop"):
        Ciede2000().rows(recon[..., :-1], Ciede2000().prepare(target))
