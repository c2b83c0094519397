"""cvbench measures image and video autoencoders so that two numbers in one column mean the same thing.

`evaluate` measures a model, `score` generated samples; a model of your own states its `Traits`. `load` reads the
records of runs as data frames, `read_records` as they are; `protocol` gives a protocol by name with changes.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from cvbench.core.protocol import EvalProtocol, protocol
    from cvbench.core.records import RunRecord, read_records
    from cvbench.core.types import FrameRule, Traits
    from cvbench.integrations.pandas import Results, load
    from cvbench.tasks.evaluation import SamplePair, evaluate
    from cvbench.tasks.scoring.score import score

__all__ = [
    "EvalProtocol",
    "FrameRule",
    "Results",
    "RunRecord",
    "SamplePair",
    "Traits",
    "evaluate",
    "load",
    "protocol",
    "read_records",
    "score",
]

HOMES = {
    "cvbench.core.protocol": ("EvalProtocol", "protocol"),
    "cvbench.core.records": ("RunRecord", "read_records"),
    "cvbench.core.types": ("FrameRule", "Traits"),
    "cvbench.integrations.pandas": ("Results", "load"),
    "cvbench.tasks.evaluation": ("SamplePair", "evaluate"),
    "cvbench.tasks.scoring": ("score",),
}


def __getattr__(name: str) -> object:
    """Import what is asked for when it is first asked for: importing cvbench loads no torch."""
    for module, names in HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
