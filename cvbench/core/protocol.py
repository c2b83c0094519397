"""Evaluation protocols: everything that changes a number, named and versioned."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin

from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.types import Sampling


@dataclass(frozen=True)
class EvalProtocol:
    """All that changes a number. Frozen: `derive` makes a new one whose name shows what differs.

    frames, stride, start, short: see `cvbench.core.types.Sampling`. size: short side after the resize and side of
    the centre crop, in pixels (None keeps the original size). filter, antialias: the resize. round8:
    reconstructions are rounded to 8 bits before they are measured. posterior: mode or one seeded sample.
    dtype: of the networks. tiling: the model's official spatial tiling. lpips: the net that plain `lpips`
    means. psnr_mean: what is averaged before the logarithm: nothing beyond the frame ("frames"), the clip's
    frames ("clip"), or everything ("set").
    """

    name: str
    version: int
    frames: int = 33
    stride: int = 3
    start: int = 0
    short: Literal["shrink", "error"] = "shrink"
    size: int | None = 256
    filter: Literal["bicubic", "bilinear", "lanczos"] = "bicubic"
    antialias: bool = True
    crop: Literal["center", "none"] = "center"
    round8: bool = True
    posterior: Literal["mode", "sample"] = "mode"
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    tiling: bool = False
    seed: int = 0
    lpips: Literal["vgg", "alex"] = "vgg"
    psnr_mean: Literal["frames", "clip", "set"] = "frames"
    reader: Literal["pyav", "decord"] = "pyav"

    @property
    def sampling(self) -> Sampling:
        """Which frames of a file are wanted."""
        return Sampling(self.frames, self.stride, self.start, self.short)

    @property
    def preparation(self) -> dict[str, object]:
        """The fields that decide the prepared pixels."""
        names = ("frames", "stride", "start", "short", "size", "filter", "antialias", "crop", "reader")
        return {name: getattr(self, name) for name in names}

    @property
    def reconstruction(self) -> dict[str, object]:
        """The fields that, with model and prepared pixels, decide the reconstruction."""
        return {name: getattr(self, name) for name in ("round8", "posterior", "dtype", "tiling", "seed")}

    def as_dict(self) -> dict[str, object]:
        """Return every field, for the record and the signature."""
        return asdict(self)


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
    settable = {f.name: f.type for f in fields(base) if f.name not in ("name", "version")}
    result = base
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise UsageError(f"--set takes FIELD=VALUE, got {change!r}; fields: {', '.join(settable)}")
        if key not in settable:
            raise UnknownName("protocol field", key, settable)
        result = replace(result, **{key: parse_value(key, text, settable[key])})
    differing = [f"{k}={getattr(result, k)}".lower() for k in settable if getattr(result, k) != getattr(base, k)]
    result = replace(result, name="+".join([base.name, *differing]))
    check(result)
    return result


def parse_value(key: str, text: str, kind: Any) -> Any:
    """Read `text` as a value of the field's type `kind`."""
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if get_origin(kind) is Literal and text in get_args(kind):
        return text
    if kind in (int, int | None) and text.lstrip("-").isdigit():
        return int(text)
    if kind == int | None and text.lower() == "none":
        return None
    choices = get_args(kind) if get_origin(kind) is Literal else ("true", "false") if kind is bool else ("an integer",)
    raise UsageError(f"{key} cannot be {text!r}; it takes {' or '.join(map(str, choices))}")


def check(p: EvalProtocol) -> None:
    """Refuse values that no clip could satisfy."""
    limits = {"frames": 1, "stride": 1, "start": 0, "seed": 0, "size": 16}
    for key, least in limits.items():
        value = getattr(p, key)
        if value is not None and value < least:
            raise UsageError(f"{key} must be at least {least}, got {value}")
    if p.crop == "center" and p.size is None:
        return
    if p.size is not None and not p.antialias and p.filter == "lanczos":
        raise UsageError("filter=lanczos has no form without antialias; use bicubic or bilinear")
