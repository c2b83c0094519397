"""How a run ends: its tables are written, the table is printed, and the exit code says whether it is whole."""

from collections.abc import Sequence
from pathlib import Path

from cvbench import tables
from cvbench.commands.codes import DONE, INCOMPLETE
from cvbench.commands.console import echo, line
from cvbench.core.records import RunRecord, read_records
from cvbench.store import keep_order, write_text


def finish(records: Sequence[RunRecord], suite: str, out: Path, *, intervals: bool, quiet: bool = False) -> int:
    """Print the table, write it and its samples into `out`, and return the exit code.

    The table is printed first: a folder that cannot be written costs nobody what was measured.
    """
    table = tables.lay_out(records, intervals=intervals, allow_mixed=True)
    text = tables.markdown(table)
    echo(text)
    for error in {f"{r.model.name}: {r.error}": None for r in records if r.error}:
        line(f"Error: {error}", err=True)
    for note in (f"{r.model.name} on {r.data.name}: {note}" for r in records for note in r.notes):
        line(f"Error: {note}", err=True)
    keep_order(out, records)
    write_tables(out, suite)
    if not quiet:
        line(f"records, table.md, table.csv and samples.csv are in {out}", err=True)
    for name, why in (idle := without_samples(records)).items():
        line(f"Error: {name} applies to no sample of this run: {why}", err=True)
    return DONE if all(record.complete for record in records) and not idle else INCOMPLETE


def write_tables(out: Path, suite: str) -> None:
    """Write the tables of all records of a folder, whichever runs made them."""
    records = read_records([out])
    table = tables.lay_out(records, allow_mixed=True)
    write_text(out / "table.md", f"# {suite}\n\n{tables.markdown(table)}")
    write_text(out / "table.csv", tables.to_csv(table))
    write_text(out / "samples.csv", tables.samples_csv(records))


def without_samples(records: Sequence[RunRecord]) -> dict[str, str]:
    """Return the metrics that were asked for and apply to no sample of a run, and why."""
    scored = {name for record in records for name in record.scores}
    return {n: r.unavailable[n] for r in records for n in r.inapplicable if n not in scored}
