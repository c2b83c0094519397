"""The same model run otherwise: in another dtype, on another device, in tiles, in runs of frames."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch

from cvbench.core.protocol import EvalProtocol
from cvbench.engine.subject import Setting, Subject, subject_of
from cvbench.nets.tensors import Video
from cvbench.probes import seams, soundness
from cvbench.tasks.health.coded import SAME, Output, decibels, half_of, in_runs, made
from cvbench.tasks.request import Request, held_still

Found = tuple[float, str] | str
"""A number and its text, or in words why there is none."""


class Variants:
    """One model on a clip under other protocols; `coded` holds what is made of it already, by protocol and device.

    `outputs` are of all clips under the request's protocol.
    """

    def __init__(
        self,
        subject: Subject,
        spec: Any,
        request: Request,
        clips: Sequence[Video],
        outputs: Sequence[Output],
        coded: dict[tuple[EvalProtocol, torch.device], Video],
    ) -> None:
        self.subject, self.spec, self.request, self.coded = subject, spec, request, coded
        self.clip, self.errors = (
            clips[0],
            [out.pixels.clamp(0, 1) - clip for out, clip in zip(outputs, clips, strict=True)],
        )
        self.plain = replace(request.protocol, dtype="fp32", tiling=False)
        self.tiled = replace(self.plain, tiling=True)

    def checks(self) -> Iterator[tuple[str, Callable[[], Found]]]:
        """Yield each check by name, and what carries it out; that raises whatever the model raises."""
        gpu = self.clip.device.type == "cuda"
        dtypes: tuple[Literal["bf16", "fp16", "tf32"], ...] = ("bf16", "fp16", "tf32")
        for dtype in dtypes if gpu else dtypes[:2]:
            yield dtype, partial(self._apart, replace(self.plain, dtype=dtype), self.clip.device)
        yield "tiles", self._tiles
        yield "seams", self._seams
        yield "chunks", self._chunks
        yield "device", partial(self._apart, self.plain, torch.device("cpu")) if gpu else lambda: "one device here"

    def _apart(self, changed: EvalProtocol, device: torch.device) -> Found:
        """Compare another protocol or device with the plain one, in dB."""
        if self.subject.facts.role != "network":
            return "no network"
        reference = self._pixels(self.plain, self.clip.device)
        value = decibels(self._pixels(changed, device).to(reference.device), reference)
        return value, "the same bits" if value == SAME else f"{value:.1f}" if math.isfinite(value) else "not finite"

    def _tiles(self) -> Found:
        """Return what tiles cost against the clip, how far they are from none, and where most."""
        return self._costs(self._pixels(self.tiled, self.clip.device), spatial=True)

    def _seams(self) -> Found:
        """Return the worst line of the error of all clips and, where tiles change anything, of what they add to it."""
        found = [seams.worst_line(self.errors)]
        whole, tiled = (self._error(protocol) for protocol in (self.plain, self.tiled))
        if whole is not None and tiled is not None and not torch.equal(whole, tiled):
            found.append(seams.worst_line([tiled], [whole]))
        line = max(found, key=lambda line: line.ratio)
        return line.ratio, str(line)

    def _error(self, protocol: EvalProtocol) -> Video | None:
        """Return the first clip's error; None for tiles that the model does not have, as their own check says."""
        try:
            return self._pixels(protocol, self.clip.device).clamp(0, 1) - self.clip
        except Exception:
            return None

    def _chunks(self) -> Found:
        """Return what it costs to code the clip in two runs of frames, each by itself."""
        half = half_of(self.clip, self.subject.traits)
        if half == self.clip.shape[1]:
            return "no two runs of frames"
        with held_still([self.subject]):
            return self._costs(in_runs(self._plain_subject(), self.clip, half), spatial=False)

    def _costs(self, pixels: Video, *, spatial: bool) -> Found:
        whole = self._pixels(self.plain, self.clip.device)
        if torch.equal(pixels, whole):
            return 0.0, "the same bits"
        own, other = (decibels(each.clamp(0, 1), self.clip) for each in (whole, pixels))
        apart = f"{decibels(pixels, whole):.1f} dB from whole"
        return (
            own - other,
            f"{own - other:+.2f}, {apart}, most {soundness.worst_place(pixels - whole, spatial=spatial)}",
        )

    def _pixels(self, protocol: EvalProtocol, device: torch.device) -> Video:
        """Return what the model makes of the clip; coded once for each protocol and device."""
        if (protocol, device) not in self.coded:
            other = self._subject(protocol, device)
            with held_still([other]):
                self.coded[protocol, device] = made(other, self.clip.to(device)).pixels
        return self.coded[protocol, device]

    def _plain_subject(self) -> Subject:
        same = self.request.protocol == self.plain
        return self.subject if same else self._subject(self.plain, self.clip.device)

    def _subject(self, protocol: EvalProtocol, device: torch.device) -> Subject:
        setting = Setting(protocol, device, self.request.weights, self.request.init)
        return subject_of(self.spec, setting, self.subject.name)
