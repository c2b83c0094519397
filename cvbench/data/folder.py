"""Any folder, glob or file. Order and ids depend on the relative paths alone."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from cvbench.core.errors import UsageError
from cvbench.data.dataset import Dataset, Item, file_item, numbered_item, printable, told_apart
from cvbench.data.files import Reader

# fmt: off
IMAGES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".png", ".apng", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm",
    ".jp2", ".j2k", ".mpo",
))
VIDEOS = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".vob", ".ts", ".m2ts", ".mts", ".wmv",
    ".asf", ".flv", ".ogv", ".3gp", ".y4m", ".yuv", ".mxf", ".h264", ".264", ".h265", ".265", ".hevc", ".ivf", ".obu",
))
# fmt: on
FRAME_NAME = re.compile(r"(?:(?:frame|img|image|im)[-_ ]*)?(\d+)", re.IGNORECASE | re.ASCII)
"""frame7, 00007, 7, img_00007."""
Named: TypeAlias = tuple[str, Item]
"""An item and the name, below the folder opened, that its id is made from."""


def open_path(text: str, reader: Reader) -> Dataset:
    """Open a folder, a file or a glob. Raises UsageError for what is not there or holds nothing to read."""
    path = home(text)
    if there(text) and path.is_dir():
        return open_folder(path, reader)
    if there(text):
        return Dataset(printable(path.name), (file_item(path, path.name, reader),))
    if any(sign in text for sign in "*?[") and "\0" not in text:
        return open_glob(str(path), reader)
    raise UsageError(f"no file or folder {text!r}; name a folder, a file, a glob in quotes, or NAME=PATH")


def home(text: str) -> Path:
    """Return a path, ~ being the home folder. Raises UsageError where there is none."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{text!r} names the home folder of nobody here; write the path out") from error


def there(text: str) -> bool:
    """Tell whether a file or folder lies at a path; nothing does at one that is too long or holds a NUL."""
    return os.path.exists(home(text))  # noqa: PTH110 - Path.exists raises what this answers


def open_folder(root: Path, reader: Reader) -> Dataset:
    """Open a folder and all below it.

    A file counts by its ending (IMAGES, VIDEOS); one that does not decode is an unreadable sample, any other ending is
    counted in the note, and hidden files are no part of it. A folder below `root` that holds nothing but pictures of
    one size, numbered without a gap, is one clip (as DAVIS has them, or 1.png to 12.png); pictures in `root` itself are
    always pictures.
    """
    found, ignored, clips = collect(root, root, reader)
    if not found:
        raise UsageError(f"no images or videos in {root}; it holds {ignored} other files")
    return Dataset(printable(root.resolve().name), sort_items(told_apart(found)), notes(ignored, clips))


def open_glob(pattern: str, reader: Reader) -> Dataset:
    """Open what a glob matches (`**` reaches into subfolders); a matched folder is opened whole.

    Ids are relative to the last folder before the first wildcard.
    """
    parts = Path(pattern).parts
    first = next(i for i, part in enumerate(parts) if any(sign in part for sign in "*?["))
    base = Path(*parts[:first])
    matched = [Path(text) for text in glob.glob(pattern, recursive=True)]  # noqa: PTH207 - Path.glob takes hidden files
    files = [p for p in matched if not p.is_dir()]
    items = [named_file(path, base, reader) for path in files if is_media(path)]
    ignored, clips = len(files) - len(items), 0
    if "**" not in pattern:
        for folder in (p for p in matched if p.is_dir()):
            found, others, frames = collect(folder, base, reader)
            items, ignored, clips = items + found, ignored + others, clips + frames
    if not items:
        raise UsageError(f"the glob {pattern!r} matches no images or videos, and {ignored} other files")
    return Dataset(printable(Path(pattern).as_posix()), sort_items(told_apart(items)), notes(ignored, clips))


def collect(root: Path, base: Path, reader: Reader) -> tuple[list[Named], int, int]:
    """Return the items in `root` and below, how many files were ignored, and how many folders were read as clips."""
    items: list[Named] = []
    ignored = clips = 0
    for folder, files in walk(root):
        media = [path for path in files if is_media(path)]
        ignored += len(files) - len(media)
        if folder != base and is_numbered(media):
            name = relative(folder, base)
            items.append((name, numbered_item(in_order(media), name)))
            clips += 1
        else:
            items += [named_file(path, base, reader) for path in media]
    return items, ignored, clips


def named_file(path: Path, base: Path, reader: Reader) -> Named:
    """Return a file as an item, with its name below `base`."""
    name = relative(path, base)
    return name, file_item(path, name, reader)


def walk(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield each folder with its files, following links to folders once; hidden names are left out."""
    seen = set()

    def fail(error: OSError) -> None:
        raise UsageError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    for folder, folders, files in os.walk(root, onerror=fail, followlinks=True):
        seen.add(os.path.realpath(folder))
        fresh = sorted(f for f in folders if not hidden(f) and os.path.realpath(os.path.join(folder, f)) not in seen)  # noqa: PTH118
        folders[:] = fresh
        yield Path(folder), [Path(folder, name) for name in files if not hidden(name)]


def hidden(name: str) -> bool:
    """Tell names that a file manager does not show, and what macOS adds to archives."""
    return name.startswith(".") or name == "__MACOSX"


def is_media(path: Path) -> bool:
    """Tell by its ending whether a file is meant to be a picture or a clip."""
    return path.suffix.lower() in IMAGES | VIDEOS


def is_numbered(paths: Sequence[Path]) -> bool:
    """Tell whether pictures are the frames of one clip: numbers without a gap, one ending, one size."""
    found = [FRAME_NAME.fullmatch(path.stem) for path in paths]
    if len(paths) < 2 or len({p.suffix for p in paths}) > 1 or paths[0].suffix.lower() not in IMAGES or None in found:
        return False
    numbers = sorted(int(match[1]) for match in found if match)
    return numbers == list(range(numbers[0], numbers[0] + len(numbers))) and is_of_one_size(in_order(paths))


def is_of_one_size(paths: Sequence[Path]) -> bool:
    """Tell whether pictures have one size; of frames with padded numbers, which are many, three are looked at.

    Numbers without padding are given to photographs, too, and those must all agree.
    """
    from cvbench.data.images import image_size

    padded = len(paths[0].stem) == len(paths[-1].stem) > 2
    looked = (paths[0], paths[len(paths) // 2], paths[-1]) if padded else paths
    first = image_size(looked[0])
    return all(image_size(path) == first for path in looked[1:])


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Return paths in natural order."""
    return sorted(paths, key=lambda path: natural(path.as_posix()))


def sort_items(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return items in the natural order of their ids."""
    return tuple(sorted(items, key=lambda item: natural(item.id)))


def natural(text: str) -> tuple[tuple[tuple[str | int, ...], ...], str]:
    """Return a key that sorts clip2 before clip10 and a folder's files together, everywhere alike."""
    parts = (re.split(r"([0-9]+)", part.casefold()) for part in text.split("/"))
    return tuple(tuple(int(p) if i % 2 else p for i, p in enumerate(pieces)) for pieces in parts), text


def relative(path: Path, base: Path) -> str:
    """Return the path below `base`, with slashes."""
    return path.relative_to(base).as_posix()


def notes(ignored: int, clips: int) -> str:
    """Return what a folder's note says."""
    said = [f"{clips} folders of numbered frames read as clips"] if clips else []
    said += [f"{ignored} other files ignored"] if ignored else []
    return "; ".join(said)
