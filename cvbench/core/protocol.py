"""Evaluation protocols: everything that changes a number, named, versioned, frozen; every field says where it acts."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias, TypeVar, get_args, get_origin

from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.types import Sampling

Stage = Literal["read", "prepare", "code", "measure", "reduce"]
"""Where a field acts: which frames are read, how they become prepared pixels, how the model codes those, how the
reconstruction is measured, how rows are reduced to a score. Cache keys are made of the stages up to their own."""
Size: TypeAlias = int | tuple[int, int] | None
T = TypeVar("T")
WHOLE = re.compile(r"-?[0-9]{1,9}", re.ASCII)
RECTANGLE = re.compile(r"([0-9]{1,6})[x×]([0-9]{1,6})", re.ASCII)


def _at(stage: Stage, default: T) -> T:
    made: T = field(default=default, metadata={"stage": stage})
    return made


@dataclass(frozen=True)
class EvalProtocol:
    """All that changes a number. Frozen: `derive` makes a new one whose name shows what differs.

    frames, stride, start, short: see `cvbench.core.types.Sampling`; reader decodes the files. size: short side after
    the resize and side of the centre crop in pixels, or HEIGHTxWIDTH, or None, which keeps the original size. filter,
    antialias: the resize. posterior: mode or one seeded sample. dtype: of the networks; fp32 is exact on every device,
    tf32 lets a GPU round the factors of products to 10 bits. tiling: the model's official spatial tiling. round8:
    reconstructions are rounded to 8 bits before they are measured. lpips: the net that plain `lpips` means. psnr_mean:
    what is averaged before the logarithm: nothing beyond the frame ("frames"), the clip's frames ("clip"), or
    everything ("set").

    The default of a field is what was done before there was the field, and never changes: records that are older than
    a field are read with its default. What else should hold is another named protocol.
    """

    name: str
    version: int
    frames: int = _at("read", 33)
    stride: int = _at("read", 3)
    start: int = _at("read", 0)
    short: Literal["shrink", "error"] = _at("read", "shrink")
    size: Size = _at("prepare", 256)  # noqa: RUF009 - a field, made as the others are
    filter: Literal["bicubic", "bilinear", "lanczos"] = _at("prepare", "bicubic")
    antialias: bool = _at("prepare", True)
    crop: Literal["center", "none"] = _at("prepare", "center")
    round8: bool = _at("measure", True)
    posterior: Literal["mode", "sample"] = _at("code", "mode")
    dtype: Literal["fp32", "bf16", "fp16", "tf32"] = _at("code", "fp32")
    tiling: bool = _at("code", False)
    seed: int = _at("code", 0)
    lpips: Literal["vgg", "alex"] = _at("reduce", "vgg")
    psnr_mean: Literal["frames", "clip", "set"] = _at("reduce", "frames")
    reader: Literal["pyav", "decord"] = _at("read", "pyav")

    @property
    def sampling(self) -> Sampling:
        """Which frames of a file are wanted."""
        return Sampling(self.frames, self.stride, self.start, self.short)

    def of(self, *stages: Stage) -> dict[str, Any]:
        """Return the fields that act at these stages, as JSON values."""
        return {f.name: jsonable(getattr(self, f.name)) for f in settable() if f.metadata["stage"] in stages}

    def as_dict(self) -> dict[str, Any]:
        """Return every field as a JSON value, for the record."""
        return {f.name: jsonable(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "EvalProtocol":
        """Read what `as_dict` gave, fields that are missing by their defaults. Raises UsageError naming the field."""
        name, version = raw.get("name"), raw.get("version")
        if not isinstance(name, str) or not name or not _is_whole(version):
            raise UsageError(f"a protocol has a name and a whole number as version, not {name!r} and {version!r}")
        kinds = {f.name: f for f in settable()}
        if unknown := [key for key in raw if key not in kinds and key not in ("name", "version")]:
            raise UsageError(f"this cvbench knows no protocol field {', '.join(map(repr, unknown))}")
        values = {key: parse_value(key, as_text(raw[key]), kinds[key].type) for key in raw if key in kinds}
        return checked(cls(name, int(version or 0), **values))


def settable() -> tuple["Field[Any]", ...]:
    """Return the fields that change a number."""
    return tuple(f for f in fields(EvalProtocol) if "stage" in f.metadata)


def jsonable(value: Any) -> Any:
    """Return a field's value as JSON has it; height and width become a text."""
    return "x".join(map(str, value)) if isinstance(value, tuple) else value


def as_text(value: object) -> str:
    """Return a field's value as it is written behind FIELD=."""
    return str(jsonable(value)).lower()


PROTOCOLS = {
    "cvvae-2405": EvalProtocol("cvvae-2405", 1),
    "cvbench-1": EvalProtocol("cvbench-1", 1, frames=17, stride=1),
}


def protocol(name: str, changes: Iterable[str] = ()) -> EvalProtocol:
    """Return the protocol called `name` with `FIELD=VALUE` changes applied.

    Raises UnknownName for an unknown protocol or field, UsageError for a value the field cannot take.
    """
    if name not in PROTOCOLS:
        raise UnknownName("protocol", name, PROTOCOLS)
    return derive(PROTOCOLS[name], changes)


def derive(base: EvalProtocol, changes: Iterable[str]) -> EvalProtocol:
    """Return `base` changed by `FIELD=VALUE` strings; the name gains `+FIELD=VALUE` for what really differs."""
    kinds = {f.name: f.type for f in settable()}
    result = base
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise UsageError(f"--set takes FIELD=VALUE, got {change!r}; fields: {', '.join(kinds)}")
        if key not in kinds:
            raise UnknownName("protocol field", key, kinds)
        result = replace(result, **{key: parse_value(key, text, kinds[key])})
    differing = [f"{k}={as_text(getattr(result, k))}" for k in kinds if getattr(result, k) != getattr(base, k)]
    return checked(replace(result, name="+".join([base.name, *differing])))


def parse_value(key: str, text: str, kind: Any) -> Any:
    """Read `text` as a value of the field's type `kind`. Raises UsageError."""
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if get_origin(kind) is Literal and text in get_args(kind):
        return text
    if kind in (int, Size) and WHOLE.fullmatch(text):
        return int(text)
    if kind == Size and text.lower() == "none":
        return None
    if kind == Size and (sides := RECTANGLE.fullmatch(text)):
        return int(sides[1]), int(sides[2])
    raise UsageError(f"{key} cannot be {text[:80]!r}; it takes {' or '.join(map(str, _choices(kind)))}")


def _choices(kind: Any) -> tuple[object, ...]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    if kind is bool:
        return ("true", "false")
    return ("a whole number", "HEIGHTxWIDTH", "none") if kind == Size else ("a whole number",)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def checked(p: EvalProtocol) -> EvalProtocol:
    """Return the protocol. Raises UsageError for values that no clip could satisfy."""
    sides = p.size if isinstance(p.size, tuple) else (p.size,)
    limits = [("frames", p.frames, 1), ("stride", p.stride, 1), ("start", p.start, 0), ("seed", p.seed, 0)]
    for key, value, least in [*limits, *(("size", side, 16) for side in sides)]:
        if value is not None and value < least:
            raise UsageError(f"{key} must be at least {least}, got {value}")
    if p.size is not None and not p.antialias and p.filter == "lanczos":
        raise UsageError("filter=lanczos has no form without antialias; use bicubic or bilinear")
    return p
