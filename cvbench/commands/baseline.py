"""`cvbench baseline`: the stored scores that `cvbench check` compares with. No torch."""

from pathlib import Path

import click

from cvbench import tables
from cvbench.commands.codes import DONE, INCOMPLETE
from cvbench.commands.console import echo, line
from cvbench.commands.options import check_folder
from cvbench.compare import save_baseline
from cvbench.core.records import read_records


@click.group("baseline")
def command() -> None:
    """Store scores for later runs to be checked against.

    \b
      cvbench baseline save reports/recon --to reports/baseline
      cvbench baseline show reports/baseline
    """


@command.command("show")
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
def show(folder: Path) -> int:
    """Print the stored scores as a table, with intervals.

    \b
      cvbench baseline show reports/baseline
    """
    echo(tables.markdown(tables.lay_out(read_records([folder]), intervals=True, allow_mixed=True)), nl=False)
    return DONE


@command.command("save")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("--to", "folder", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--speed", is_flag=True, help="Keep the speed too, for --tolerance speed=1.2.")
def save(run: Path, folder: Path, speed: bool) -> int:
    """Store the records of a run as a baseline, to be committed.

    \b
      cvbench baseline save reports/recon --to reports/baseline

    Saving again updates: what did not change is not written again. Exit code 3: a record
    without scores was refused (named).
    """
    check_folder(folder)
    saved = save_baseline(read_records([run]), folder, speed=speed)
    for what, names in zip(("written", "unchanged", "refused", "left from before"), saved, strict=True):
        for name in names:
            line(what, name)
    return INCOMPLETE if saved.refused else DONE
