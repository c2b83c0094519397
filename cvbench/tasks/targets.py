"""Rows of the samples themselves: they belong to pixels and probe, and serve all models, sets and later runs."""

from collections.abc import Iterable

from cvbench.core.protocol import EvalProtocol
from cvbench.core.run import Run
from cvbench.engine.device import runtime
from cvbench.engine.loop import Made, Prepared, Unit
from cvbench.engine.measuring import Clip, Probes, measure_video
from cvbench.engine.shown import Showing
from cvbench.store import Store

TARGET = ""
"""The owner of such rows."""


def target_unit(probes: Probes, names: Iterable[str], protocol: EvalProtocol, sample: Prepared, store: Store) -> Unit:
    """Return the rows of a sample by the feature probes `names`, as far as these can be had."""
    shown = Showing(protocol, sample.stride)
    run = Run(protocol, sample.sha256, runtime=runtime(probes.device), task=shown.task)
    return Unit(TARGET, frozenset(probes.columns(names)), run.key("measure"), store)


def describe_target(probes: Probes, sample: Prepared, target: Clip, unit: Unit, missing: Iterable[str]) -> Made:
    """Measure what such a unit lacks."""
    found = measure_video(probes, target, [name for column, name in probes.columns().items() if column in missing])
    return Made(sample, unit, found.rows, [named(name, error) for name, error in found.failed.items()])


def named(probe: str, error: Exception) -> Exception:
    """Return an error of a probe under the probe's name, for a record to say which it was."""
    error.add_note(probe)
    return error
