"""The fields of a protocol: everything that changes a number; every field says where it acts and what it means."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, get_args, get_origin

from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.types import Sampling

Stage = Literal["read", "prepare", "draw", "code", "measure", "reduce"]
"""Where a field acts: which frames are read, how they become prepared pixels, how a generator draws latents, how the
model codes, how the reconstruction is measured, how rows are reduced to a score. Cache keys are made of the stages up
to their own."""
Size: TypeAlias = int | tuple[int, int] | None
Number: TypeAlias = int | float | None
DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
T = TypeVar("T")
WHOLE = re.compile(r"-?[0-9]{1,9}", re.ASCII)
RECTANGLE = re.compile(r"([0-9]{1,6})[x×]([0-9]{1,6})", re.ASCII)
FIRST_FIELDS = (
    "frames", "stride", "start", "short", "size", "filter", "antialias", "crop", "eight", "posterior", "dtype",
    "tiling", "seed", "lpips", "psnr_mean", "reader",
)  # fmt: skip
"""Fields that the text of a signature always shows; a later field is shown where it differs from its default."""
RENAMED = {"round8": ("eight", {"true": "round", "false": "none"})}
"""Fields of older records, and what they were called and valued by then."""


class Form(NamedTuple):
    """Values of a field that are more than a list of words: whole texts that a pattern takes, and how help says it."""

    pattern: str
    says: tuple[str, ...]


FRAMES = Form(r"all|all-1\+4k", ("a whole number", "all", "all-1+4k"))
START = Form("center|random", ("a whole number", "center", "random"))
RATE = Form(r"none|linspace-[1-9][0-9]{0,3}", ("none", "a whole number", "linspace-N"))
THROUGH = Form(
    r"none|png|mp4v|h264-qp[1-5]?[0-9]|h264-crf[1-5]?[0-9]|h264-1024k",
    ("none", "png", "mp4v", "h264-qpN", "h264-crfN", "h264-1024k"),
)
AVERAGE_NETS = Form(r"as|clips|items|batches-[1-9][0-9]{0,5}", ("as", "clips", "items", "batches-N"))
AVERAGE = Form(r"clips|items|batches-[1-9][0-9]{0,5}", ("clips", "items", "batches-N"))


def _at(stage: Stage, step: str, default: T, about: str, *, also: Stage | None = None, form: Form | None = None) -> T:
    """Declare a field: where it acts, the step of `explain` that changes it, its default, and its exact meaning."""
    stages = (stage,) if also is None else (stage, also)
    made: T = field(default=default, metadata={"stages": stages, "step": step, "about": about, "form": form})
    return made


@dataclass(frozen=True)
class EvalProtocol:
    """All that changes a number. Frozen: `derive` makes a new one whose name shows what differs.

    What each field means stands beside it, in the order of the way of the data; `docs/protocols.md` is made from that.
    The default of a field is what was done before there was the field, and never changes: records that are older than
    a field are read with its default. What else should hold is another named protocol.
    """

    name: str
    version: int
    frames: int | str = _at(
        "read", "frames", 33, "how many frames are taken of a clip; all: every one from `start` on, `stride` apart;"
        " all-1+4k: of those the most that are 1 + 4k", form=FRAMES,
    )  # fmt: skip
    stride: int = _at("read", "pace", 3, "distance of two frames that are taken, in frames of the file")
    rate: int | str = _at(
        "read", "pace", "none", "N: the stride is the file's frame rate / N, rounded half to even, at least 1, whatever"
        " `stride` says; linspace-N: a file of n frames at a higher rate than N is first thinned to the int(n / rate ·"
        " N) frames int(linspace(0, n − 1, ·))", form=RATE,
    )  # fmt: skip
    spacing: Literal["step", "spread"] = _at(
        "read", "pace", "step", "step: frames 0, stride, 2 · stride …; spread: int(linspace(0, stride · frames − 1,"
        " frames)), the same at stride 1, at stride 3 a little wider",
    )  # fmt: skip
    start: int | str = _at(
        "read", "start", 0, "first frame; center: n // 2 − frames // 2 of n frames; random: drawn from 0 … max(0, n −"
        " frames − 1) by `seed` and the clip's name", form=START,
    )  # fmt: skip
    windows: Literal["first", "all"] = _at(
        "read", "windows", "first", "all: a clip is cut from `start` on into runs of `frames`, each an item of its own;"
        " what is left at the end is treated as `short` says",
    )  # fmt: skip
    short: Literal["shrink", "error", "repeat", "skip", "black", "spread"] = _at(
        "read", "short", "shrink", "a clip with too few frames: shrink takes a smaller stride (available − start) //"
        " frames and then fewer frames; error refuses it; repeat fills up with the last frame taken; skip leaves it out"
        " and says how many; black fills up with black; spread takes int(n / (stride · frames) · frames) frames spread"
        " over all n, of which the most that are 1 + 4k",
    )  # fmt: skip
    size: Size = _at(  # noqa: RUF009 - a field, made as the others are
        "prepare", "geometry", 256, "short side after the resize and side of the crop in pixels, or HEIGHTxWIDTH; none"
        " keeps the size",
    )  # fmt: skip
    filter: Literal["bicubic", "bilinear", "lanczos", "bilinear-corners"] = _at(
        "prepare", "geometry", "bicubic", "kernel of the resize; bilinear-corners: corners aligned (resizer=float)"
    )
    antialias: bool = _at("prepare", "geometry", True, "the kernel widens as the picture shrinks")
    crop: Literal["center", "none", "multiple8"] = _at(
        "prepare", "geometry", "center", "center: cut to `size`; multiple8: right and bottom are cut to multiples of 8"
    )
    fit: Literal["short", "stretch", "halve", "short-round", "short-scale", "short-even"] = _at(
        "prepare", "geometry", "short", "short: the long side follows, rounded down, crop at round((length − size) /"
        " 2); short-round: rounded to the nearest, crop at (length − size) // 2; short-scale: rounded down, and points"
        " taken by the scale itself, not by the ratio of the sides; short-even: long side int(x + 0.5), made even, no"
        " crop; stretch: straight to height and width; halve: halved by a box while the short side is 2 · size or more,"
        " then bicubic to both sides rounded, crop at (length − size) // 2",
    )  # fmt: skip
    resizer: Literal["pil8", "float", "torch8", "cv2", "swscale"] = _at(
        "prepare", "geometry", "pil8", "pil8: Pillow on bytes; float: torch on floats, not rounded to bytes; torch8:"
        " the same, rounded to bytes; cv2: OpenCV's INTER_LINEAR on bytes, in its fixed-point arithmetic; swscale:"
        " FFmpeg's bilinear scaling, on bytes",
    )  # fmt: skip
    cast: Literal["none", "bf16", "fp16", "bf16-signed", "fp16-signed", "fp32-signed"] = _at(
        "prepare", "precision", "none", "precision that prepared pixels, target and model's input alike, are rounded to"
        " in [0, 1] and again in [−1, 1], or with -signed in [−1, 1] alone; `eight` then computes in it",
        also="measure",
    )  # fmt: skip
    dtype: Literal["fp32", "bf16", "fp16", "tf32"] = _at(
        "code", "precision", "fp32", "of the networks; fp32 is exact on every device, tf32 lets a GPU round the factors"
        " of products to 10 bits",
    )  # fmt: skip
    posterior: Literal["mode", "sample"] = _at("code", "posterior", "mode", "mode, or one seeded sample")
    seed: int = _at("code", "posterior", 0, "of everything drawn at random")
    tiling: bool = _at("code", "tiling", False, "the model's official spatial tiling")
    window: int = _at(
        "code", "window", 0, "N: the model is given N frames at a time, each run by itself, and the results are put"
        " together; 0: the clip whole",
    )  # fmt: skip
    padding: Literal["replicate", "black", "grey"] = _at(
        "code", "window", "replicate", "how frames are brought to what the model takes: replicate repeats the last"
        " frame, row and column to the model's own rule; black pads time by repetition, half in front, to 1 + 8k, and"
        " sides by black, half in front, to multiples of 16; grey pads sides alone, by mid grey",
    )  # fmt: skip
    eight: Literal["round", "half-up", "floor", "none", "raw"] = _at(
        "measure", "bytes", "round", "how reconstruction and target become bytes before PSNR and SSIM: round, halves to"
        " even; half-up and floor go through [−1, 1] in the precision of `cast` and cut off, half-up after adding 0.5;"
        " that way takes a level off some bytes that nobody touched, or adds one; raw: not even cut to [0, 1]",
    )  # fmt: skip
    eight_nets: Literal["as", "round", "half-up", "floor", "none", "raw"] = _at(
        "measure", "bytes", "as", "the same for LPIPS, Inception and I3D: as `eight`, or otherwise",
    )  # fmt: skip
    remap: Literal["none", "half"] = _at(
        "measure", "bytes", "none", "half: pixels x of both sides are measured as (1 + x) / 2, by all but Inception"
        " and I3D",
    )  # fmt: skip
    through: str = _at(
        "measure", "file", "none", "a file between model and metric, of bytes: png changes nothing more; mp4v is"
        " OpenCV's MPEG-4; h264-qpN and h264-crfN are x264 at that quality; h264-1024k at 1,024,000 bits a second",
        form=THROUGH,
    )  # fmt: skip
    through_fps: int = _at(
        "measure", "file", 30, "frame rate that the file is written at, before it is divided by the clip's stride; mp4v"
        " and h264-1024k depend on it",
    )  # fmt: skip
    through_side: Literal["both", "recon"] = _at(
        "measure", "file's side", "both", "which side passes the file: both, or the reconstruction alone"
    )
    display: Literal["standard_4k", "standard_fhd", "standard_phone", "standard_hmd"] = _at(
        "measure", "display", "standard_4k", "what cvvdp shows frames on, by its names: a monitor of 30 inches and"
        " 3840 × 2160 px, or of 24 inches and 1920 × 1080 px, both from two heights; a phone; a headset",
    )  # fmt: skip
    display_fps: int = _at(
        "measure", "display", 30, "frames a second at which cvvdp shows clips, whatever their stride"
    )
    ssim: Literal["gauss", "down", "uniform7", "padded", "padded-signed"] = _at(
        "reduce", "ssim", "gauss", "what plain `ssim` means: gauss window 11, valid region; down: the same after"
        " averaging by round(min side / 256); uniform7: 7 × 7 uniform, sample covariance; padded: gauss, border"
        " mirrored, mean over the whole picture; padded-signed: that on [−1, 1] with range 2, on what LPIPS sees",
    )  # fmt: skip
    lpips: Literal["vgg", "alex"] = _at("reduce", "lpips", "vgg", "the net that plain `lpips` means")
    lpips_input: Literal["signed", "unit"] = _at(
        "reduce", "lpips", "signed", "unit: the net is fed pixels in [0, 1] where [−1, 1] is meant"
    )
    psnr_mean: Literal["frames", "clip", "set"] = _at(
        "reduce", "psnr mean", "frames", "what is averaged before the logarithm: nothing beyond the frame, the clip's"
        " frames, or everything",
    )  # fmt: skip
    psnr_equal: Literal["frame", "clip", "mse", "root"] = _at(
        "reduce", "psnr of equals", "frame", "frame: equal frames give 100 dB; clip: one equal frame makes the whole"
        " clip 100 dB; mse: 1e-8 is added to the error of every frame, so 80 dB at most; root: 2^-23 of a level to its"
        " root",
    )  # fmt: skip
    fid_resize: Literal["torch", "tf1"] = _at(
        "reduce", "fid resize", "torch", "how pictures become 299² for Inception: torch's bilinear, or TensorFlow 1's"
    )
    fvd_batch: int = _at(
        "reduce", "fvd", 0, "N: mean of the Fréchet distances of runs of N clips; of one clip, the squared difference"
        " of the means; 0: of all at once",
    )  # fmt: skip
    fvd_prefixes: bool = _at(
        "reduce", "fvd", False, "mean over the FVD of the first 10, 11, … frames, up to all of them"
    )
    average: str = _at(
        "reduce", "average", "clips", "clips: mean of clips, of whose windows the mean is taken first; items: every"
        " window counts; batches-N: mean of the means of runs of N items, the last run short", form=AVERAGE,
    )  # fmt: skip
    average_nets: str = _at(
        "reduce", "average", "as", "the same for LPIPS and for SSIM on what LPIPS sees: as `average`, or otherwise",
        form=AVERAGE_NETS,
    )  # fmt: skip
    reader: Literal["pyav", "decord"] = _at("read", "reader", "pyav", "what decodes the files")
    steps: Number = _at("draw", "draw", None, "of a generator's scheduler; none is the generator's own, here and below")  # noqa: RUF009
    guidance: Number = _at("draw", "draw", None, "weight of the condition; of videos, in the last frame")  # noqa: RUF009
    guidance_first: Number = _at("draw", "draw", None, "the same in the first frame of videos")  # noqa: RUF009
    scheduler: Literal["own", "euler", "ddim", "pndm"] = _at("draw", "draw", "own", "which one takes the steps")
    video_frames: Number = _at("draw", "draw", None, "frames that the generator is asked for")  # noqa: RUF009
    video_fps: Number = _at("draw", "draw", None, "frame rate that the generator is told")  # noqa: RUF009
    motion: Number = _at("draw", "draw", None, "number of the motion bucket that the generator is told")  # noqa: RUF009
    noise: Number = _at("draw", "draw", None, "added to the first frame that the generator is given")  # noqa: RUF009
    drawn_in: Literal["own", "fp32", "fp16", "bf16"] = _at("draw", "draw", "own", "dtype of the generator's networks")

    @property
    def sampling(self) -> Sampling:
        """Which frames of a file are wanted."""
        return Sampling(
            self.frames, self.stride, self.start, self.short, self.rate, self.spacing, self.windows, seed=self.seed
        )

    def of(self, *stages: Stage) -> dict[str, Any]:
        """Return the fields that act at these stages and differ from their defaults, as JSON values.

        A field that did not exist when something was stored had its default then: the key of it stays the same.
        """
        acting = [f for f in settable() if set(f.metadata["stages"]) & set(stages)]
        return {f.name: jsonable(value) for f in acting if (value := getattr(self, f.name)) != f.default}

    def as_dict(self) -> dict[str, Any]:
        """Return every field as a JSON value, for the record."""
        return {f.name: jsonable(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "EvalProtocol":
        """Read what `as_dict` gave, fields that are missing by their defaults. Raises UsageError naming the field."""
        name, version = raw.get("name"), raw.get("version")
        if not isinstance(name, str) or not name or not _is_whole(version):
            raise UsageError(f"a protocol has a name and a whole number as version, not {name!r} and {version!r}")
        raw = dict(map(_as_named_now, raw.items()))
        kinds = {f.name: f for f in settable()}
        if unknown := [key for key in raw if key not in kinds and key not in ("name", "version")]:
            raise UsageError(f"this cvbench knows no protocol field {', '.join(map(repr, unknown))}")
        values = {key: parse_value(kinds[key], as_text(raw[key])) for key in raw if key in kinds}
        return checked(cls(name, int(version or 0), **values))


def settable() -> tuple["Field[Any]", ...]:
    """Return the fields that change a number."""
    return tuple(f for f in fields(EvalProtocol) if "stages" in f.metadata)


def _as_named_now(pair: tuple[str, Any]) -> tuple[str, Any]:
    """Return a field and its value under the names they have now."""
    name, value = pair
    if name not in RENAMED:
        return name, value
    now, values = RENAMED[name]
    return now, values.get(as_text(value), value)


def jsonable(value: Any) -> Any:
    """Return a field's value as JSON has it; height and width become a text."""
    return "x".join(map(str, value)) if isinstance(value, tuple) else value


def as_text(value: object) -> str:
    """Return a field's value as it is written behind FIELD=."""
    return str(jsonable(value)).lower()


def derive(base: EvalProtocol, changes: Iterable[str]) -> EvalProtocol:
    """Return `base` changed by `FIELD=VALUE` strings; the name gains `+FIELD=VALUE` for what really differs."""
    kinds = {f.name: f for f in settable()}
    result = base
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise UsageError(f"--set takes FIELD=VALUE, got {change!r}; fields: {', '.join(kinds)}")
        key, text = _as_named_now((key, text))
        if key not in kinds:
            raise UnknownName("protocol field", key, kinds)
        result = replace(result, **{key: parse_value(kinds[key], text)})
    differing = [f"{k}={as_text(getattr(result, k))}" for k in kinds if getattr(result, k) != getattr(base, k)]
    return checked(replace(result, name="+".join([base.name, *differing])))


def parse_value(kind: "Field[Any]", text: str) -> Any:
    """Read `text` as a value of a field. Raises UsageError."""
    form: Form | None = kind.metadata["form"]
    if kind.type is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if (get_origin(kind.type) is Literal and text in get_args(kind.type)) or (
        form and re.fullmatch(form.pattern, text, re.ASCII)
    ):
        return text
    if kind.type in (int, int | str, Size) and WHOLE.fullmatch(text):
        return int(text)
    if kind.type in (Size, Number) and text.lower() == "none":
        return None
    if kind.type == Number and DECIMAL.fullmatch(text):
        return int(text) if WHOLE.fullmatch(text) else float(text)
    if kind.type == Size and (sides := RECTANGLE.fullmatch(text)):
        return int(sides[1]), int(sides[2])
    raise UsageError(f"{kind.name} cannot be {text[:80]!r}; it takes {' or '.join(map(str, choices(kind)))}")


def choices(kind: "Field[Any]") -> tuple[object, ...]:
    """Return what a field can be, as help says it."""
    form: Form | None = kind.metadata["form"]
    if form:
        return form.says
    if get_origin(kind.type) is Literal:
        return get_args(kind.type)
    if kind.type is bool:
        return ("true", "false")
    if kind.type == Number:
        return ("a number", "none")
    return ("a whole number", "HEIGHTxWIDTH", "none") if kind.type == Size else ("a whole number",)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


LEAST = {
    "frames": 1,
    "stride": 1,
    "rate": 1,
    "start": 0,
    "seed": 0,
    "window": 0,
    "through_fps": 1,
    "display_fps": 1,
    "fvd_batch": 0,
}
"""The least that a number can be."""


def checked(p: EvalProtocol) -> EvalProtocol:
    """Return the protocol. Raises UsageError for values that no clip could satisfy, and for fields that disagree."""
    sides = p.size if isinstance(p.size, tuple) else (p.size,)
    limits = [(key, getattr(p, key), least) for key, least in LEAST.items()]
    for key, value, least in [*limits, *(("size", side, 16) for side in sides)]:
        if isinstance(value, int) and value < least:
            raise UsageError(f"{key} must be at least {least}, got {value}")
    for holds, words in _contradictions(p):
        if holds:
            raise UsageError(words)
    return p


def refuse_undone(p: EvalProtocol, holds: Mapping[str, object], what: str) -> None:
    """Raise UsageError for fields that would be signed and not done: of another value than holds for `what`."""
    if wanted := {name: value for name, value in holds.items() if getattr(p, name) != value}:
        given = ", ".join(f"{name}={as_text(getattr(p, name))}" for name in wanted)
        instead = " ".join(f"--set {name}={as_text(value)}" for name, value in wanted.items())
        raise UsageError(f"{what} are not measured with {given}; say {instead}")


def _contradictions(p: EvalProtocol) -> Iterator[tuple[bool, str]]:
    """Yield what fields say that do not go together, each with whether these do."""
    whole, torch = isinstance(p.frames, str), p.resizer in ("float", "torch8")
    if p.size is not None:
        yield (
            not p.antialias and p.filter == "lanczos",
            ("filter=lanczos has no form without antialias; use bicubic or bilinear"),
        )
        yield torch and p.filter == "lanczos", f"resizer={p.resizer} has no filter=lanczos; use bicubic or bilinear"
        yield p.filter == "bilinear-corners" and not torch, "filter=bilinear-corners is of resizer=float and torch8"
        yield (
            p.resizer in ("cv2", "swscale") and p.filter != "bilinear",
            (f"resizer={p.resizer} is bilinear; say filter=bilinear"),
        )
        yield p.resizer == "cv2" and p.antialias, "resizer=cv2 knows no antialias; say antialias=false"
        yield (
            p.fit == "halve" and (p.resizer != "pil8" or p.filter != "bicubic"),
            ("fit=halve is of resizer=pil8 and filter=bicubic"),
        )
        yield p.fit == "short-scale" and p.resizer != "float", "fit=short-scale is of resizer=float"
        yield (
            p.fit not in ("short", "stretch") and isinstance(p.size, tuple),
            (f"fit={p.fit} takes one number as size, the short side"),
        )
    yield (
        p.through == "none" and p.through_side == "recon",
        ("through_side=recon says which side passes a file, and through=none is none; say through_side=both"),
    )
    yield (
        p.through not in ("none", "png") and p.eight_nets not in ("as", p.eight),
        (f"through={p.through} gives networks the bytes of the file; say eight_nets=as"),
    )
    yield whole and p.windows == "all", f"windows=all cuts runs of a number of frames, not frames={p.frames}"
    yield (
        whole and (p.start in ("center", "random") or p.spacing == "spread"),
        (f"frames={p.frames} takes every frame: start is a number and spacing=step"),
    )
    yield (
        p.windows == "all" and (p.spacing == "spread" or p.short == "spread"),
        ("windows=all takes spacing=step, and short=repeat, skip, black, shrink or error"),
    )
