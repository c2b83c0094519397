"""What rows are made from, and the one recipe of every cache key."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from cvbench.core.digest import canonical, quoted, text_digest
from cvbench.core.fields import EvalProtocol, Stage

ACTING: Mapping[Stage, tuple[Stage, ...]] = {
    "prepare": ("read", "prepare"),
    "draw": ("draw",),
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
        """Return the key of what is known after a stage: all that made it, and nothing that comes later.

        It is the digest of a table of these parts, put together here because it is made for every sample and model.
        """
        acting = tuple(s for s in ACTING[stage] if self.subject or s != "code")
        parts = {
            "fields": _fields(self.protocol, acting),
            **self._drawn(stage),
            "runtime": _table((k, quoted(v)) for k, v in sorted(self.runtime.items())),
            "source": quoted(self.source),
            "stage": quoted(stage),
            "subject": f"[{','.join(map(quoted, self.subject))}]",
            "task": canonical(dict(self.task)) if self.task else "{}",
        }
        return text_digest(_table(parts.items()))

    def _drawn(self, stage: Stage) -> dict[str, str]:
        """Return the seed where it chooses the frames, which no other field of that stage tells."""
        drawn = stage == "prepare" and self.protocol.start == "random"
        return {"seed": canonical(self.protocol.seed)} if drawn else {}


def _table(items: Iterable[tuple[str, str]]) -> str:
    """Return a JSON object whose values are JSON already."""
    return f"{{{','.join(f'{quoted(name)}:{text}' for name, text in items)}}}"


@lru_cache(maxsize=256)
def _fields(protocol: EvalProtocol, stages: tuple[Stage, ...]) -> str:
    """Return the fields that act at these stages in canonical JSON: the same for all samples of a run."""
    return canonical(protocol.of(*stages))
