"""`cvbench report`: one HTML file, or Markdown with pictures. No torch."""

from collections.abc import Sequence
from pathlib import Path

import click

from cvbench import report
from cvbench.commands.codes import DONE, INCOMPLETE
from cvbench.commands.console import line
from cvbench.commands.options import check_folder
from cvbench.core.records import read_records
from cvbench.engine.pictures import read_all
from cvbench.store import write_text


@click.command("report")
@click.argument(
    "runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="RUN_OR_FOLDER..."
)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="The file, or with --markdown the folder.  [default: in RUN]"
)
@click.option("--title", help="[default: the name of RUN]")
@click.option("--markdown", is_flag=True, help="Write report.md with static pictures, for a README.")
def command(runs: Sequence[Path], out: Path | None, title: str | None, markdown: bool) -> int:
    """Write one HTML file that opens from disk: tables, plots, per-frame curves, clips with a wipe and difference maps.

    \b
      cvbench report reports/recon
      cvbench report reports/recon --out vae.html --title "Our VAE"
      cvbench report reports/recon --markdown --out docs/scores

    Pictures are those of all runs into a folder. Exit code 3: some of them are damaged or gone (named), and left out.
    """
    home = runs[0] if runs[0].is_dir() else runs[0].parent
    title = title or home.absolute().name or "Autoencoders compared"
    check_folder((out if markdown else out.parent) if out else home)
    records = read_records(runs)
    pictures = [folder for folder in (run / "pictures" for run in runs) if folder.is_dir()]
    if markdown:
        path = report.markdown_report(records, out or home, pictures, title)
    else:
        path = out or home / "report.html"
        write_text(path, report.render(records, pictures, title))
    line(path)
    _, problems = read_all(*pictures)
    for problem in problems:
        line(f"Error: {problem}", err=True)
    return INCOMPLETE if problems else DONE
