"""Data sets: named ones, and any folder, glob or file. Opening decodes nothing; no torch."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.text import check_name
from cvbench.data.dataset import Dataset, DatasetEntry, Item, read_stable, windowed
from cvbench.data.files import Reader, escaped
from cvbench.data.folder import home, open_path, there
from cvbench.data.hub import on_hub, open_hub
from cvbench.data.named import DATASETS, drawing
from cvbench.data.packed import is_address
from cvbench.data.parquet import is_parquet, open_parquet
from cvbench.data.tars import is_tars, open_tars

__all__ = ["DATASETS", "Dataset", "DatasetEntry", "Item", "Pick", "labelled", "open_dataset", "read_stable", "windowed"]

Pick: TypeAlias = Literal["first", "hash"]
"""Which samples a limit takes."""


def open_dataset(
    spec: str, roots: Mapping[str, Path], limit: int | None = None, reader: Reader = "pyav", pick: Pick = "first"
) -> Dataset:
    """Open NAME, NAME=PATH or PATH (a folder, file, glob, tar shards, Parquet, an address), of which `limit` items.

    `pick` says which: the first, or by "hash" those whose ids have the smallest SHA-256, in that order: whoever has the
    same data set takes the same ones, however it is ordered or cut.

    `roots` are the folders configured for named data sets. A name goes before a folder of that name: say ./NAME for
    the folder. NAME=PATH with the name of a data set says where that lies; with any other name, what lies at PATH is
    called NAME. Raises UnknownName, UsageError for folders that are missing, empty or laid out otherwise, and
    Unavailable for a reader that is not installed.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"a limit must be at least 1, got {limit}")
    if reader == "decord":
        from cvbench.data.crosscheck import load_decord

        load_decord()
    dataset = find(spec, roots, reader)
    if limit is None or limit >= len(dataset.items):
        return dataset
    items = sorted(dataset.items, key=lambda item: drawing(item.id)) if pick == "hash" else dataset.items
    note = f"{'hash picks' if pick == 'hash' else 'first'} {limit:,} of {len(dataset.items):,}"
    return replace(dataset, items=tuple(items[:limit]), note=f"{dataset.note}; {note}" if dataset.note else note)


def find(spec: str, roots: Mapping[str, Path], reader: Reader) -> Dataset:
    """Open what `spec` says, whole."""
    label, text = labelled(spec)
    name, equals, place = text.partition("=")
    if not text:
        raise UsageError("an empty name is no data set; give NAME, NAME=PATH or PATH")
    if name in DATASETS:
        root = home(place) if equals and place else root_of(name, roots)
        dataset = replace(open_named(name, root, reader), place=located(root) if root != Path() else "")
    elif on_hub(text):
        dataset, place = open_hub(text, reader)
        dataset = replace(dataset, place=place)
    elif is_address(text) or ((is_tars(text) or is_parquet(text)) and not home(text).is_dir()):
        place = text if is_address(text) else located(home(text))
        dataset = replace((open_parquet if is_parquet(text) else open_tars)(text, reader), place=place)
    elif there(text) or not is_name(text):
        dataset = replace(open_path(text, reader), place=located(home(text)))
    else:
        raise UnknownName("file, folder or data set", text, DATASETS)
    return replace(dataset, name=label) if label else dataset


def labelled(spec: str) -> tuple[str, str]:
    """Split NAME=PATH into the two; PATH may be the name of a data set.

    NAME is "", and PATH all of `spec`, for a path alone, even one that holds the sign and is there, and for a named
    data set's own folder. A name has no slash and no backslash. Raises UsageError for control characters in it.
    """
    name, equals, path = spec.partition("=")
    if not equals or not name.strip() or "/" in name or "\\" in name or name in DATASETS or there(spec):
        return "", spec
    check_name(name)
    return name, path


def located(path: Path) -> str:
    """Return the absolute path, as UTF-8 can hold it."""
    return escaped(str(path.absolute()))


def is_name(text: str) -> bool:
    """Tell a misspelt name from a path that is not there."""
    return not any(sign in text for sign in "/\\.*?[~")


def root_of(name: str, roots: Mapping[str, Path]) -> Path:
    """Return the folder configured for a data set. Raises UsageError when there is none."""
    entry = DATASETS[name]
    shared = entry.folder if entry.folder is not None else name
    if not shared:
        return Path()
    if name in roots or shared in roots:
        return roots[name] if name in roots else roots[shared]
    raise UsageError(
        f"no folder is configured for {name}; it is laid out as: {entry.layout}. Say --data {name}=PATH,"
        f' put {shared} = "PATH" under [data] in cvbench.toml, or make it the subfolder {shared} of CVBENCH_DATA'
    )


def open_named(name: str, root: Path, reader: Reader) -> Dataset:
    """Open a named data set in its folder."""
    entry = DATASETS[name]
    if entry.folder == "" and root != Path():
        raise UsageError(f"{name} is built in and has no folder; say --data {name}, or another name for {root}")
    if entry.folder != "" and not root.is_dir():
        raise UsageError(f"{name}: {root} is no folder; it should hold: {entry.layout}")
    return entry.open(root, reader)
