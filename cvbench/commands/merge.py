"""`cvbench merge`: the shares of a run become its records and table."""

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cvbench.commands import run, score
from cvbench.commands.defaults import with_profile
from cvbench.commands.options import check_folder
from cvbench.commands.processes import asked_for
from cvbench.commands.results import finish
from cvbench.core.errors import CvbenchError, UsageError
from cvbench.core.records import RunRecord, holds_records, read_records
from cvbench.core.suites import load_suite
from cvbench.store import FileStore, keep_order, record_path, write_record

COMMANDS: Mapping[str, click.Command] = {"run": run.command, "score": score.command}


@click.command("merge")
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="Where records and tables go.  [default: the first DIR]"
)
@click.option("--intervals", is_flag=True, help="Print 95 % intervals.")
def command(folders: Sequence[Path], out: Path | None, intervals: bool) -> int:
    """Put the parts that `run --shard` and `score --shard` left in DIR/parts together, or whole runs; no model runs.

    \b
      cvbench run --shard 1/2 --data clips/ --out node1/
      cvbench run --shard 2/2 --data clips/ --out node2/
      cvbench merge node1/ node2/ --out reports/clips
      cvbench merge reports/monday reports/tuesday --out reports/both

    Names of models and paths of data must mean here what they meant there. The records of parts are those of one run
    over all samples, byte for byte but for times. Of whole runs records and pictures are copied, and metrics of equal
    models on equal samples add up. Exit codes: 0 done, 2 wrong usage, 3 a share is missing or something failed.
    """
    out = out or folders[0]
    check_folder(out)
    runs = parts_by_run([path for folder in folders for path in sorted((folder / "parts").glob("*.part"))])
    if not runs:
        return finish(gathered(folders, out), "merged", out, intervals=intervals)
    records = [record for parts in runs.values() for record in assembled(parts, out)]
    return finish(records, "merged", out, intervals=intervals)


def gathered(folders: Sequence[Path], out: Path) -> Sequence[RunRecord]:
    """Copy records and pictures of whole runs into one folder, and return its records.

    Raises UsageError for a folder that holds neither parts nor records, and for two records of one name that are not
    of one model, on one set of samples.
    """
    if idle := [folder for folder in folders if not holds_records(folder)]:
        raise UsageError(f"{idle[0]}: no records and no parts there; `cvbench run --out {idle[0]}` leaves some")
    held: dict[Path, tuple[Path, RunRecord]] = {}
    records = [(folder, record) for folder in folders for record in read_records([folder])]
    for folder, record in records:
        first, other = held.setdefault(record_path(out, record), (folder, record))
        if (other.model.digest, other.data.manifest) != (record.model.digest, record.data.manifest):
            raise UsageError(
                f"{record.model.name} on {record.data.name} is of other weights, code or samples in {first} than in "
                f"{folder}; give one a name of its own: --models LABEL={record.model.spec or record.model.name}"
            )
    for folder in (each for each in folders if each.resolve() != out.resolve()):
        if (folder / "pictures").is_dir():
            shutil.copytree(folder / "pictures", out / "pictures", dirs_exist_ok=True)
    for _, record in records:
        write_record(out, record)
    keep_order(out, [record for _, record in records])
    return read_records([out])


Parts = dict[int, tuple[Path, Sequence[str]]]
"""Of one run, by number of the share, its part and the line that made it."""


def parts_by_run(paths: Sequence[Path]) -> dict[str, Parts]:
    """Return the parts of each run. Raises CvbenchError where shares are missing, UsageError for one held twice."""
    from cvbench.engine.shares import Header, read_part

    found: defaultdict[tuple[str, int], Parts] = defaultdict(dict)
    for path in paths:
        header = next(read_part(path), None)
        if not isinstance(header, Header) or header.arguments[:1] not in ([name] for name in COMMANDS):
            raise CvbenchError(f"{path} does not say what made it; run that share again")
        parts = found[asked_for(typed(header.arguments)), header.count]
        if header.number in parts:
            raise UsageError(
                f"{path} and {parts[header.number][0]} are both share {header.number}; name one of the two"
            )
        parts[header.number] = path, header.arguments
    for (_, count), parts in found.items():
        if missing := [str(number) for number in range(1, count + 1) if number not in parts]:
            raise CvbenchError(f"shares {', '.join(missing)} of {count} are missing; run --shard {missing[0]}/{count}")
    return {asked: parts for (asked, _), parts in found.items()}


def typed(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the options of a command line, its command included."""
    name, *rest = arguments
    return {
        **with_profile(COMMANDS[name], (name,)).make_context(name, list(rest), resilient_parsing=False).params,
        "command": name,
    }


def assembled(parts: Parts, out: Path) -> Sequence[RunRecord]:
    """Return the records of one run, in a store of its own: rows that were measured elsewhere are no rows of here."""
    from cvbench.engine.ranks import Merging, among

    given = typed(next(iter(parts.values()))[1]) | {"device": "cpu", "devices": None, "shard": None}
    with tempfile.TemporaryDirectory() as folder, among(Merging([path for path, _ in parts.values()])) as ranks:
        store = FileStore(Path(folder))
        if given["command"] == "score":
            return score.records_of(given, out, ranks, store)
        suite = load_suite(given["suite"])
        return run.carry_out(suite, run.build_request(given, suite, out)[0], ranks, store)
