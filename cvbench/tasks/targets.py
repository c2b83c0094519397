"""Rows of the samples themselves: they belong to pixels and probe, and serve all models, sets and later runs."""

from collections.abc import Iterable

import torch

from cvbench.core.protocol import EvalProtocol
from cvbench.core.run import Run
from cvbench.engine.device import runtime
from cvbench.engine.loop import Made, Prepared, Unit
from cvbench.engine.measuring import Clip, Probes, measure_video
from cvbench.engine.shown import Showing
from cvbench.store import Store

TARGET = ""
"""The owner of such rows."""
VERSION = 1
"""Of how samples are shown that are not measured as they are; raise it when that changes."""


def target_unit(probes: Probes, names: Iterable[str], protocol: EvalProtocol, sample: Prepared, store: Store) -> Unit:
    """Return the rows of a sample by the feature probes `names`, as far as these can be had."""
    return Unit(TARGET, frozenset(probes.columns(names)), target_key(protocol, sample, probes.device), store)


def target_key(protocol: EvalProtocol, sample: Prepared, device: torch.device) -> str:
    """Return the key of what is measured of a sample itself, as the protocol shows it."""
    shown = Showing(protocol, sample.stride)
    task = shown.task if shown.leaves_bytes else {**shown.task, "shown": VERSION}
    return Run(protocol, sample.sha256, runtime=runtime(device), task=task).key("measure")


def describe_target(
    probes: Probes, protocol: EvalProtocol, sample: Prepared, target: Clip, unit: Unit, missing: Iterable[str]
) -> Made:
    """Measure what such a unit lacks, of the sample as the protocol shows it."""
    try:
        features = Showing(protocol, sample.stride).target(target).features
    except Exception as error:  # an encoder that refuses the size, say
        return Made(sample, unit, {}, [error])
    found = measure_video(probes, features, [name for column, name in probes.columns().items() if column in missing])
    return Made(sample, unit, found.rows, [named(name, error) for name, error in found.failed.items()])


def named(probe: str, error: Exception) -> Exception:
    """Return an error of a probe under the probe's name, for a record to say which it was."""
    error.add_note(probe)
    return error
