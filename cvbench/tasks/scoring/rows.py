"""Feature rows of samples and of texts: what the store lacks is measured, once for all later calls."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from cvbench.core.errors import CvbenchError, UnsuitableInput
from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import Failure, digest
from cvbench.data import Item
from cvbench.engine.coding import describe, to_videos
from cvbench.engine.loop import Clip, Progress, is_measured, look, silent
from cvbench.engine.prefetch import prefetch
from cvbench.engine.probing import Probes
from cvbench.probes import TextProbe
from cvbench.store import RowStore, row_key

Row = np.ndarray | str
"""Rows, or the reason why there are none."""


class Samples:
    """A set of samples, each described by the feature probes `wanted`.

    Rows belong to the prepared pixels and the probe's version, weights included: no set can see those of another,
    and the same pixels are never measured twice, whatever they are used for.
    """

    def __init__(
        self, items: Sequence[Item], protocol: EvalProtocol, wanted: Sequence[str], probes: Probes, store: RowStore
    ) -> None:
        self.items, self.protocol, self.wanted = items, protocol, wanted
        self.probes, self.store = probes, store
        self.clips: list[Clip] = []
        self.failed: list[tuple[int, Failure]] = []

    def measure(self, label: str, progress: Progress = silent) -> "Samples":
        """Read what has no rows yet, and measure it clip by clip."""
        progress(label, 0, len(self.items))
        for clip in prefetch(self._survey()):
            if clip.pixels is not None:
                self._describe(clip)
            self.clips.append(replace(clip, pixels=None))
            progress(label, clip.index + 1, len(self.items))
        progress(label, len(self.items), len(self.items))
        return self

    def rows(self, clip: Clip, name: str) -> Row:
        """Return the rows of a clip by the probe `name`."""
        row = self.store.rows(row_key(clip.sha256, "target", {})).get(self.probes.column(name))
        if row is None:
            return self.probes.reasons.get(name, "not measured")
        return row if is_measured(row) else str(row)

    def _survey(self) -> Iterator[Clip]:
        for index, item in enumerate(self.items):
            try:
                yield look(index, item, self.protocol, self.store, lambda clip: not self._missing(clip))
            except CvbenchError as error:
                self.failed.append((index, Failure(item.id, describe(error))))

    def _missing(self, clip: Clip) -> list[str]:
        stored = self.store.rows(row_key(clip.sha256, "target", {}))
        wanted = (name for name in self.wanted if name not in self.probes.reasons)
        return [name for name in wanted if self.probes.column(name) not in stored]

    def _describe(self, clip: Clip) -> None:
        """Measure what a clip lacks; a probe that cannot take it leaves its reason, which is kept as rows are."""
        missing = self._missing(clip)
        if not missing or clip.pixels is None:
            return
        video = to_videos([clip.pixels], self.probes.device)[0]
        for name, probe in self.probes.feature_probes(missing).items():
            try:
                found = probe.rows(video)
            except UnsuitableInput as error:
                found = np.array(str(error))
            except Exception as error:  # out of memory, say: one clip must not stop the others
                self.failed.append((clip.index, Failure(clip.item.id, f"{name}: {describe(error)}")))
                continue
            self.store.add(row_key(clip.sha256, "target", {}), {self.probes.column(name): found})


def text_rows(texts: Iterable[str], name: str, probes: Probes, store: RowStore) -> dict[str, np.ndarray]:
    """Return the embedding (1, d) of each text by the probe `name`; none where it cannot be had."""
    column, keys = probes.column(name), {text: row_key(digest(["text", text]), "target", {}) for text in texts}
    missing = [text for text, key in keys.items() if column not in store.rows(key)]
    probe = probes.feature_probes([name] if missing else []).get(name)
    if isinstance(probe, TextProbe):
        for text, row in zip(missing, probe.text_rows(missing), strict=True):
            store.add(keys[text], {column: row[None]})
    stored = {text: store.rows(key) for text, key in keys.items()}
    return {text: found[column] for text, found in stored.items() if column in found}
