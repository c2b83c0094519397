"""`cvbench report`: one HTML file, or Markdown with pictures. No torch."""

from collections.abc import Sequence
from pathlib import Path

import click

from cvbench import report, tables
from cvbench.commands.codes import DONE, INCOMPLETE
from cvbench.commands.console import line
from cvbench.commands.options import check_folder, listed
from cvbench.compare.walk_text import read_walks
from cvbench.compare.walked import Walked
from cvbench.core.records import WALK, holds_records, read_records
from cvbench.engine.pictures import read_all
from cvbench.store import write_text
from cvbench.tables import Beside


@click.command("report")
@click.argument(
    "runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="RUN_OR_FOLDER..."
)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="The file, or with --markdown the folder.  [default: in RUN]"
)
@click.option("--title", help="[default: the name of RUN]")
@click.option("--published", is_flag=True, help="What was published beside scores, under the same protocol and data.")
@click.option(
    "--percentiles", multiple=True, metavar="A,B", help="Behind each mean percentiles over samples: p5,p95,worst."
)
@click.option("--markdown", is_flag=True, help="Write report.md with static pictures, for a README.")
def command(
    runs: Sequence[Path],
    out: Path | None,
    title: str | None,
    published: bool,
    percentiles: Sequence[str],
    markdown: bool,
) -> int:
    """Write one HTML file that opens from disk: tables, plots, per-frame curves, clips with a wipe and difference maps.

    A folder that `cvbench explain --out` wrote into has its walk shown, too, as a waterfall a metric.

    \b
      cvbench report reports/recon
      cvbench report reports/recon --out vae.html --title "Our VAE"
      cvbench report reports/recon --markdown --out docs/scores

    Pictures are those of all runs into a folder. Exit code 3: some of them are damaged or gone (named), and left out.
    """
    home = runs[0] if runs[0].is_dir() else runs[0].parent
    title = title or home.absolute().name or "Autoencoders compared"
    check_folder((out if markdown else out.parent) if out else home)
    walks = {run: walks_of(run) for run in runs}
    records = read_records([run for run in runs if not walks[run] or (run.is_dir() and holds_records(run))])
    walked = [walk for found in walks.values() for walk in found]
    beside = Beside() if published else None
    pictures = [folder for folder in (run / "pictures" for run in runs) if folder.is_dir()]
    shares = tables.checked(listed(percentiles))
    if markdown:
        path = report.markdown_report(
            records, out or home, pictures, title, walks=walked, beside=beside, percentiles=shares
        )
    else:
        path = out or home / "report.html"
        write_text(path, report.render(records, pictures, title, walks=walked, beside=beside, percentiles=shares))
    line(path)
    _, problems = read_all(*pictures)
    for problem in problems:
        line(f"Error: {problem}", err=True)
    return INCOMPLETE if problems else DONE


def walks_of(run: Path) -> list[Walked]:
    """Return the walks that `cvbench explain` wrote into a folder, or the file is."""
    path = run if run.is_file() and run.name == WALK else run / WALK
    return read_walks(path) if path.is_file() else []
