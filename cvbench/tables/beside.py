"""What was published stands beside a score: of the same model, under the same protocol, on the same data."""

from collections.abc import Sequence
from dataclasses import dataclass

from cvbench.core.protocol import protocol
from cvbench.core.published import Published, find, published, unlike
from cvbench.core.records import RunRecord
from cvbench.core.walk import differing
from cvbench.metrics.registry import meant

LEGEND = "In brackets: what was published under the same protocol on the same data; measured − published."


@dataclass(frozen=True)
class Beside:
    """Which published scores stand beside those of records: under protocol `name`, or "" for each record's own."""

    name: str = ""

    def cell(self, record: RunRecord, metric: str) -> str:
        """Return what was published of a record's metric, as printed; several sources' numbers behind each other."""
        texts = [
            text
            for score in self._of(record)
            for name, text in score.cells.items()
            if meant(name, record.protocol) == metric and not unlike(record, score)
        ]
        return " / ".join(dict.fromkeys(texts))

    def remarks(self, records: Sequence[RunRecord]) -> list[str]:
        """Say of each record what is published and where, or why nothing stands beside it. Raises UnknownName."""
        lines = [line for record in records for line in self._said(record)]
        if not lines:
            under = f" under {self.name}" if self.name else ""
            return [f"nothing is published{under} for these models and data"]
        return [LEGEND, *dict.fromkeys(lines)]

    def _of(self, record: RunRecord) -> list[Published]:
        """Return the published scores of a record's model and data, under a protocol that it was really run under."""
        names = [self.name] if self.name else dict.fromkeys(score.protocol for score in published())
        alike = [name for name in names if not differing(protocol(name), record.protocol)]
        return [score for name in alike for score in find(name, record.model.name, record.data.name)]

    def _said(self, record: RunRecord) -> list[str]:
        where = f"{record.model.name} on {record.data.name}"
        if self.name and (fields := differing(protocol(self.name), record.protocol)):
            return [f"{where}: nothing published stands beside it, for {', '.join(fields)} differ from {self.name}"]
        said = []
        for score in self._of(record):
            cells = ", ".join(f"{metric} {text}" for metric, text in score.cells.items())
            n = f", n = {score.n}" if score.n else ""
            left = f"; left open: {score.open}" if score.open else ""
            why = "".join(f"; not beside the scores, for {why}" for why in unlike(record, score))
            said.append(f"{where}, published under {score.protocol}: {cells} ({score.source}{n}{left}{why})")
        return said
