"""`cvbench merge`: the shares of a run become its records and table."""

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
from cvbench.core.records import RunRecord
from cvbench.core.suites import load_suite
from cvbench.store import FileStore

COMMANDS: Mapping[str, click.Command] = {"run": run.command, "score": score.command}


@click.command("merge")
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Where records and tables go.  [default: the first DIR]")
@click.option("--intervals", is_flag=True, help="Print 95 % intervals.")
def command(folders: Sequence[Path], out: Path | None, intervals: bool) -> int:
    """Put the parts that `run --shard` and `score --shard` left in DIR/parts together; no model runs.

    \b
      cvbench run --shard 1/2 --data clips/ --out node1/
      cvbench run --shard 2/2 --data clips/ --out node2/
      cvbench merge node1/ node2/ --out reports/clips

    Names of models and paths of data must mean here what they meant there. The records are those of one run over all
    samples, byte for byte but for times. Exit codes: 0 done, 2 wrong usage, 3 a share is missing or something failed.
    """
    out = out or folders[0]
    check_folder(out)
    runs = parts_by_run([path for folder in folders for path in sorted((folder / "parts").glob("*.part"))])
    if not runs:
        raise UsageError(
            f"{' and '.join(map(str, folders))}: no parts there; `cvbench run --shard I/N --out DIR` leaves some"
        )
    records = [record for parts in runs.values() for record in assembled(parts, out)]
    return finish(records, "merged", out, intervals=intervals)


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
