"""The short loop in which pixels meet the model: prepare, reconstruct, probe."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float

from cvbench.core.errors import BadOutput, CvbenchError, UnsuitableInput
from cvbench.core.protocol import EvalProtocol
from cvbench.core.types import Pixels, Traits
from cvbench.nets.tensors import Latents, Video, Videos, VideoVAE
from cvbench.probes import PairProbe

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FAR = 0.5  # an output mostly this far outside [0, 1] has the wrong range, not an overshoot


def to_videos(clips: Sequence[Pixels], device: torch.device) -> Videos:
    """Stack clips of one size, uint8 to float32 in [0, 1]."""
    return torch.from_numpy(np.stack(clips)).to(device).float() / 255


def traits_of(vae: VideoVAE) -> Traits:
    """Return the model's traits; a model that states none is taken to accept any length and size."""
    found = getattr(vae, "traits", None)
    return found if isinstance(found, Traits) else Traits()


def pad(videos: Videos, traits: Traits) -> Float[torch.Tensor, "b 3 padded_t padded_h padded_w"]:
    """Repeat the last frame, column and row until the model's frame rule, multiple and least side are met."""
    _, _, t, h, w = videos.shape
    multiple = traits.multiple or traits.spatial
    height, width = (-(-max(side, traits.least_side) // multiple) * multiple for side in (h, w))
    more = (0, width - w, 0, height - h, 0, traits.frame_rule.fit(t) - t)
    return F.pad(videos, more, mode="replicate") if any(more) else videos


def quantize(videos: Videos) -> Videos:
    """Round to the nearest of 256 levels: the one place where reconstructions become 8-bit."""
    return (videos * 255).round() / 255


def reconstruct(
    vae: VideoVAE, targets: Videos, protocol: EvalProtocol, seed: int = 0
) -> tuple[Videos, list[int | None]]:
    """Encode and decode clips; return reconstructions in [0, 1] on the targets' frames, and the bits each clip took.

    Bits are counted for codecs (byte strings), None for networks. Raises BadOutput for reconstructions that are
    not a picture of the target's size: not finite, constant where the target is not, or of another value range.
    """
    recon, latents = _code(vae, targets, protocol, seed)
    return recon, bits_of(latents, len(targets))


def reconstruct_for_show(
    vae: VideoVAE, targets: Videos, protocol: EvalProtocol, seed: int = 0
) -> tuple[Videos, torch.Tensor | None]:
    """Do as `reconstruct`, and return the first clip's latents on the CPU; None for a codec's bytes."""
    recon, latents = _code(vae, targets, protocol, seed)
    if not isinstance(latents, torch.Tensor):
        return recon, None
    return recon, latents[0].float().cpu() if latents.is_floating_point() else latents[0].cpu()


@torch.inference_mode()
def _code(vae: VideoVAE, targets: Videos, protocol: EvalProtocol, seed: int) -> tuple[Videos, Latents]:
    _, _, t, h, w = targets.shape
    padded = pad(targets, traits_of(vae))
    devices = [targets.device] if targets.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        latents = vae.encode(padded)
        recon = vae.decode(latents, padded.shape[2])
    if recon.shape != padded.shape:
        raise BadOutput(f"the model gave {tuple(recon.shape)} for {tuple(padded.shape)} (b, c, t, h, w)")
    recon = recon[:, :, :t, :h, :w].to(targets.device, torch.float32)
    check_output(recon, targets)
    recon = recon.clamp(0, 1)
    return quantize(recon) if protocol.round8 else recon, latents


def check_output(recon: Videos, targets: Videos) -> None:
    """Raise BadOutput for an output that no average should contain."""
    if not torch.isfinite(recon).all():
        raise BadOutput("the reconstruction contains NaN or infinity")
    for one, target in zip(recon, targets, strict=True):
        if one.amax() == one.amin() and target.amax() > target.amin():
            raise BadOutput(f"the reconstruction is constant ({one.amax():.3g}) where the target is not")
        outside = ((one < -FAR) | (one > 1 + FAR)).float().mean()
        if outside > 0.5:
            raise BadOutput(f"{outside:.0%} of the reconstruction lies far outside [0, 1]: wrong value range?")


def bits_of(latents: Latents, clips: int) -> list[int | None]:
    """Return the bits of each clip's byte string; None where latents are numbers, whose bits are nominal."""
    if isinstance(latents, list):
        return [8 * len(code) for code in latents]
    return [None] * clips


Measured = dict[str, dict[str, np.ndarray]]


def measure(
    recons: Mapping[str, Video], target: Video, probes: Mapping[str, PairProbe], wanted: Mapping[str, Collection[str]]
) -> tuple[Measured, dict[str, str]]:
    """Return rows by model and probe, and by probe the reason where this clip cannot be measured.

    What a probe needs of the target alone is computed once for all models; `wanted` names each model's probes.
    """
    rows: Measured = {model: {} for model in recons}
    unsuited: dict[str, str] = {}
    for name, probe in probes.items():
        models = [m for m in recons if name in wanted[m]]
        try:
            found = _probe_models(probe, {m: recons[m] for m in models}, target)
        except UnsuitableInput as error:
            unsuited[name] = str(error)
            continue
        for model in models:
            rows[model][name] = found[model]
    return rows, unsuited


@torch.inference_mode()
def _probe_models(probe: PairProbe, recons: Mapping[str, Video], target: Video) -> dict[str, np.ndarray]:
    pieces: dict[str, list[np.ndarray]] = {model: [] for model in recons}
    for start in range(0, target.shape[1] if recons else 0, probe.frames_at_once):
        window = slice(start, start + probe.frames_at_once)
        prepared: Any = probe.prepare(target[:, window])
        for model, recon in recons.items():
            pieces[model].append(probe.rows(recon[:, window], prepared))
    return {model: np.concatenate(parts) for model, parts in pieces.items()}


def describe(error: BaseException) -> str:
    """Return an error as one line for a record."""
    text = " ".join(str(error).split())
    return text[:2000] if isinstance(error, CvbenchError) else f"{type(error).__name__}: {text[:400]}"
