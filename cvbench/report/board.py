"""What a page of a leaderboard has beside a report's: where each record is from, and what changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cvbench import __version__
from cvbench.core.records import RunRecord
from cvbench.metrics import METRICS
from cvbench.report.templates import asset, template

GENERATOR = '<meta name="generator" content="cvbench leaderboard">'
"""By which the first page of a leaderboard is known."""
SIZES = ((10**6, "1 M"), (10**7, "10 M"), (10**8, "100 M"), (10**9, "1 G"))
"""Most parameters that may be asked for."""


@dataclass(frozen=True)
class Source:
    """A record, the page of its model, and the bundle that proves it: its address and SHA-256."""

    record: RunRecord
    page: str
    bundle: str
    sha256: str

    @property
    def params(self) -> int | None:
        """Parameters of encoder and decoder."""
        return sum(self.record.model.params) if self.record.model.params else None

    @property
    def compression(self) -> str:
        """Compression in time and space, "" where it has none."""
        facts = self.record.model
        return f"{facts.temporal} × {facts.spatial} × {facts.spatial}" if facts.temporal and facts.spatial else ""


@dataclass(frozen=True)
class Change:
    """A score that is otherwise in a newer bundle; each end is a bundle's address and SHA-256."""

    model: str
    metric: str
    before: float
    after: float
    why: str
    old: tuple[str, str]
    new: tuple[str, str]

    @property
    def is_seen(self) -> bool:
        """Whether the values differ by more than their last digit may by rounding."""
        return abs(self.before - self.after) >= 0.5 * 10.0 ** -METRICS[self.metric].digits

    @property
    def text(self) -> str:
        """Both values with the metric's digits."""
        metric = METRICS[self.metric]
        return f"{metric.label} {self.before:.{metric.digits}f} → {self.after:.{metric.digits}f} {metric.unit}".strip()


def choices(sources: Sequence[Source]) -> dict[str, list[str]]:
    """Return what the page can be filtered by."""
    return {
        "compression": sorted({s.compression for s in sources if s.compression}),
        "licence": sorted({s.record.model.licence for s in sources if s.record.model.licence}),
    }


def index(title: str, boards: Sequence[Mapping[str, Any]]) -> str:
    """Return the first page of a leaderboard."""
    return template("index.html.j2").render(
        title=title,
        generator=Markup(GENERATOR),  # noqa: S704  # ours
        boards=boards,
        version=__version__,
        style=Markup(asset("style.css")),  # noqa: S704
    )
