"""The stored scores that later runs are checked against."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cvbench.compare.runs import title
from cvbench.core.records import RunRecord, read_records
from cvbench.store import record_path, write_text


class Saved(NamedTuple):
    """What saving a baseline did, by name: written, unchanged, refused for want of scores, left from before."""

    written: list[str]
    unchanged: list[str]
    refused: list[str]
    left: list[str]


def save_baseline(records: Sequence[RunRecord], folder: Path, *, speed: bool = False) -> Saved:
    """Store records as a baseline, a file each in `folder`/records, written atomically.

    The date is left out, and speed unless asked for: a file changes only when what was measured did. A record that
    differs in nothing but its environment is not written again. One without scores is refused; one that is in the
    folder and not in `records` stays.
    """
    there = any((folder / "records").glob("*.json"))
    held = {title(r): r for r in (read_records([folder]) if there else [])}
    saved = Saved([], [], [], [name for name in held if name not in set(map(title, records))])
    for record in records:
        kept = replace(record, created="", speed=record.speed if speed else None)
        old = held.get(title(record))
        if not record.scores:
            saved.refused.append(f"{title(record)}: {record.error or 'no scores'}")
        elif old and _measured(old) == _measured(kept):
            saved.unchanged.append(title(record))
        else:
            write_text(record_path(folder, kept), kept.to_json(), durable=True)
            saved.written.append(title(record))
    return saved


def _measured(record: RunRecord) -> str:
    return replace(record, environment={}).to_json()
