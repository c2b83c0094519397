"""`cvbench bundle`: a run as one file that others can check. No torch."""

from pathlib import Path

import click

from cvbench.commands.codes import DONE
from cvbench.commands.console import line
from cvbench.commands.options import check_folder


@click.command("bundle")
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), metavar="DIR|FILE.zip", help="[default: RUN.bundle.zip beside RUN]"
)
@click.option("--title", help="Of the report in it.  [default: the name of RUN]")
def command(run: Path, out: Path | None, title: str | None) -> int:
    """Put a run into one zip or folder: records, tables, report, pictures, environment, a manifest with all hashes.

    \b
      cvbench bundle reports/recon
      cvbench bundle reports/recon --out recon.zip
      cvbench verify recon.zip

    Prints where it lies and the hash that stands for all of it. run.log and the cache, which know paths of this
    machine, are not in it; reasons why something failed are, as the records have them.
    """
    from cvbench.sharing.bundle import bundle, default_path
    from cvbench.sharing.files import opened, write

    out = out or default_path(run)
    check_folder(out.absolute().parent)
    write(bundle(run, title or ""), out)
    with opened(out) as made:
        line(out, f"sha256:{made.sha256}")
    return DONE
