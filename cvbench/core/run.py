"""What rows are made from, and the one recipe of every cache key."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cvbench.core.digest import digest
from cvbench.core.fields import EvalProtocol, Stage

ACTING: Mapping[Stage, tuple[Stage, ...]] = {
    "prepare": ("read", "prepare"),
    "code": ("code",),
    "measure": ("code", "measure"),
}
"""The stages whose fields decide what a key stands for. Those before are in the source: it is the file at first, and
the prepared pixels themselves from then on."""


@dataclass(frozen=True)
class Run:
    """A sample on its way through a protocol.

    `source` is the fingerprint of the sample's files until it is prepared, then the SHA-256 of its prepared pixels (of
    a text, of its letters). `subject` holds the keys of the models that code it, none where the sample itself is
    described. `runtime` is what computes: versions of libraries, kind of device. `task` is what a task does beside.
    """

    protocol: EvalProtocol
    source: str
    subject: tuple[str, ...] = ()
    runtime: Mapping[str, str] = field(default_factory=dict)
    task: Mapping[str, object] = field(default_factory=dict)

    def key(self, stage: Stage) -> str:
        """Return the key of what is known after a stage: all that made it, and nothing that comes later."""
        acting = [s for s in ACTING[stage] if self.subject or s != "code"]
        return digest(
            {
                "stage": stage,
                "source": self.source,
                "subject": self.subject,
                "fields": self.protocol.of(*acting),
                "runtime": dict(self.runtime),
                "task": dict(self.task),
            }
        )
