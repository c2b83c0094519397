"""What a viewer would say, by packages of the extra `perceptual`: ColorVideoVDP, FLIP and VMAF. No weights."""

import importlib
import sys
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from cvbench.core.errors import Unavailable, UnsuitableInput
from cvbench.nets.tensors import Video
from cvbench.probes import PROBES, Rows
from cvbench.probes.filters import to_planes
from cvbench.probes.pixel import check_shape, finite

LEAST_SIDE = {"cvvdp": 16, "vmaf": 17}
WHOLE = 1 << 30  # what came before a frame counts, and in VMAF what comes after it
Luma = Float32[Tensor, "t 1 h w"]
"""Y' of BT.709, 8 bits, 16 to 235."""


def check_sides(name: str, video: Video) -> None:
    """Raise UnsuitableInput for frames that the package `name` fails on, or says nothing of."""
    height, width = video.shape[-2:]
    if min(height, width) < LEAST_SIDE[name]:
        raise UnsuitableInput(f"{name} needs sides of {LEAST_SIDE[name]} px or more, got {height}×{width}")


class Cvvdp:
    """ColorVideoVDP of each clip in JOD, 10 for what nobody tells from the target, one number a clip.

    Each step down, three of four viewers prefer the higher one. Frames are shown on the package's display model
    `display` at `display_fps` frames a second, an image as an image. Mantiuk et al., "ColorVideoVDP: A visual
    difference predictor for image, video and display distortions", ACM TOG 43:4 (2024). Equals the package's command
    line on the same pixels. Raises UnsuitableInput for sides below 16 px.
    """

    version, frames_at_once = PROBES["cvvdp"].version, WHOLE

    def __init__(self, device: torch.device, display: str, display_fps: int) -> None:
        self.device, self.fps = device, display_fps
        self.net = _pycvvdp().cvvdp(display_name=display, device=device, quiet=True)

    def prepare(self, target: Video) -> Video:
        """Return the target."""
        check_sides("cvvdp", target)
        return target

    @torch.inference_mode()
    def rows(self, recon: Video, prepared: Tensor) -> Float64[np.ndarray, "1"]:
        """One value a clip."""
        check_shape(recon, prepared.shape)
        shown = (finite(video).to(self.device, torch.float32)[None] for video in (recon, prepared))
        quality, _ = self.net.predict(*shown, dim_order="BCFHW", frames_per_second=self.fps)
        return np.array([float(quality)])


def _pycvvdp() -> ModuleType:
    """Import the package, and take back what its import adds to the places where modules are looked for."""
    places = list(sys.path)
    try:
        return importlib.import_module("pycvvdp")
    except Exception as error:  # it imports readers of many formats, which raise anything
        raise Unavailable(f"cvvdp: the package does not import ({type(error).__name__}: {error})") from error
    finally:
        sys.path[:] = places


class Flip:
    """LDR-FLIP of each frame, mean over pixels, in [0, 1]; 0 for equal frames: what is seen when two are alternated.

    67 pixels a degree, the package's default. Andersson et al., "FLIP: A Difference Evaluator for Alternating Images",
    HPG 2020. The mean is taken in float64 of the package's map, so that threads do not move it.
    """

    version, frames_at_once = PROBES["flip"].version, 16

    def prepare(self, target: Video) -> Video:
        """Return the target."""
        return target

    def rows(self, recon: Video, prepared: Tensor) -> Rows:
        """One value a frame."""
        import flip_evaluator

        check_shape(recon, prepared.shape)
        pairs = zip(*(_pictures(video) for video in (prepared, recon)), strict=True)
        maps = (flip_evaluator.evaluate(*pair, "LDR", applyMagma=False, computeMeanError=False)[0] for pair in pairs)
        return np.array([each.mean(dtype=np.float64) for each in maps])


def _pictures(video: Video) -> Float32[np.ndarray, "t h w 3"]:
    return np.ascontiguousarray(finite(video).detach().permute(1, 2, 3, 0).to("cpu", torch.float32).numpy())


class Vmaf:
    """VMAF v0.6.1 of each frame, 0 to 100: VIF, detail loss and motion of luma, put together by a trained regression.

    `vmaf_torch` in float32, cut to the range as libvmaf does; equal frames give 97 to 100. Frames are 8-bit Y' of
    BT.709, not scaled to the 1080 lines that its training showed at three screen heights. NEG rewards no sharpening. Li
    et al., "Toward a practical perceptual video quality metric" (2016). Raises UnsuitableInput for sides below 17 px.
    """

    frames_at_once = WHOLE

    def __init__(self, device: torch.device, *, neg: bool = False) -> None:
        import vmaf_torch

        self.version, self.device = PROBES["vmaf-neg" if neg else "vmaf"].version, device
        self.net = vmaf_torch.VMAF(clip_score=True, NEG=neg).to(device).eval()

    @torch.inference_mode()
    def prepare(self, target: Video) -> tuple[torch.Size, Luma, Float32[Tensor, "t 1"]]:
        """Return the target's luma, and its motion: of each frame the lesser change from and to a neighbour."""
        check_sides("vmaf", target)
        luma = self._luma(target)
        zero = luma.new_zeros(1, 1)
        changes = [self.net.motion.motion(luma[k : k + 2])[1:] for k in range(len(luma) - 1)]
        before, after = torch.cat([zero, *changes]), torch.cat([*changes, *(changes[-1:] or [zero])])
        return target.shape, luma, torch.minimum(before, after)

    @torch.inference_mode()
    def rows(self, recon: Video, prepared: tuple[torch.Size, Tensor, Tensor]) -> Rows:
        """One value a frame."""
        shape, luma, motion = prepared
        check_shape(recon, shape)
        frames = zip(luma[:, None], self._luma(recon)[:, None], motion[:, None], strict=True)
        found = [self._score(*each) for each in frames]
        return np.array(found, np.float64)

    def _score(self, target: Tensor, recon: Tensor, motion: Tensor) -> float:
        detail, fidelity = (f(target, recon) for f in (self.net.compute_adm_score, self.net.compute_vif_features))
        return float(self.net.predict(detail, motion, fidelity))

    def _luma(self, video: Video) -> Luma:
        return torch.from_numpy(to_planes(video)[:, :1].astype(np.float32)).to(self.device)


def vmaf_neg(device: torch.device) -> Vmaf:
    """VMAF that rewards no enhancement."""
    return Vmaf(device, neg=True)
