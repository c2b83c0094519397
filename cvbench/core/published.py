"""Published scores: what papers and notes print for a model, under their protocol, on their data. No torch."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import msgspec

from cvbench.core.protocol import PROTOCOLS
from cvbench.core.records import RunRecord
from cvbench.core.suites import folder
from cvbench.core.walk import differing


@dataclass(frozen=True)
class Published:
    """Scores of one model in one source. `n` is the number of samples, 0 where the source does not say.

    `cells` are values by metric with the digits that the source prints; `open` is what the source leaves open.
    """

    model: str
    protocol: str
    data: str
    source: str
    n: int
    open: str
    cells: Mapping[str, str]

    def half(self, metric: str) -> float:
        """Return half of the last digit that the source prints: what its rounding may hide."""
        return 0.5 * 10.0 ** -len(self.cells[metric].partition(".")[2])

    def value(self, metric: str) -> float:
        """Return a value as a number."""
        return float(self.cells[metric])


@cache
def published() -> Sequence[Published]:
    """Return all published scores that are known."""
    raw = tomllib.loads((folder() / "published.toml").read_text(encoding="utf-8"))
    return msgspec.convert(raw["score"], list[Published])


def find(protocol: str, model: str = "", data: str = "") -> list[Published]:
    """Return the scores under a protocol, of a model and on a data set where these are said."""
    return [
        score
        for score in published()
        if score.protocol == protocol and model in ("", score.model) and data in ("", score.data)
    ]


def unlike(record: RunRecord, score: Published) -> list[str]:
    """Say in what a record was not measured as a published score was: weights, fields, and which samples."""
    clips, said = len({sample.clip for sample in record.samples}), list[str]()
    if fields := differing(PROTOCOLS[score.protocol], record.protocol):
        said.append(f"{', '.join(fields)} differ from {score.protocol}")
    if record.model.init == "random":
        said.append("the model is untrained")
    if record.failures:
        said.append(f"{len(record.failures)} samples failed")
    if score.n and score.n not in (clips, len(record.samples)):
        said.append(f"{clips} samples, not their {score.n}")
    return said
