"""Still and animated pictures, by Pillow: upright, over white, 8 bits a channel.

What is decided here: EXIF orientation is applied; transparency is composited over white; gray is repeated three
times; CMYK is converted without its ICC profile, and no other profile is applied either; 16 bits become 8 by rounding
v · 255 / 65535 (Pillow itself drops the low byte of RGB and clips gray); 32-bit integers and floats, which have no
stated white, are refused, and so is a truncated file. A GIF, WebP, AVIF or PNG of more than one frame is a clip.
"""

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, ImageFile, UnidentifiedImageError

from cvbench.core.types import Sample, Sampling
from cvbench.data.files import MOST_PIXELS, assemble, check_size, refuse, refusing
from cvbench.data.files import Picture as Picture
from cvbench.data.png import check_png
from cvbench.data.sampling import BLACK, plan

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "AVIF", "TIFF", "BMP", "PPM", "JPEG2000")
"""Pillow's formats whose first bytes are unmistakable; it would take an MPEG film for a picture, too."""
SIGNATURES = {
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "AVIF": re.compile(rb"....ftypavi[fs]", re.DOTALL),
    "TIFF": re.compile(rb"II\*\0|MM\0\*"),
}
ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


_lock = threading.Lock()
_held = ExitStack()
_holders = 0


@contextmanager
def steady() -> Iterator[None]:
    """Hold Pillow's settings, which the whole process shares, at those that pixels are read with.

    A program may have set LOAD_TRUNCATED_IMAGES, and cut files would be read, gray where they end; or another limit of
    pixels. Pillow refuses what is twice its limit, and warns before; what is refused here needs no warning.
    """
    global _holders
    with _lock:
        if not _holders:
            _held.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module="PIL")
            _held.callback(vars(Image).update, MAX_IMAGE_PIXELS=Image.MAX_IMAGE_PIXELS)
            _held.callback(vars(ImageFile).update, LOAD_TRUNCATED_IMAGES=ImageFile.LOAD_TRUNCATED_IMAGES)
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = MOST_PIXELS, False
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if not _holders:
                _held.close()


@steady()
def open_image(path: Path) -> Image.Image | None:
    """Open a picture without decoding it, or return None when the content, whatever the name, is no picture's.

    Raises UnreadableSample for what begins as a picture does and is none that Pillow opens.
    """
    Image.init()
    try:
        return Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
    except UnidentifiedImageError:
        kind = claimed(path)
        if kind:
            refuse(path, f"begins as a {kind} picture and is damaged; replace or remove the file")
        return None


def claimed(path: Path) -> str | None:
    """Return the format whose signature the file bears: FFmpeg, too, would take an animation of these for a clip."""
    with path.open("rb") as file:
        head = file.read(16)
    return next((kind for kind, signature in SIGNATURES.items() if signature.match(head)), None)


@steady()
def is_animated(image: Image.Image) -> bool:
    """Tell a clip from a picture; the pages of a TIFF and the views of an MPO are no frames."""
    return image.format in ANIMATED and getattr(image, "n_frames", 1) > 1


def image_size(path: Path) -> tuple[int, int] | None:
    """Return width and height from the header as stored, or None where it cannot be read."""
    try:
        with refusing(path):
            image = open_image(path) if path.is_file() else None  # a pipe would have no end
            if image is None:
                return None
            with image:
                return image.size
    except Exception:  # the reader will say what is wrong with the file
        return None


def read_image(path: Path) -> Sample:
    """Read a picture, (3, 1, h, w). Raises UnreadableSample."""
    with refusing(path):
        image = open_image(path)
        if image is None:
            refuse(path, "is no picture that Pillow knows; replace or remove the file")
        with image:
            return read_still(image, path)


@steady()
def read_still(image: Image.Image, path: Path) -> Sample:
    """Decode an opened picture; of several pages the first."""
    check_size(path, *image.size)
    check_png(path)
    facts: dict[str, object] = {} if image.mode in ("RGB", "RGBA") else {"mode": image.mode}
    eight = eight_bits(image, path, facts)  # before the EXIF data: to find them Pillow may decode, and forget the depth
    turn = image.getexif().get(ORIENTATION, 1)
    picture = over_white(eight, facts)
    if turn in TURNS:
        picture, facts["exif_orientation"] = picture.transpose(TURNS[turn]), turn
    return Sample(path.name, assemble([to_array(picture)]), None, facts)


@steady()
def read_animation(image: Image.Image, path: Path, sampling: Sampling) -> Sample:
    """Decode the wanted frames of an opened animation, each as it is shown. Time stamps come from its delays.

    A cover (the default image of a PNG where it stands before the animation, for readers that know none) is no frame.
    """
    check_png(path)
    cover = bool(getattr(image, "default_image", False))
    available: int = getattr(image, "n_frames", 1) - cover
    chosen = plan(available, sampling, None if sampling.plain else rate_of(image, available, cover), path.stem)
    indices, last = set(chosen.indices) - {BLACK}, max(chosen.indices)
    check_size(path, *image.size, len(chosen.indices))
    if is_deep(image):
        refuse(path, "is an animation of 16 bits a channel; save its frames as single pictures")
    facts: dict[str, object] = {"stride": chosen.stride, "format": image.format, **chosen.facts}
    size = image.size
    frames, shown, clock = [], [], 0.0
    for index in range(last + 1):
        image.seek(index + cover)
        image.load()  # some formats know a frame's delay only then
        if image.size != size:
            refuse(path, f"the size changes within the clip, at frame {index}; cut it there")
        if index in indices:
            frames.append(to_array(over_white(image, facts)))
            shown.append(round(clock / 1000, 6))
        clock += float(image.info.get("duration") or 0)
    fps = round(1000 * (last + 1) / clock, 4) if clock else None
    short = not sampling.plain or len(chosen.indices) != sampling.frames or chosen.stride != sampling.stride
    facts |= {"pts": shown} | ({"available": available} if short else {})
    place = {index: k for k, index in enumerate(sorted(indices))}
    pictures = [frames[place[index]] if index in place else frames[0] * 0 for index in chosen.indices]
    return Sample(path.name, assemble(pictures), fps, facts)


def rate_of(image: Image.Image, available: int, cover: bool) -> float | None:
    """Return the mean frame rate of an opened animation."""
    clock = 0.0
    for index in range(available):
        image.seek(index + cover)
        image.load()
        clock += float(image.info.get("duration") or 0)
    return round(1000 * available / clock, 4) if clock else None


def to_array(image: Image.Image) -> Picture:
    """Return the pixels of an RGB picture."""
    return np.array(image)


def over_white(image: Image.Image, facts: dict[str, object]) -> Image.Image:
    """Return the picture as RGB, what is transparent over white; `facts` tells when that made a difference."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    if np.asarray(rgba)[..., 3].min() < 255:
        facts["alpha"] = "over white"
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def is_deep(image: Image.Image) -> bool:
    """Tell whether the file holds 16 bits a channel: Pillow's raw mode says so even where its mode does not."""
    return image.mode.startswith("I;16") or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def eight_bits(image: Image.Image, path: Path, facts: dict[str, object]) -> Image.Image:
    """Return the picture with 8 bits a channel."""
    if image.mode in ("I", "F"):
        refuse(path, f"pixels of mode {image.mode} have no stated white; save it with 8 or 16 bits a channel")
    if not is_deep(image):
        return image
    facts["bit_depth"] = 16
    deep = np.asarray(image).astype(np.uint16) if image.mode.startswith("I;16") else read_deep(path)
    return Image.fromarray(round16(deep))


def read_deep(path: Path) -> UInt16[np.ndarray, "h w 4"]:
    """Read a colour picture of 16 bits a channel as RGBA by FFmpeg, since Pillow drops the low bytes."""
    from cvbench.data.video import opened

    with opened(path, pictures=True) as (container, stream):
        deep: UInt16[np.ndarray, "h w 4"] = next(container.decode(stream)).reformat(format="rgba64le").to_ndarray()
        return deep


def round16(deep: UInt16[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h w *c"]:
    """Return v · 255 / 65535, rounded."""
    eight = np.empty(deep.shape, np.uint8)
    for row, levels in zip(eight, deep, strict=True):  # not at once: the products take four times the room
        row[:] = (levels.astype(np.uint32) * 255 + 32767) // 65535
    return eight
