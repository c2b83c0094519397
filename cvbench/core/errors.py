"""What can go wrong, each with what to do about it. The library raises; only the command line prints and exits."""

from collections.abc import Collection
from difflib import get_close_matches

SEVERAL = 24
"""Names that fit into a message."""


class CvbenchError(Exception):
    """Root of all errors a user can meet."""


class UsageError(CvbenchError):
    """The request itself is wrong: exit code 2."""


class UnknownName(UsageError):
    """A name that stands in no registry."""

    def __init__(self, kind: str, name: str, known: Collection[str]) -> None:
        near = get_close_matches(name, known) or [each for each in known if name and name.casefold() in each.casefold()]
        super().__init__(f"no {kind} is called {name!r}; try {', '.join(some(near) if near else some(known))}")


def some(known: Collection[str]) -> list[str]:
    """Return all of a few names; of many the first ones and how many there are."""
    names = sorted(set(known))
    return names if len(names) <= SEVERAL else [*names[: SEVERAL // 2], f"… ({len(names)} in all)"]


class UnreadableSample(CvbenchError):
    """A file that does not decode, or not completely. Named in the record, never in the mean."""


class TooShort(UnreadableSample):
    """A clip with fewer frames than a protocol takes, which leaves such clips out and counts them."""


class MissingWeights(CvbenchError):
    """Weights that are not on this machine and could not be fetched."""


class BadWeights(CvbenchError):
    """Weights that are there but wrong: hash, layout, truncated, or with code inside."""


class UnsuitableInput(CvbenchError):
    """A size or length that this model or metric cannot take."""


OF_CLIPS = "needs two frames, this is an image"
"""How the message of `UnsuitableInput` ends for what says nothing of a single frame: no failure, but no number."""
OF_TEXT = "finds no such text in the target"
"""The same for what says nothing of frames without text."""


def says_nothing(reason: str, frames: int) -> bool:
    """Tell whether a reason is that a metric is not about such a sample, which is no failure."""
    return reason.endswith(OF_TEXT) or (frames == 1 and reason.endswith(OF_CLIPS))


class BadOutput(CvbenchError):
    """A reconstruction that is constant, not a number, or of the wrong shape."""


class BadRange(BadOutput):
    """Reconstructions of another value range than [0, 1]: a mistake of the model, whatever the sample."""


class Unavailable(CvbenchError):
    """A metric or model that cannot be computed here; the message says why."""


class NothingScored(CvbenchError):
    """A model that gave no number on any sample; the message says why it failed on the first."""


class Unwritable(CvbenchError):
    """A folder or file that cannot be made or written to; said before any work is done for it."""
