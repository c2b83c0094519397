"""What belongs to a generated sample, found by name: its prompt, its first frame. No torch."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from cvbench.core.errors import Unavailable, UsageError
from cvbench.data.folder import IMAGES, VIDEOS
from cvbench.tasks.scoring.texts import Pairs, read_json, read_text, rows_of_csv, shortened

T = TypeVar("T")
Triples = Iterator[tuple[str, str, str]]
"""Where something stands, for messages; its name; its prompt."""


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

    CSV: name,prompt with or without that head. JSON: {name: prompt} or [{"name": …, "prompt": …}]; JSONL: such an
    object a line. Any other ending: a line a prompt, behind the name and a tab or comma. UTF-8. Raises UsageError
    naming file and place of what is wrong.
    """
    readers = {".csv": csv_pairs, ".json": json_pairs, ".jsonl": jsonl_pairs}
    found: dict[str, str] = {}
    for place, name, prompt in readers.get(file.suffix.lower(), text_pairs)(read_text(file), file):
        name, prompt = unicodedata.normalize("NFC", name.strip()), prompt.strip()
        if not name or not prompt:
            raise UsageError(f"{place}: a name without a prompt or the other way round ({name!r}, {shortened(prompt)})")
        if name in found:
            raise UsageError(f"{place}: {file.name} names {name} twice")
        if any("\ud800" <= c <= "\udfff" for c in name + prompt):
            raise UsageError(f"{place}: half a character in {shortened(name)} or its prompt {shortened(prompt)}")
        found[name] = prompt
    if not found:
        raise UsageError(f"{file} holds no prompts; it must have lines of name,prompt")
    return found


def csv_pairs(text: str, file: Path) -> Triples:
    """Yield the two columns of a CSV file, its head left out."""
    rows = list(rows_of_csv(text, file))
    if rows and all(";" in row[0] for _, row in rows):
        raise UsageError(f"{file} is separated by semicolons; write name,prompt with a comma between")
    for number, (line, row) in enumerate(rows):
        if number == 0 and [cell.strip().lower() for cell in row] == ["name", "prompt"]:
            continue
        if len(row) != 2:
            raise UsageError(
                f"{file}, line {line}: {shortened(','.join(row))} has {len(row)} columns; it must have two, name and"
                " prompt (a prompt that holds commas stands in quotation marks)"
            )
        yield f"{file}, line {line}", row[0], row[1]


def text_pairs(text: str, file: Path) -> Triples:
    """Yield name and prompt of each line; prompts may hold commas."""
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        name, sign, prompt = line.partition("\t" if "\t" in line else ",")
        if not line.strip():
            continue
        if not sign:
            raise UsageError(f"{file}, line {number}: {shortened(line)} has no name; write name,prompt")
        yield f"{file}, line {number}", name, prompt


def json_pairs(text: str, file: Path) -> Triples:
    """Yield the pairs of a JSON object, or of a list of objects with name and prompt."""
    raw = read_json(text, file)
    if isinstance(raw, Pairs):
        pairs: list[tuple[object, object]] = list(raw)
    else:
        pairs = [name_and_prompt(row) for row in (raw if isinstance(raw, list) else [raw])]
    for number, (name, prompt) in enumerate(pairs, start=1):
        yield f"{file}, entry {number}", *strings(name, prompt, f"{file}, entry {number}")


def jsonl_pairs(text: str, file: Path) -> Triples:
    """Yield the name and prompt of a JSON object a line."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            place = f"{file}, line {number}"
            yield place, *strings(*name_and_prompt(read_json(line, file, number)), place)


def strings(name: object, prompt: object, place: str) -> tuple[str, str]:
    """Return a name and its prompt. Raises UsageError for what is no text."""
    if isinstance(name, str) and isinstance(prompt, str):
        return name, prompt
    raise UsageError(
        f"{place}: {shortened(name)}, {shortened(prompt)}; write {{NAME: PROMPT, ...}} or"
        ' [{"name": NAME, "prompt": PROMPT}, ...], in strings'
    )


def name_and_prompt(row: object) -> tuple[object, object]:
    """Return the two entries of a JSON object, None for what is not there."""
    return (row.get("name"), row.get("prompt")) if isinstance(row, Pairs) else (None, None)
