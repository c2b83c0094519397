"""From a run's folder to the files of a bundle."""

import json
from collections.abc import Sequence
from pathlib import Path

from cvbench import report, tables
from cvbench.core.errors import UsageError
from cvbench.core.records import ORDER, RunRecord, read_records
from cvbench.sharing.files import sealed
from cvbench.store import file_name

PICTURES = (".json", ".png", ".webp")


def bundle(run: Path, title: str = "") -> dict[str, bytes]:
    """Return the files of a bundle of a run, by name: records, tables, report, pictures, environment, manifest.

    What a run keeps for its owner, as run.log with the paths of the machine, is not in it. Raises UsageError where
    there are no records.
    """
    records = read_records([run])
    if not run.is_dir():
        raise UsageError(f"{run} is no folder of a run")
    pictures = run / "pictures"
    shown = [pictures] if pictures.is_dir() else []
    page = report.render(records, shown, title or run.absolute().name)
    made = {**derived(records), "report.html": page}
    files = {name: text.encode("utf-8", "backslashreplace") for name, text in made.items()}
    return sealed({**files, **_records(run), **_pictures(pictures)})


def derived(records: Sequence[RunRecord]) -> dict[str, str]:
    """Return what follows from records alone: the tables, and what they were measured with."""
    table = tables.lay_out(records, allow_mixed=True)
    return {
        "table.md": tables.markdown(table),
        "table.csv": tables.to_csv(table),
        "samples.csv": tables.samples_csv(records),
        "environment.json": json.dumps([_environment(r) for r in records], indent=1, ensure_ascii=False) + "\n",
    }


def _environment(record: RunRecord) -> dict[str, object]:
    named = {"model": record.model.name, "data": record.data.name, "protocol": record.protocol.name}
    return {**named, "created": record.created, "environment": dict(record.environment)}


def _records(run: Path) -> dict[str, bytes]:
    """Return records as they are, and the order in which they were typed; what was superseded stays at home."""
    inner = run / "records" if (run / "records").is_dir() else run
    kept = [path for path in sorted(inner.glob("*.json")) if not path.name.startswith(".")]
    order = [inner / ORDER] if (inner / ORDER).is_file() else []
    return {f"records/{path.name}": path.read_bytes() for path in [*kept, *order]}


def _pictures(folder: Path) -> dict[str, bytes]:
    paths = [p for p in sorted(folder.rglob("*")) if p.suffix in PICTURES and p.is_file() and not p.is_symlink()]
    shown = [path for path in paths if not path.name.startswith(".")]
    return {f"pictures/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in shown}


def default_path(run: Path) -> Path:
    """Return where a bundle goes when nobody says: a zip beside the run."""
    home = run.absolute()
    return home.parent / f"{file_name(home.name)}.bundle.zip"
