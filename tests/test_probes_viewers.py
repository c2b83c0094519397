"""What a viewer would say, against the packages themselves and against libvmaf's own numbers."""

import importlib.metadata
import logging
import sys

import flip_evaluator
import numpy as np
import pytest
import torch
from test_probes_filters import noisy

from cvbench.core.errors import BadOutput, Unavailable, UnsuitableInput
from cvbench.core.fields import EvalProtocol
from cvbench.probes import PROBES, PairProbe, load_probe, probe_version

CPU = torch.device("cpu")
NAMES = ("cvvdp", "flip", "vmaf", "vmaf-neg")
EQUAL = {"cvvdp": 10.0, "flip": 0.0, "vmaf": 100.0, "vmaf-neg": 100.0}
SHAPE = (3, 3, 96, 128)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # cvvdp's import looks for a compiler


@pytest.fixture(scope="module")
def probes() -> dict[str, PairProbe]:
    return {name: load_probe(name, CPU) for name in NAMES}


def rows(probe: PairProbe, recon: torch.Tensor, target: torch.Tensor) -> list[float]:
    found: list[float] = probe.rows(recon, probe.prepare(target)).tolist()
    return found


def sharpened(video: torch.Tensor) -> torch.Tensor:
    smooth = torch.nn.functional.avg_pool2d(video, 5, 1, 2, count_include_pad=False)
    return ((video + 0.6 * (video - smooth)).clamp(0, 1) * 255).round() / 255


LIBVMAF = {
    ("vmaf", "noisy"): [89.410833, 97.190083, 97.351097],
    ("vmaf-neg", "noisy"): [85.627672, 94.076264, 93.548513],
    ("vmaf", "sharp"): [99.054984, 100.0, 100.0],
    ("vmaf-neg", "sharp"): [95.568287, 100.0, 100.0],
}
"""By FFmpeg 9.0's filter libvmaf, models vmaf_v0.6.1 and vmaf_v0.6.1neg, on the same luma. It computes in integers."""


@pytest.mark.parametrize(("name", "kind"), LIBVMAF)
def test_vmaf_is_libvmafs(probes: dict[str, PairProbe], name: str, kind: str) -> None:
    recon, target = noisy(SHAPE)
    recon = recon if kind == "noisy" else sharpened(target)
    assert rows(probes[name], recon, target) == pytest.approx(LIBVMAF[name, kind], abs=0.1)


def test_flip_is_the_packages_own_mean(probes: dict[str, PairProbe]) -> None:
    recon, target = noisy(SHAPE)
    pictures = [[frame.permute(1, 2, 0).numpy().copy() for frame in video.unbind(1)] for video in (target, recon)]
    expected = [flip_evaluator.evaluate(*pair, "LDR")[1] for pair in zip(*pictures, strict=True)]
    assert rows(probes["flip"], recon, target) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("display", ["standard_4k", "standard_phone"])
def test_cvvdp_is_the_packages_on_bytes_in_its_own_order(display: str) -> None:
    import pycvvdp

    recon, target = noisy(SHAPE)
    images = [(255 * video.permute(1, 2, 3, 0)).round().to(torch.uint8).numpy() for video in (recon, target)]
    theirs = pycvvdp.cvvdp(display_name=display, device=CPU, quiet=True)
    with torch.no_grad():
        expected, _ = theirs.predict(*images, dim_order="FHWC", frames_per_second=24)
    probe = load_probe("cvvdp", CPU, protocol=EvalProtocol("", 1, display=display, display_fps=24))
    assert rows(probe, recon, target) == pytest.approx([float(expected)], abs=1e-5)


def test_display_and_pace_move_cvvdp(probes: dict[str, PairProbe]) -> None:
    recon, target = noisy(SHAPE)
    fields: list[dict[str, object]] = [{}, {"display": "standard_phone"}, {"display_fps": 8}]
    found = [rows(load_probe("cvvdp", CPU, protocol=EvalProtocol("", 1, **f)), recon, target)[0] for f in fields]
    assert len({round(value, 2) for value in found}) == 3


@pytest.mark.parametrize("name", NAMES)
def test_equal_frames_are_best_and_more_noise_is_worse(probes: dict[str, PairProbe], name: str) -> None:
    probe, (_, target) = probes[name], noisy(SHAPE)
    assert rows(probe, target, target) == pytest.approx([EQUAL[name]] * (1 if name == "cvvdp" else 3), abs=3)
    values = [np.mean(rows(probe, noisy(SHAPE, sigma)[0], target)) for sigma in (0.01, 0.03, 0.1)]
    assert values == sorted(values, reverse=name != "flip")


@pytest.mark.parametrize("name", NAMES)
def test_what_was_measured_before_moves_nothing(probes: dict[str, PairProbe], name: str) -> None:
    recon, target = noisy(SHAPE)
    before = rows(probes[name], recon, target)
    image, small = noisy((3, 1, 33, 47))
    assert np.isfinite(rows(probes[name], image, small)).all()
    assert rows(probes[name], recon, target) == before


def test_a_frame_of_vmaf_depends_on_its_neighbours_alone(probes: dict[str, PairProbe]) -> None:
    recon, target = noisy((3, 5, 64, 64))
    whole = rows(probes["vmaf"], recon, target)
    assert rows(probes["vmaf"], recon[:, :4], target[:, :4])[:3] == whole[:3]


@pytest.mark.parametrize(("name", "least"), [("cvvdp", 16), ("vmaf", 17)])
def test_frames_that_are_too_small_are_refused(probes: dict[str, PairProbe], name: str, least: int) -> None:
    with pytest.raises(UnsuitableInput, match=f"sides of {least} px"):
        probes[name].prepare(noisy((3, 1, least - 1, 64))[1])
    recon, target = noisy((3, 2, least, 64))
    assert np.isfinite(rows(probes[name], recon, target)).all()


def test_flip_takes_any_size(probes: dict[str, PairProbe]) -> None:
    for size in ((1, 1), (1, 9), (7, 3)):
        assert np.isfinite(rows(probes["flip"], *noisy((3, 1, *size)))).all()


@pytest.mark.parametrize("name", [*NAMES, "xpsnr", "vif"])
def test_what_is_no_number_gives_none(name: str) -> None:
    recon, target = noisy((3, 2, 64, 64))
    recon[0, 1, 3, 3] = float("nan")
    probe = load_probe(name, CPU)
    with pytest.raises(BadOutput, match="not finite"):
        probe.rows(recon, probe.prepare(target))


@pytest.mark.parametrize("name", NAMES)
def test_a_package_that_is_not_there_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert importlib.metadata.version(PROBES[name].package) in probe_version(name)

    def gone(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", gone)
    with pytest.raises(Unavailable, match=rf"{PROBES[name].package}: pip install cvbench\[perceptual\]"):
        load_probe(name, CPU)


def test_the_import_leaves_the_places_of_modules_alone(probes: dict[str, PairProbe]) -> None:
    assert not any("pycvvdp" in place for place in sys.path)
