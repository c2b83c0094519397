"""One model on the clips it is examined on."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from cvbench.core.errors import Unavailable
from cvbench.core.protocol import EvalProtocol
from cvbench.engine.coding import describe
from cvbench.engine.subject import Listed, Subject
from cvbench.nets.tensors import Video
from cvbench.probes import soundness
from cvbench.tasks.health.coded import SAME, decibels, made
from cvbench.tasks.health.limits import LIMITS, Finding, Verdict
from cvbench.tasks.health.predictors import predictors
from cvbench.tasks.health.variants import Variants
from cvbench.tasks.request import Request


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
        for check in (self._sound, self._in_time, self._repeatable, self._variants, self._predictors):
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
        apart = torch.stack([soundness.colour_distance(x, y) for x, y in self._pairs()]).mean(0)
        colour = float(later.mean(0).abs().max())
        yield self._finding(
            "colour", colour, f"{colour:.2f} (ΔE {float(apart[1:].mean() if len(apart) > 1 else apart[0]):.2f})"
        )
        if len(bias) < 2:
            for check in ("first frame", "drift", "breaks in time"):
                yield self._without(check, "pictures have one frame")
            return
        first = float((bias[0] - later.mean(0)).abs().max())
        yield self._finding("first frame", first, f"{first:.2f} (ΔE {float(apart[0]):.2f})")
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
        """The same model in another dtype, on another device, with tiles and in runs of frames: against float32."""
        variants = Variants(self.subject, self.spec, self.request, self.clips, self.outputs, self.coded)
        unsound = "repeatable" in self.broken or "finite" in self.broken
        for check, compare in variants.checks():
            if unsound:
                yield self._without(check, "not measured: the model is not repeatable or not finite", "look")
                continue
            if check == "seams" and "range" in self.broken:
                yield self._without(check, "not measured: the range is broken", "look")
                continue
            try:
                found = compare()
            except Unavailable as error:
                yield self._without(
                    check, f"has none: {describe(error)}" if check == "tiles" else describe(error), "ok"
                )
            except Exception as error:  # what cannot be run here is worth a look
                yield self._without(check, f"not measured: {describe(error)}", "look")
            else:
                yield self._without(check, found) if isinstance(found, str) else self._finding(check, *found)

    def _predictors(self) -> Iterator[Finding]:
        """What latents alone say; of a model that is not sound they say nothing."""
        if self.broken & {"finite", "range", "repeatable"}:
            return
        yield from predictors(self.subject, self.clips, self.outputs)
