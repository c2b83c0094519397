"""Records that ship with the project, for the small counterparts of published tables."""

from collections.abc import Sequence
from pathlib import Path

from cvbench.core.records import RunRecord
from cvbench.core.suites import load_suite
from cvbench.paper.read import Block

PLACE = "reports/ablations"


def folder() -> Path:
    """Return the folder of the stored records: inside the package when installed, beside it in a checkout."""
    here = Path(__file__).parents[1]
    packaged = here / PLACE
    return (packaged if packaged.is_dir() else here.parent / PLACE) / "records"


def stored_records() -> list[RunRecord]:
    """Return the stored records, sorted by file name; none where none are there. Raises UsageError for damaged ones."""
    return [RunRecord.load(path) for path in sorted(folder().glob("*.json"))]


def filled_up(
    block: Block, given: Sequence[RunRecord], stored: Sequence[RunRecord], *, allow_mixed: bool
) -> tuple[list[RunRecord], list[str]]:
    """Return a block's records, and in words which of them are stored ones.

    Those given win over stored ones of the same model and data set. What is stored never makes a table impossible:
    records made otherwise than those given on the same data set are left out, unless `allow_mixed`.
    """
    mine = [r for r in given if block.holds(r)]
    held = {(r.model.name, r.data.name) for r in mine}
    rows = [row.model for row in block.rows]
    spare = [r for r in stored if block.holds(r) and (r.model.name, r.data.name) not in held]
    spare.sort(key=lambda r: (block.data.index(r.data.name), rows.index(r.model.name)))
    unlike = [] if allow_mixed else [r for r in spare if any(_unlike(g, r) for g in mine)]
    taken = [r for r in spare if r not in unlike]
    said = [f"Records that ship with the project ({PLACE}): {_names(taken)}."] if taken else []
    if unlike:
        how = next(text for g in mine if (text := _unlike(g, unlike[0])))
        said.append(f"Stored records left out, being made otherwise than those given ({how}): {_names(unlike)}.")
    return [*mine, *taken], said


def _unlike(given: RunRecord, stored: RunRecord) -> str:
    """Say in what scores differ that would share a column."""
    if given.data.name != stored.data.name:
        return ""
    pairs = [(given.scores[m].signature, stored.scores[m].signature) for m in given.scores if m in stored.scores]
    return next((found for mine, theirs in pairs if (found := mine.difference(theirs))), "")


def _names(records: Sequence[RunRecord]) -> str:
    data: dict[str, list[str]] = {}
    for record in records:
        data.setdefault(record.model.name, []).append(record.data.name)
    everywhere = len({tuple(names) for names in data.values()}) == 1
    shown = [model if everywhere else f"{model} ({', '.join(names)})" for model, names in data.items()]
    return ", ".join(shown)


def how_to_run(block: Block, records: Sequence[RunRecord]) -> list[str]:
    """Say which command makes the records that a block lacks."""
    found = {(r.model.name, r.data.name) for r in records}
    models = [row.model for row in block.rows if row.model]
    lacking = [m for m in dict.fromkeys(models) if any((m, data) not in found for data in block.data)]
    if not lacking:
        return []
    data = " ".join(f"--data {name}" for name in block.data)
    protocol = f" --protocol {block.protocol}" if block.protocol != load_suite(block.suite).protocol else ""
    suite, place = ("", PLACE) if block.suite == "recon" else (f"--suite {block.suite} ", f"reports/{block.suite}")
    command = f"cvbench run {suite}--models {','.join(lacking)} {data}{protocol} --out {place}"
    return [f"Not run: {', '.join(lacking)}. `{command}` makes the records, `--from {place}` prints them."]
