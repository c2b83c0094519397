"""Which frames of a clip a protocol takes, whatever the clip is kept in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cvbench.core.digest import digest
from cvbench.core.errors import TooShort, UnreadableSample
from cvbench.core.types import Sampling

BLACK = -1
"""Stands for a black frame."""


@dataclass(frozen=True)
class Plan:
    """Frames of a clip in the order they are taken, by their place in the file; `stride` is their distance there.

    `facts` is what a record keeps of how they were chosen, where it is more than the stride.
    """

    indices: Sequence[int]
    stride: int
    facts: Mapping[str, object] = field(default_factory=dict)


def plan(available: int, sampling: Sampling, fps: float | None = None, name: str = "") -> Plan:
    """Return which of `available` frames, at `fps` a second, are taken of the clip `name`.

    Raises UnreadableSample for a clip that ends before `start` or is short where the protocol allows none, TooShort
    where it leaves such clips out.
    """
    if sampling.plain:
        return Plan(*frame_indices(available, sampling))
    kept = thinned(available, sampling.rate, fps)
    stride, facts = pace(sampling, fps)
    first = beginning(len(kept), sampling, name)
    if first >= len(kept):
        raise UnreadableSample(f"has {len(kept)} frames, none of them at start {first}; ask for a smaller start")
    if isinstance(sampling.frames, str):
        chosen = list(range(first, len(kept), stride))
        chosen = chosen[: _of_form(len(chosen))] if sampling.frames == "all-1+4k" else chosen
    elif sampling.windows == "all":
        chosen, more = window(len(kept), first, stride, sampling, sampling.frames)
        facts |= more
    else:
        chosen = one_run(len(kept), first, stride, sampling, sampling.frames)
    return Plan([index if index == BLACK else kept[index] for index in chosen], stride, facts)


def span(sampling: Sampling) -> int:
    """Return how many frames a clip must have for a plain `sampling` to be met as it stands."""
    return int(sampling.start) + 1 + (int(sampling.frames) - 1) * sampling.stride


def frame_indices(available: int, sampling: Sampling) -> tuple[range, int]:
    """Return which of `available` frames a plain sampling takes, and the stride used: the rule for short clips.

    Raises UnreadableSample for a clip that ends before `start`, or is short where the protocol allows none.
    """
    start, frames = int(sampling.start), int(sampling.frames)
    if available >= span(sampling):
        return range(start, span(sampling), sampling.stride), sampling.stride
    left = available - start
    if sampling.short == "error" or left < 1:
        raise UnreadableSample(
            f"has {available} frames where {span(sampling)} are needed"
            f" ({frames} frames, stride {sampling.stride}, start {start}); "
            + ("ask for a smaller start" if left < 1 else "use short=shrink or fewer frames")
        )
    stride = max(1, left // frames)
    return range(start, start + min(frames, left) * stride, stride), stride


def thinned(available: int, rate: int | str, fps: float | None) -> Sequence[int]:
    """Return the frames of a file that count: all, or those that linspace-N keeps of a faster file."""
    if not isinstance(rate, str) or rate == "none":
        return range(available)
    wanted = int(rate.removeprefix("linspace-"))
    if known(fps) <= wanted:
        return range(available)
    return [int(index) for index in np.linspace(0, available - 1, int(available / known(fps) * wanted))]


def pace(sampling: Sampling, fps: float | None) -> tuple[int, dict[str, object]]:
    """Return the stride, and what is to be said of it."""
    if not isinstance(sampling.rate, int):
        return sampling.stride, {}
    stride = round(known(fps) / sampling.rate)
    said = {"rate": f"{fps:g} frames a second are too few for a stride; 1 is taken"} if stride < 1 else {}
    return max(1, stride), dict(said)


def known(fps: float | None) -> float:
    """Return a frame rate. Raises UnreadableSample where there is none."""
    if not fps:
        raise UnreadableSample("its frame rate is unknown; use rate=none and a stride")
    return fps


def beginning(available: int, sampling: Sampling, name: str) -> int:
    """Return the first frame."""
    if isinstance(sampling.start, int):
        return sampling.start
    frames = int(sampling.frames)
    if sampling.start == "center":
        return max(0, available // 2 - frames // 2)
    draw = int(digest([sampling.seed, name])[:12], 16)
    return draw % max(1, available - frames)


def one_run(available: int, first: int, stride: int, sampling: Sampling, frames: int) -> list[int]:
    """Return `frames` frames from `first` on, a clip with too few treated as `short` says."""
    wanted = offsets(frames, stride, sampling.spacing)
    if first + wanted[-1] < available:
        return [first + offset for offset in wanted]
    if sampling.short == "spread":
        count = int(available / (stride * frames) * frames)
        spread = [int(index) for index in np.linspace(0, available - 1, max(1, count))]
        return spread[: _of_form(len(spread))]
    if sampling.short == "shrink":
        return list(frame_indices(available, replace(sampling, start=first, stride=max(stride, 1)))[0])
    return filled([first + offset for offset in wanted if first + offset < available], available, sampling, frames)


def window(
    available: int, first: int, stride: int, sampling: Sampling, frames: int
) -> tuple[list[int], dict[str, object]]:
    """Return one of the runs that a clip is cut into, and the facts of which it is and how many there are."""
    places = range(first, available, stride)
    runs = [list(places[k : k + frames]) for k in range(0, len(places), frames)]
    if len(runs) > 1 and sampling.short in ("skip", "error") and len(runs[-1]) < frames:
        runs.pop()
    run = runs[min(sampling.window, len(runs) - 1)]
    facts: dict[str, object] = {"window": sampling.window, "windows": len(runs)}
    return (run if sampling.short == "shrink" else filled(run, available, sampling, frames)), facts


def filled(run: list[int], available: int, sampling: Sampling, frames: int) -> list[int]:
    """Return a run brought to its length. Raises TooShort or UnreadableSample where it is to have it by itself."""
    if len(run) == frames:
        return run
    why = f"has {available} frames, too few for {frames}"
    if sampling.short == "skip":
        raise TooShort(f"{why}; left out, as the protocol says (short=skip)")
    if sampling.short == "error":
        raise UnreadableSample(f"{why}; use short=shrink or fewer frames")
    return run + [BLACK if sampling.short == "black" else run[-1]] * (frames - len(run))


def offsets(frames: int, stride: int, spacing: str) -> list[int]:
    """Return the distances of frames from the first."""
    if spacing == "step":
        return list(range(0, frames * stride, stride))
    return [int(offset) for offset in np.linspace(0, stride * frames - 1, frames)]


def _of_form(count: int) -> int:
    return (count - 1) // 4 * 4 + 1
