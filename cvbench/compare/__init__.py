"""Records against records: what moved, by how much, whether it is real, and whether it is worse. No torch."""

from cvbench.compare.baseline import Saved, save_baseline
from cvbench.compare.finding import CheckResult, Finding
from cvbench.compare.gate import TOLERANCES, check, most_moved, parse_tolerances
from cvbench.compare.paired import Comparison, MetricDifference, Unpaired, compare
from cvbench.compare.runs import compare_runs, correct

__all__ = [
    "TOLERANCES",
    "CheckResult",
    "Comparison",
    "Finding",
    "MetricDifference",
    "Saved",
    "Unpaired",
    "check",
    "compare",
    "compare_runs",
    "correct",
    "most_moved",
    "parse_tolerances",
    "save_baseline",
]
