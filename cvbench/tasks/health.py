"""Is this model sound here? Each check gives a number, its limits and a verdict: ok, look or broken."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from cvbench.core.errors import CvbenchError, UnsuitableInput
from cvbench.core.protocol import EvalProtocol
from cvbench.engine.coding import cropped, decoded, describe, encoded, pad, to_videos
from cvbench.engine.loop import Progress, read_prepared, silent
from cvbench.engine.subject import Listed, Setting, Subject, subject_of
from cvbench.nets.tensors import Video
from cvbench.probes import soundness
from cvbench.tasks.request import Request, held_still, line_up

Verdict = Literal["ok", "look", "broken"]
CLIPS = 3
"""Clips, or pictures where there are no clips, that are looked at."""
SAME = 200.0
"""Decibels that stand for equal bits."""


@dataclass(frozen=True)
class Limit:
    """A number up to `ok` is ok, from `broken` on it is broken (the other way round where more is better)."""

    what: str
    unit: str
    ok: float
    broken: float

    def verdict(self, value: float) -> Verdict:
        """Judge a number; one that is none is broken."""
        sign = 1 if self.ok <= self.broken else -1
        if not sign * value < sign * self.broken:
            return "broken"
        return "ok" if sign * value <= sign * self.ok else "look"

    def __str__(self) -> str:
        more = "≤" if self.ok <= self.broken else "≥"
        return f"ok {more} {self.ok:g}, broken from {self.broken:g}{self.unit and ' ' + self.unit}"


LIMITS = {
    "finite": Limit("numbers that are NaN or infinite, in latents and pixels", "", 0.0, 1.0),
    "range": Limit("how far the slope of local brightness is from 1", "", 0.15, 0.35),
    "alignment": Limit("share of 32 px pieces that fit better 1 to 4 px away", "", 0.0, 0.02),
    "repeatable": Limit("PSNR of two codings of one clip, another seed and other clips between", "dB", 90.0, 60.0),
    "colour": Limit("largest mean error of red, green or blue, first frame apart", "levels", 2.0, 6.0),
    "first frame": Limit("its mean colour error against that of the others", "levels", 2.0, 5.0),
    "drift": Limit("mean colour error of the last third against the first", "levels", 2.0, 5.0),
    "breaks in time": Limit("largest change of the error over its like", "×", 3.0, 4.0),
    "bf16": Limit("PSNR against float32", "dB", 35.0, 22.0),
    "fp16": Limit("PSNR against float32", "dB", 45.0, 30.0),
    "tf32": Limit("PSNR against float32", "dB", 45.0, 30.0),
    "device": Limit("PSNR of the CPU against the GPU, float32", "dB", 60.0, 40.0),
    "tiles": Limit("PSNR of the official spatial tiling against none", "dB", 40.0, 20.0),
    "dead channels": Limit("channels that vary by less than 1 % of the most varying", "", 0.0, math.inf),
}


@dataclass(frozen=True)
class Finding:
    """One line of a model's health: a number with its limits, or in words why there is none."""

    check: str
    verdict: Verdict
    value: str
    limits: str
    what: str


class Output(NamedTuple):
    """What a model makes of a clip: pixels on the clip's frames, neither clamped nor checked, and latents."""

    pixels: Video
    latents: Any


@dataclass(frozen=True)
class Checkup:
    """All findings on one model."""

    model: str
    findings: Sequence[Finding]

    @property
    def broken(self) -> bool:
        """Whether anything is."""
        return any(f.verdict == "broken" for f in self.findings)


def run(request: Request, progress: Progress = silent) -> list[Checkup]:
    """Examine every model on the first clips of the first data set. Raises UnsuitableInput where none can be read."""
    setting = request.setting
    clips = _clips(request, setting)
    subjects, refused = line_up(request, setting)
    lost = [
        Checkup(facts.name, [Finding("loading", "broken", describe(error), "", "weights and network")])
        for facts, error in refused
    ]
    found: list[Checkup] = []
    specs = dict(zip(request.names, request.models, strict=True))
    for place, subject in enumerate(subjects):
        progress(f"health of {subject.name}", place, len(subjects))
        with held_still([subject]):
            found.append(
                Checkup(subject.name, list(Examination(subject, specs[subject.name], request, clips).findings()))
            )
    progress("health", len(subjects), len(subjects))
    return [*lost, *found]


def _clips(request: Request, setting: Setting) -> list[Video]:
    """Read the first clips of one size; pictures where there are no clips."""
    dataset = request.datasets()[0]
    read: list[Video] = []
    for index, item in enumerate(dataset.items):
        try:
            pixels = read_prepared(index, item, request.protocol).pixels
        except CvbenchError:
            continue  # what cannot be read says nothing of a model
        read += [to_videos([pixels], setting.device)[0]] if pixels is not None else []
        if sum(video.shape == read[0].shape and video.shape[1] > 1 for video in read) == CLIPS:
            break
    moving = [video for video in read if video.shape[1] > 1] or read
    if not moving:
        raise UnsuitableInput(f"no sample of {dataset.name} could be read: there is nothing to look at")
    return [video for video in moving if video.shape == moving[0].shape][:CLIPS]


class Examination:
    """One model and the clips it is examined on; a check whose ground another has taken away says so."""

    def __init__(self, subject: Subject, spec: Any, request: Request, clips: Sequence[Video]) -> None:
        self.subject, self.spec, self.request, self.clips = subject, spec, request, clips
        self.broken: set[str] = set()
        self.coded: dict[tuple[EvalProtocol, torch.device], Video] = {}

    def findings(self) -> Iterator[Finding]:
        """Yield all findings; whatever a model raises is one of them."""
        yield self._weights()
        try:
            self.outputs = [made(self.subject, clip) for clip in self.clips]
        except Exception as error:  # a model may raise anything
            yield Finding("coding", "broken", describe(error), "", "encodes and decodes a clip at all")
            return
        self.coded[self.request.protocol, self.clips[0].device] = self.outputs[0].pixels
        for check in (self._sound, self._in_time, self._repeatable, self._variants):
            yield from check()

    def _finding(self, check: str, value: float, text: str) -> Finding:
        limit = LIMITS[check]
        verdict = limit.verdict(value)
        if verdict == "broken":
            self.broken.add(check)
        return Finding(check, verdict, text, str(limit), limit.what)

    def _without(self, check: str, why: str, verdict: Verdict = "ok") -> Finding:
        return Finding(check, verdict, why, str(LIMITS[check]), LIMITS[check].what)

    def _weights(self) -> Finding:
        entry = self.subject.entry if isinstance(self.subject, Listed) else None
        held = self.subject.held if isinstance(self.subject, Listed) else None
        if held is None:
            return Finding("weights", "ok", f"{self.subject.facts.digest[:12]} stands for code and state", "", "hash")
        published = entry.source.sha256 if entry and entry.source else ""
        same = bool(published) and held.sha256.startswith(published)
        word = "the published file" if same else "no hash was published"
        return Finding("weights", "ok" if same else "look", f"{held.sha256[:12]}, {word}", "", "hash")

    def _sound(self) -> Iterator[Finding]:
        """Numbers, range, place and channels."""
        tensors = [t for out in self.outputs for t in (out.pixels, out.latents) if isinstance(t, Tensor)]
        wrong = sum(int((~torch.isfinite(t)).sum()) for t in tensors if t.is_floating_point())
        yield self._finding("finite", float(wrong), f"{wrong} of {sum(t.numel() for t in tensors)}")
        if self.broken:
            yield self._without("range", "not measured: not finite", "broken")
            return
        fits = [soundness.range_fit(out.pixels, clip) for out, clip in zip(self.outputs, self.clips, strict=True)]
        worst = max(fits, key=lambda fit: abs(fit.slope - 1))
        text = f"{abs(worst.slope - 1):.3f} (slope {worst.slope:.2f}, offset {worst.offset:+.2f})"
        yield self._finding("range", abs(worst.slope - 1), text)
        if "range" not in self.broken:
            share = max(soundness.shifted_share(x, y) for x, y in self._pairs())
            yield self._finding("alignment", share, f"{share:.3f}")
        latents = self.outputs[0].latents
        if isinstance(latents, Tensor) and latents.is_floating_point() and latents.ndim >= 4:
            dead, channels = soundness.dead_channels(torch.cat([out.latents for out in self.outputs]))
            yield self._finding("dead channels", float(dead), f"{dead} of {channels}")
        else:
            yield self._without("dead channels", "no channels of numbers")

    def _pairs(self) -> list[tuple[Video, Video]]:
        return [(out.pixels.clamp(0, 1), clip) for out, clip in zip(self.outputs, self.clips, strict=True)]

    def _in_time(self) -> Iterator[Finding]:
        """Colours by frame, and breaks between frames."""
        if self.broken & {"finite", "range"}:
            for check in ("colour", "first frame", "drift", "breaks in time"):
                yield self._without(check, "not measured: the range is broken", "look")
            return
        bias = torch.stack([soundness.colour_bias(x, y) for x, y in self._pairs()]).mean(0)
        later = bias[1:] if len(bias) > 1 else bias
        colour = float(later.mean(0).abs().max())
        yield self._finding("colour", colour, f"{colour:.2f}")
        if len(bias) < 2:
            for check in ("first frame", "drift", "breaks in time"):
                yield self._without(check, "pictures have one frame")
            return
        first = float((bias[0] - later.mean(0)).abs().max())
        yield self._finding("first frame", first, f"{first:.2f}")
        third = max(len(later) // 3, 1)
        drift = float((later[-third:].mean(0) - later[:third].mean(0)).abs().max())
        yield self._finding("drift", drift, f"{drift:.2f}")
        changes = torch.stack([soundness.change_errors(x, y) for x, y in self._pairs()])
        ratio, frame = soundness.worst_break(changes, max(self.subject.traits.temporal, 1))
        yield self._finding("breaks in time", ratio, f"{ratio:.2f}" + (f" at frame {frame}" if frame else ""))

    def _repeatable(self) -> Iterator[Finding]:
        again = made(self.subject, self.clips[0], seed=1)
        value = decibels(again.pixels, self.outputs[0].pixels)
        yield self._finding("repeatable", value, "equal bits" if value == SAME else f"{value:.1f}")

    def _variants(self) -> Iterator[Finding]:
        """The same model in another dtype, on another device, with its tiles: each against float32 without tiles."""
        plain = replace(self.request.protocol, dtype="fp32", tiling=False)
        wanted: list[tuple[str, EvalProtocol, torch.device | None]] = [
            ("bf16", replace(plain, dtype="bf16"), None),
            ("fp16", replace(plain, dtype="fp16"), None),
            ("tiles", replace(plain, tiling=True), None),
        ]
        gpu = self.clips[0].device.type == "cuda"
        if gpu:
            wanted += [("tf32", replace(plain, dtype="tf32"), None), ("device", plain, torch.device("cpu"))]
        for check, changed, device in wanted:
            if "repeatable" in self.broken or "finite" in self.broken:
                yield self._without(check, "not measured: the model is not repeatable or not finite", "look")
            elif self.subject.facts.role != "network" and check != "tiles":
                yield self._without(check, "no network")
            else:
                yield self._variant(check, plain, changed, device or self.clips[0].device)
        if not gpu:
            yield self._without("device", "one device here")

    def _variant(self, check: str, plain: EvalProtocol, changed: EvalProtocol, device: torch.device) -> Finding:
        """Compare a protocol with the plain one; what cannot be run here is worth a look."""
        try:
            reference = self._pixels(plain, self.clips[0].device)
            pixels = self._pixels(changed, device).to(reference.device)
        except Exception as error:
            return self._without(check, f"not measured: {describe(error)}", "look")
        value = decibels(pixels, reference)
        word = "the same bits" if value == SAME else f"{value:.1f}" if math.isfinite(value) else "not finite"
        return self._finding(check, value, word)

    def _pixels(self, protocol: EvalProtocol, device: torch.device) -> Video:
        """Return what the model makes of the first clip; coded once for each protocol and device."""
        key, name = (protocol, device), self.subject.name
        if key not in self.coded:
            other = subject_of(self.spec, Setting(protocol, device, self.request.weights, self.request.init), name)
            with held_still([other]):
                self.coded[key] = made(other, self.clips[0].to(device)).pixels
        return self.coded[key]


def made(subject: Subject, clip: Video, seed: int = 0) -> Output:
    """Code one clip; pixels stay as the model gave them."""
    videos = clip[None]
    padded = pad(videos, subject.traits)
    latents, _ = encoded(subject, padded, seed)
    pixels, _ = decoded(subject, latents, padded.shape[2], seed, clip.device)
    return Output(cropped(pixels, padded.shape, videos)[0], latents)


def decibels(x: Video, y: Video) -> float:
    """PSNR of two outputs, SAME for equal bits, NaN where either is not finite."""
    if torch.equal(x, y):
        return SAME
    return float(-10 * (x.double() - y.double()).square().mean().log10())
