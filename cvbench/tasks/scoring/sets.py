"""Opening what is compared: folders, files, named data sets, and CSV files of generated samples. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cvbench.core.errors import UsageError
from cvbench.data import Dataset, Item, labelled, open_dataset
from cvbench.data.dataset import file_item, numbered_item
from cvbench.data.files import Reader
from cvbench.data.folder import hidden, in_order, is_media, is_numbered
from cvbench.metrics import METRICS
from cvbench.tasks.scoring.pairs import Partners, read_prompts
from cvbench.tasks.scoring.texts import read_table

Roots = Mapping[str, Path]
Prompts = Path | str | Mapping[str, str]


@dataclass(frozen=True)
class Compared:
    """Generated samples and what they are held against; `limit` cuts both sets, but no partners."""

    generated: Dataset
    reference: Dataset | None
    prompts: Partners[str] | None
    first_frames: Partners[Item] | None
    limit: int | None = None
    given: tuple[Partners[str] | Partners[Item], ...] = field(default=())
    """Partners that were asked for by name: one without a sample is worth a word."""


def open_all(
    generated: str,
    reference: str | None,
    prompts: Prompts | None,
    first_frames: str | None,
    roots: Roots,
    limit: int | None,
    reader: Reader,
) -> Compared:
    """Open all that takes part. Prompts and first frames not given are taken from the CSV file or the reference.

    Raises UsageError and UnknownName.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"a limit must be at least 1, got {limit}")
    samples, frames = open_generated(generated, roots, reader)
    target = open_set(reference, roots, reader) if reference else None
    texts, pictures = prompts_of(prompts, samples, target), frames_of(first_frames, frames, target, roots, reader)
    asked = [p for p, given in ((texts, prompts), (pictures, first_frames)) if p and given]
    cut = first(target, limit) if target else None
    return Compared(first(samples, limit), cut, texts, pictures, limit, tuple(asked))


def check(names: list[str], compared: Compared) -> None:
    """Raise UsageError for a metric that lacks what it compares with."""
    for name in names:
        metric = METRICS[name]
        if metric.distance and not compared.reference:
            raise UsageError(f"{name} compares two sets: say --reference DIR or NAME")
        if metric.partner == "prompt" and not compared.prompts:
            raise UsageError(f"{name} needs prompts: say --prompts FILE (name,prompt), or list them in a CSV file")
        if metric.partner == "first frame" and not compared.first_frames:
            raise UsageError(f"{name} needs the pictures that videos start from: --first-frames DIR or --reference")


def open_generated(spec: str, roots: Roots, reader: Reader) -> tuple[Dataset, dict[str, Item]]:
    """Open PATH, a CSV file or NAME=either; with the first frames that the CSV file names."""
    name, path = labelled(spec)
    if not path.lower().endswith(".csv"):
        return open_set(spec, roots, reader), {}
    samples, frames = open_csv(home(path), reader)
    return replace(samples, name=name or samples.name), frames


def open_set(spec: str, roots: Roots, reader: Reader) -> Dataset:
    """Open a named data set, PATH or NAME=PATH; without a NAME, the path's own stands in the table."""
    return open_dataset(spec, roots, None, reader)


def first(dataset: Dataset, limit: int | None) -> Dataset:
    """Return the first `limit` items, and say so."""
    if limit is None or limit >= len(dataset.items):
        return dataset
    note = f"first {limit:,} of {len(dataset.items):,}"
    return replace(dataset, items=dataset.items[:limit], note=f"{dataset.note}; {note}" if dataset.note else note)


def open_csv(file: Path, reader: Reader) -> tuple[Dataset, dict[str, Item]]:
    """Open the samples that a CSV file lists, in its order, prompts as captions; and their first frames, where named.

    It has a head with path and, if wanted, prompt and first_frame; paths are relative to the file.
    """
    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    items: dict[str, Item] = {}
    frames: dict[str, Item] = {}
    for line, row in read_table(file, "path"):
        place = f"{file}, line {line}"
        item = item_at(file, row["path"], place, reader, row.get("prompt"))
        if item.id in items:
            raise UsageError(f"{place}: {item.id} stands there more than once")
        items[item.id] = item
        if row.get("first_frame"):
            frames[item.id] = item_at(file, row["first_frame"], place, reader)
    if not items:
        raise UsageError(f"{file} lists no samples")
    return Dataset(file.stem, tuple(items.values())), frames


def item_at(file: Path, text: str, place: str, reader: Reader, caption: str | None = None) -> Item:
    """Return what lies at a path that a CSV file names: a file, or a folder of numbered frames."""
    if not text.strip():
        raise UsageError(f"{place}: a line without a path")
    path = file.parent / home(text)
    if not is_folder(path):
        return file_item(path, text, reader, caption or None)
    frames = in_order(p for p in path.iterdir() if is_media(p) and not hidden(p.name))
    if not is_numbered(frames):
        raise UsageError(f"{place}: {text} is no folder of frames (00000.png, ...) without a gap and of one size")
    return numbered_item(frames, text, caption=caption or None)


def home(text: str) -> Path:
    """Return a path with ~ read. Raises UsageError where ~NAME is nobody's."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{text}: {error}") from error


def is_folder(path: Path) -> bool:
    """Tell whether a folder lies there. Raises UsageError for a path that the system does not take."""
    try:
        return path.is_dir()
    except OSError as error:
        raise UsageError(f"{str(path)[:80]}...: {error.strerror}") from error


def prompts_of(given: Prompts | None, generated: Dataset, reference: Dataset | None) -> Partners[str] | None:
    """Return the prompts: those given, else the generated samples' own, else the reference's captions."""
    if isinstance(given, Mapping):
        return Partners(given.items(), "prompt", "the prompts given")
    if given is not None:
        return Partners(read_prompts(Path(given)).items(), "prompt", Path(given).name)
    for dataset in (generated, reference):
        captions = [(item.id, item.caption) for item in dataset.items if item.caption] if dataset else []
        if dataset and captions:
            return Partners(captions, "prompt", dataset.name)
    return None


def frames_of(
    given: str | None, listed: Mapping[str, Item], reference: Dataset | None, roots: Roots, reader: Reader
) -> Partners[Item] | None:
    """Return the pictures that samples were made from: those given, else those listed, else the reference's own."""
    if not given and listed:
        return Partners(listed.items(), "first frame", "the CSV file")
    dataset = open_set(given, roots, reader) if given else reference
    return Partners(((i.id, i) for i in dataset.items), "first frame", dataset.name) if dataset else None
