"""Opening what is compared: folders, files, named data sets, and CSV files of generated samples. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cvbench.data import DATASETS, Dataset, Item, open_dataset
from cvbench.data.dataset import file_item, numbered_item
from cvbench.data.files import Reader
from cvbench.data.folder import in_order, is_media, is_numbered
from cvbench.data.named import load_csv
from cvbench.errors import UsageError


@dataclass(frozen=True)
class Generated:
    """Generated samples, each item's caption being its prompt; `first_frames` are those that a CSV file names."""

    dataset: Dataset
    first_frames: Mapping[str, Item] = field(default_factory=dict)


def open_generated(spec: str, roots: Mapping[str, Path], limit: int | None, reader: Reader) -> Generated:
    """Open PATH, a CSV file or NAME=either; without a NAME, the path's own is the row's in the table.

    The CSV file has a head and the columns path, prompt and first_frame, of which path must be there; paths are
    relative to the file. Raises UsageError and UnknownName.
    """
    name, path = labelled(spec)
    if Path(path).suffix.lower() == ".csv":
        found = open_csv(Path(path).expanduser(), limit, reader)
    else:
        found = Generated(open_dataset(path, roots, limit, reader))
    return replace(found, dataset=replace(found.dataset, name=name)) if name else found


def open_reference(spec: str, roots: Mapping[str, Path], limit: int | None, reader: Reader) -> Dataset:
    """Open a named data set, PATH or NAME=PATH. Raises UsageError and UnknownName."""
    name, path = labelled(spec)
    dataset = open_dataset(path, roots, limit, reader)
    return replace(dataset, name=name) if name else dataset


def labelled(spec: str) -> tuple[str, str]:
    """Split NAME=PATH; no name for a path alone, even one that holds the sign, or for a named data set's folder."""
    name, equals, path = spec.partition("=")
    if not equals or name in DATASETS or not name or Path(spec).expanduser().exists():
        return "", spec
    return name, path


def open_csv(file: Path, limit: int | None, reader: Reader) -> Generated:
    """Open the samples that a CSV file lists, in its order. Raises UsageError."""
    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    rows = load_csv(file, "path")
    used = rows[:limit]
    items = [item_at(file, row["path"], reader, row.get("prompt")) for row in used]
    twice = {item.id for item in items if [other.id for other in items].count(item.id) > 1} if items else set()
    if not items or twice:
        raise UsageError(f"{file} lists " + (f"{min(twice)} more than once" if twice else "no samples"))
    frames = {item.id: row.get("first_frame") for item, row in zip(items, used, strict=True)}
    given = {name: item_at(file, path, reader) for name, path in frames.items() if path}
    note = f"first {len(used):,} of {len(rows):,}" if len(used) < len(rows) else ""
    return Generated(Dataset(file.stem, tuple(items), note), given)


def item_at(file: Path, text: str, reader: Reader, caption: str | None = None) -> Item:
    """Return what lies at a path that a CSV file names: a file, or a folder of numbered frames."""
    if not text:
        raise UsageError(f"{file} has a line without a path")
    path = file.parent / Path(text).expanduser()
    if not path.is_dir():
        return file_item(path, text, reader, caption or None)
    frames = in_order(p for p in path.iterdir() if is_media(p) and not p.name.startswith("."))
    if not is_numbered(frames):
        raise UsageError(f"{file}: {text} is no folder of numbered frames (00000.png, …) of one size")
    return numbered_item(frames, text, caption=caption or None)
