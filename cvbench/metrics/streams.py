"""Feature rows that do not fit into memory together: read anew, sample by sample, whenever they are needed."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

LARGEST = 1 << 30
"""Bytes of rows, half of it for each set of a distance, that are held in memory; more are read anew for each step."""
CHUNK = LARGEST // 8
"""Bytes of such rows that are held at a time."""


class Reread(Sequence[np.ndarray]):
    """Rows of samples, each read when it is asked for, and kept by nobody."""

    def __init__(self, reads: Sequence[Callable[[], Any]]) -> None:
        self.reads = reads

    def __len__(self) -> int:
        return len(self.reads)

    def __getitem__(self, place: Any) -> Any:
        return [read() for read in self.reads[place]] if isinstance(place, slice) else self.reads[place]()


class Streamed:
    """Rows (n, d) of samples, one after the other, as an array that is not there: for what of it distances need.

    A mask of rows gives such a set of those, numbers of rows give an array. `samples` is read in order.
    """

    ndim = 2

    def __init__(
        self,
        samples: Sequence[np.ndarray],
        lengths: Int[np.ndarray, " _s"],
        width: int,
        picked: Bool[np.ndarray, " _all"] | None = None,
    ) -> None:
        self.samples, self.lengths, self.width = samples, lengths, width
        self.picked = np.ones(int(lengths.sum()), bool) if picked is None else picked
        self.shape = (int(np.count_nonzero(self.picked)), width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: Bool[np.ndarray, " _n"] | Int[np.ndarray, " _k"]) -> Any:
        if chosen.dtype != bool:
            return self.take(chosen)
        picked = self.picked.copy()
        picked[picked] = chosen
        return Streamed(self.samples, self.lengths, self.width, picked)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.concatenate(list(self._parts())).astype(dtype or np.float64)

    def _parts(self) -> Iterator[Float[np.ndarray, "_k _d"]]:
        """Yield the rows of each sample that has any here."""
        starts = np.cumsum(self.lengths) - self.lengths
        for place, (start, length) in enumerate(zip(starts, self.lengths, strict=True)):
            here = self.picked[start : start + length]
            if here.any():
                yield self.samples[place][here]

    def chunks(self, size: int = 0) -> Iterator[Float[np.ndarray, "_k _d"]]:
        """Yield all rows, at most about CHUNK bytes of them at a time, or `size` rows and one sample's."""
        size = size or max(1, CHUNK // (8 * self.width))
        held: list[np.ndarray] = []
        for part in self._parts():
            held.append(part)
            if sum(map(len, held)) >= size:
                yield np.concatenate(held)
                held = []
        if held:
            yield np.concatenate(held)

    def take(self, places: Int[np.ndarray, " _k"]) -> Float[np.ndarray, "_k _d"]:
        """Return rows by their numbers, each sample read once."""
        rows = np.flatnonzero(self.picked)[places]
        ends = np.cumsum(self.lengths)
        owners = np.searchsorted(ends, rows, side="right")
        taken = np.empty((len(rows), self.width))
        for owner in np.unique(owners):
            mine = owners == owner
            taken[mine] = self.samples[int(owner)][rows[mine] - (ends[owner] - self.lengths[owner])]
        return taken

    def subsets(self, draws: Sequence[Int[np.ndarray, " _k"]]) -> Iterator[Float[np.ndarray, "_k _d"]]:
        """Yield the rows of each draw, samples being read once for as many draws as fit into CHUNK bytes."""
        together = max(1, CHUNK // (8 * self.width * max(1, *map(len, draws))))
        for start in range(0, len(draws), together):
            group = draws[start : start + together]
            wanted = np.unique(np.concatenate(group))
            held = self.take(wanted)
            yield from (held[np.searchsorted(wanted, draw)] for draw in group)


class Side(NamedTuple):
    """One set of a distance, rows of each of its samples, and how many samples have rows that are not finite."""

    rows: np.ndarray | Streamed
    lengths: Int[np.ndarray, " _s"]
    broken: int


def looked_over(samples: Sequence[np.ndarray]) -> Side:
    """Read each sample's rows once, and keep them as long as all together take no more than half of LARGEST bytes."""
    held: list[np.ndarray] = []
    lengths, size, broken, width = [], 0, 0, 0
    for row in samples:
        lengths.append(len(row))
        size, broken, width = size + row.nbytes, broken + (not np.isfinite(row).all()), row.shape[-1]
        held.append(row)
        if size > LARGEST // 2:
            held.clear()
    counts = np.array(lengths, np.int64)
    if size > LARGEST // 2:
        return Side(Streamed(samples, counts, width), counts, broken)
    return Side(np.concatenate(held) if held else np.empty((0, 0)), counts, broken)
