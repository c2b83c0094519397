"""What measuring costs: CPU seconds by probe, found by `benchmarks/bench_metrics.py` and packaged beside it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from cvbench.core.errors import UsageError
from cvbench.core.suites import folder

FILE = "metric-costs.toml"


@dataclass(frozen=True)
class Costs:
    """CPU seconds that each probe takes for 100 frames of `clip`, target and one reconstruction, on `machine`."""

    machine: str
    clip: str
    seconds: Mapping[str, float]

    @property
    def about(self) -> str:
        """Where the seconds are from."""
        return f"CPU seconds for 100 frames of {self.clip} and their targets, on {self.machine}"


def read_costs() -> Costs:
    """Read the costs. Raises UsageError for a file that the benchmark did not write."""
    path = folder() / FILE
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Costs)
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise UsageError(f"{path}: {error}; write it again: python benchmarks/bench_metrics.py") from error
