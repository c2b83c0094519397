"""Feature rows of samples and of texts: what the store lacks is measured, once for all later calls."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from cvbench.core.digest import digest
from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import Failure
from cvbench.core.run import Run
from cvbench.data import Dataset, Item
from cvbench.engine.coding import at_rest
from cvbench.engine.device import runtime
from cvbench.engine.loop import Loop, Made, Prepared, Progress, Unit, Work, silent
from cvbench.engine.measuring import Probes, is_measured
from cvbench.probes import TextProbe
from cvbench.store import Store
from cvbench.tasks.targets import TARGET, describe_target, target_unit

Row = np.ndarray | str
"""Rows, or the reason why there are none."""


class Samples:
    """A set of samples, each described by the feature probes `wanted`.

    Rows belong to the prepared pixels and the probe's version, weights included: no set can see those of another,
    and the same pixels are never measured twice, whatever they are used for.
    """

    def __init__(
        self, items: Sequence[Item], protocol: EvalProtocol, wanted: Sequence[str], probes: Probes, store: Store
    ) -> None:
        self.items, self.protocol, self.wanted = items, protocol, wanted
        self.probes, self.store = probes, store
        identity = digest([list(probes.columns(wanted)), protocol.as_dict()])
        self.loop = Loop(self, Dataset("", tuple(items)), protocol, store, identity=identity)

    def measure(self, label: str, progress: Progress = silent) -> "Samples":
        """Read what has no rows yet, and measure it sample by sample."""
        self.loop.label, self.loop.progress = label, progress
        self.loop.run()
        return self

    @property
    def prepared(self) -> list[Prepared]:
        """The samples that could be read, in order."""
        return self.loop.samples

    @property
    def places(self) -> set[int]:
        """The places of those samples in the set."""
        return {sample.index for sample in self.prepared}

    @property
    def failed(self) -> list[tuple[int, Failure]]:
        """What could not be read or measured, by place in the set."""
        return sorted(self.loop.unread + self.loop.failed.get(TARGET, []), key=lambda pair: pair[0])

    def rows(self, sample: Prepared, name: str) -> Row:
        """Return the rows of a sample by the probe `name`."""
        row = self.loop.rows(sample, self._unit(sample)).get(self.probes.column(name))
        if row is None:
            return self.probes.reasons.get(name, "not measured")
        return row if is_measured(row) else str(row)

    def units(self, sample: Prepared) -> Iterator[Unit]:
        """Yield the sample's own rows."""
        yield self._unit(sample)

    def _unit(self, sample: Prepared) -> Unit:
        return target_unit(self.probes, self.wanted, self.protocol, sample, self.store)

    def at_once(self, sample: Prepared) -> int:
        """Return 1: rows do not depend on what is measured beside."""
        return 1

    def make(self, works: Sequence[Work]) -> Iterator[Made]:
        """Measure what samples lack."""
        for work in works:
            pixels = [work.sample.pixels] if work.sample.pixels is not None else []
            clip = at_rest(pixels, self.probes.device)[0]
            for unit, missing in work.missing.items():
                yield describe_target(self.probes, self.protocol, work.sample, clip, unit, missing)


def text_rows(
    texts: Iterable[str], name: str, probes: Probes, store: Store, protocol: EvalProtocol
) -> dict[str, np.ndarray]:
    """Return the embedding (1, d) of each text by the probe `name`; none where it cannot be had."""
    column, here = probes.column(name), runtime(probes.device)
    keys = {text: Run(protocol, digest(["text", text]), runtime=here).key("measure") for text in texts}
    missing = [text for text, key in keys.items() if column not in store.rows(key)]
    probe = probes.feature_probes([name] if missing else []).get(name)
    if isinstance(probe, TextProbe):
        for text, row in zip(missing, probe.text_rows(missing), strict=True):
            store.add(keys[text], {column: row[None]})
    stored = {text: store.rows(key) for text, key in keys.items()}
    return {text: found[column] for text, found in stored.items() if column in found}
