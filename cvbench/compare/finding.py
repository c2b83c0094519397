"""What a check finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from cvbench.compare.paired import MetricDifference
from cvbench.core.records import RunRecord

Verdict = Literal["regression", "incomplete", "unproven", "moved", "improved", "same"]
"""regression: worse beyond the tolerance, and real; or samples collapsed; or the model no longer codes what it did.
incomplete: could not be checked. unproven: worse beyond the tolerance, but the test takes it for chance. moved: within
the tolerance, or better without proof. improved: better beyond the tolerance, and real."""


@dataclass(frozen=True, eq=False)
class Finding:
    """What became of one stored score. `what` is a metric, "samples", "record", "encoding" or "decoding".

    `collapsed` names samples that got much worse each by itself, with their values.
    """

    model: str
    data: str
    protocol: str
    what: str
    verdict: Verdict
    text: str
    tolerance: float | None = None
    difference: MetricDifference | None = None
    collapsed: Sequence[str] = ()


def finding_of(record: RunRecord, what: str, verdict: Verdict, text: str) -> Finding:
    """Return a finding on a record of the baseline."""
    return Finding(record.model.name, record.data.name, record.protocol.name, what, verdict, text)


@dataclass(frozen=True, eq=False)
class CheckResult:
    """One finding for each score of the baseline; `notes` names what else differs, `created` when the run was made."""

    findings: Sequence[Finding]
    notes: Sequence[str] = ()
    created: str = ""

    @property
    def code(self) -> int:
        """Exit code: 1 with a regression, else 3 where something could not be checked, else 0."""
        return 1 if self.of("regression") else 3 if self.of("incomplete") else 0

    def of(self, verdict: Verdict) -> list[Finding]:
        """Return the findings with this verdict."""
        return [finding for finding in self.findings if finding.verdict == verdict]


class Moved(NamedTuple):
    """A sample whose value moved."""

    finding: Finding
    sample: str
    before: float
    after: float
