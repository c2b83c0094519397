"""What belongs to a generated sample, found by name: its prompt, its first frame. No torch."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from cvbench.core.errors import Unavailable, UsageError
from cvbench.data.folder import IMAGES, VIDEOS

T = TypeVar("T")
Pairs = Iterator[tuple[str, str]]


def stem(name: str) -> str:
    """Return a sample's name without the ending of a picture or clip."""
    ending = Path(name).suffix
    return name[: -len(ending)] if ending.lower() in IMAGES | VIDEOS else name


def last(name: str) -> str:
    """Return the last part of a path, without ending."""
    return stem(name).rpartition("/")[2]


class Partners(Generic[T]):
    """Things found by a sample's name: the same name, the same path without ending, or the same file name.

    The last only where one of the two lies in no folder: a/001 and b/001 are no pair. `what` names one of them in
    messages, `where` the place they come from.
    """

    def __init__(self, named: Iterable[tuple[str, T]], what: str, where: str) -> None:
        self.what, self.where = what, where
        self.held = dict(named)
        self.by_stem: dict[str, list[str]] = defaultdict(list)
        self.by_last: dict[str, list[str]] = defaultdict(list)
        for name in self.held:
            self.by_stem[stem(name)].append(name)
            self.by_last[last(name)].append(name)
        self.used: set[str] = set()

    def find(self, name: str) -> T:
        """Return what belongs to a sample. Raises Unavailable when there is nothing, or more than one."""
        bare = "/" not in name
        loosely = [other for other in self.by_last.get(last(name), ()) if bare or "/" not in other]
        for found in ([name] if name in self.held else [], self.by_stem.get(stem(name), []), loosely):
            if len(found) > 1:
                raise Unavailable(f"{' and '.join(sorted(found)[:3])} of {self.where} could all be its {self.what}")
            if found:
                self.used.add(found[0])
                return self.held[found[0]]
        raise Unavailable(f"no {self.what} is called {stem(name)} in {self.where}")

    def unused(self) -> list[str]:
        """Return the names that belong to no sample."""
        return [name for name in self.held if name not in self.used]


def read_prompts(file: Path) -> dict[str, str]:
    """Read prompts by name.

    CSV: name,prompt with or without that head. JSON: {name: prompt} or [{"name": …, "prompt": …}]. Any other ending:
    a line a prompt, behind the name and a tab or comma. Raises UsageError naming what is wrong.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"prompts {file} cannot be read: {error}") from error
    readers = {".csv": csv_pairs, ".json": json_pairs}
    found: dict[str, str] = {}
    for name, prompt in readers.get(file.suffix.lower(), text_pairs)(text, file):
        if not name.strip() or not prompt.strip():
            raise UsageError(f"{file}: a name without a prompt or the other way round ({name!r}, {prompt!r})")
        if name.strip() in found:
            raise UsageError(f"{file} names {name.strip()} twice")
        found[name.strip()] = prompt.strip()
    if not found:
        raise UsageError(f"{file} holds no prompts; it must have lines of name,prompt")
    return found


def csv_pairs(text: str, file: Path) -> Pairs:
    """Yield the two columns of a CSV file, its head left out."""
    for number, row in enumerate(csv.reader(io.StringIO(text, newline=""))):
        if not row or (number == 0 and [cell.strip().lower() for cell in row] == ["name", "prompt"]):
            continue
        if len(row) != 2:
            raise UsageError(f"{file}: {','.join(row)!r} has {len(row)} columns; it must have two, name and prompt")
        yield row[0], row[1]


def text_pairs(text: str, file: Path) -> Pairs:
    """Yield name and prompt of each line; prompts may hold commas."""
    for line in filter(str.strip, text.splitlines()):
        name, sign, prompt = line.partition("\t" if "\t" in line else ",")
        if not sign:
            raise UsageError(f"{file}: {line!r} has no name; write name,prompt")
        yield name, prompt


def json_pairs(text: str, file: Path) -> Pairs:
    """Yield the pairs of a JSON object, or of a list of objects with name and prompt."""
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{file} is no JSON: {error}") from error
    rows = raw.items() if isinstance(raw, dict) else map(name_and_prompt, raw if isinstance(raw, list) else [raw])
    for name, prompt in rows:
        if not (isinstance(name, str) and isinstance(prompt, str)):
            raise UsageError(
                f'{file}: write {{NAME: PROMPT, …}} or [{{"name": NAME, "prompt": PROMPT}}, …], in strings'
            )
        yield name, prompt


def name_and_prompt(row: object) -> tuple[object, object]:
    """Return the two entries of a JSON object, None for what is not there."""
    return (row.get("name"), row.get("prompt")) if isinstance(row, dict) else (None, None)
