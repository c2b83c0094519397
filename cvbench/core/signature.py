"""What must agree before two scores may share a column."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from cvbench.core.errors import UsageError
from cvbench.core.fields import FIRST_FIELDS, EvalProtocol, as_text, settable

SHOWN = 12
"""Digits of a manifest that a signature holds."""


@dataclass(frozen=True)
class Signature:
    """Metric and version of its probe, data and the digest of their pixels, protocol; equal ones share a column.

    `generated` counts the generated samples where a metric's bias depends on their number. The text of a signature is
    for reading and for nothing else; it is parsed in one place, for records that hold the text alone.
    """

    metric: str
    version: str
    data: str
    manifest: str
    protocol: EvalProtocol
    generated: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "manifest", self.manifest[:SHOWN])

    @property
    def head(self) -> str:
        """Metric and version."""
        return f"{self.metric}:{self.version}"

    @property
    def tail(self) -> str:
        """All but metric and version, on one line: what metrics that were measured alike have in common."""
        return " ".join(f"{key}={value}" for key, value in self._pairs())

    @property
    def text(self) -> str:
        """All of it on one line."""
        return f"{self.head} {self.tail}"

    @property
    def short(self) -> str:
        """Without the fields of the protocol, whose name says in what they differ from it."""
        held = f" generated={self.generated}" if self.generated is not None else ""
        return f"{self.head} data={self.held} protocol={self.named}{held}"

    @property
    def held(self) -> str:
        """Data and the digest of their pixels."""
        return f"{self.data}#{self.manifest}" if self.manifest else self.data

    @property
    def named(self) -> str:
        """Protocol and version; its name says in what it differs from a named one."""
        return f"{self.protocol.name}/{self.protocol.version}"

    def _pairs(self) -> Iterator[tuple[str, str]]:
        yield "data", self.held
        yield "protocol", self.named
        yield from ((name, as_text(getattr(self.protocol, name))) for name in FIRST_FIELDS)
        later = [f for f in settable() if f.name not in FIRST_FIELDS and getattr(self.protocol, f.name) != f.default]
        yield from ((f.name, as_text(getattr(self.protocol, f.name))) for f in later)
        if self.generated is not None:
            yield "generated", str(self.generated)

    def difference(self, other: "Signature") -> str:
        """Say in what another signature differs from this one; "" for an equal one."""
        mine, theirs = ({"metric": s.head, **dict(s._pairs())} for s in (self, other))
        keys = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
        return ", ".join(f"{key} is {theirs.get(key)} instead of {mine.get(key)}" for key in keys)

    def without_samples(self) -> "Signature":
        """Return the signature without the pixels it is of, for what was measured alike on some of them."""
        return replace(self, data="", manifest="")

    def as_dict(self) -> dict[str, Any]:
        """Return what a record keeps beside its own protocol."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "protocol"}
        return kept if self.generated is not None else {k: v for k, v in kept.items() if k != "generated"}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], protocol: EvalProtocol) -> "Signature":
        """Read what `as_dict` gave. Raises UsageError naming what is missing, unknown or of another kind."""
        kinds = {"metric": str, "version": str, "data": str, "manifest": str, "generated": int}
        wrong = [key for key, value in raw.items() if not isinstance(value, kinds.get(key, ()))]
        wrong += [key for key in ("metric", "version", "data", "manifest") if key not in raw]
        if wrong:
            raise UsageError(f"a signature's {', '.join(wrong)} is missing, unknown or of another kind")
        return cls(**raw, protocol=protocol)

    @classmethod
    def parse(cls, text: str) -> "Signature":
        """Read `text`, as records of schema 1 hold it; fields that it lacks have their defaults. Raises UsageError."""
        start, _, rest = text.partition(" data=")
        data, found, tail = rest.rpartition(" protocol=")
        metric, colon, version = start.partition(":")
        named, *tokens = tail.split(" ")
        name, slash, number = named.rpartition("/")
        pairs = dict(token.split("=", 1) for token in tokens if "=" in token)
        if not (found and colon and slash and number.isdecimal()):
            raise UsageError(f"{text[:200]!r} is no signature")
        generated = pairs.pop("generated", None)
        held, _, manifest = data.rpartition("#") if "#" in data else (data, "", "")
        protocol = EvalProtocol.from_dict({"name": name, "version": int(number), **pairs})
        return cls(metric, version, held, manifest, protocol, int(generated) if generated else None)
