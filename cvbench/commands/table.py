"""`cvbench table`: records as a table, or in the layout of a published one. No torch."""

from collections.abc import Sequence
from pathlib import Path

import click

from cvbench import paper, tables
from cvbench.commands.codes import DONE
from cvbench.commands.console import echo
from cvbench.commands.options import existing, listed
from cvbench.core.errors import UsageError
from cvbench.core.records import RunRecord, read_records
from cvbench.tables import Beside, Table
from cvbench.tables.temporal import build_temporal


@click.command("table")
@click.argument("what", nargs=-1, required=True, metavar="RUN_OR_FOLDER... | 1..8 | TABLE.toml")
@click.option(
    "--from", "runs", multiple=True, type=click.Path(exists=True, path_type=Path), metavar="RUN_OR_FOLDER",
    help="Records to print in the layout of a published table; repeatable.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(["md", "html", "csv", "latex", "json"]), default="md", show_default=True
)
@click.option("--published", is_flag=True, help="What was published beside it, with the difference.")
@click.option(
    "--published-by", "by", metavar="PROTOCOL",
    help="The same, but only what was published under this protocol; and why it stands beside no other record.",
)  # fmt: skip
@click.option("--intervals", "--ci", "intervals", is_flag=True, help="Print 95 % intervals.")
@click.option("--allow-mixed", is_flag=True, help="Footnote scores whose signatures differ instead of refusing them.")
@click.option(
    "--percentiles", multiple=True, metavar="A,B", help="Behind each mean percentiles over samples: p5,p95,worst."
)
@click.option("--sort", metavar="COLUMN", help="Sort by a column, best first.  [default: as typed for `run`]")
@click.option("--columns", "-c", multiple=True, metavar="A,B", help="Only these: psnr,params,encode_fps, or patterns.")
@click.option("--rows", multiple=True, metavar="A,B", help="Only these models, or patterns.")
@click.option("--temporal", is_flag=True, help="PSNR by position in the temporal group, flicker, seams of windows.")
def command(
    what: Sequence[str],
    runs: Sequence[Path],
    form: str,
    published: bool,
    by: str | None,
    intervals: bool,
    allow_mixed: bool,
    percentiles: Sequence[str],
    sort: str | None,
    columns: Sequence[str],
    rows: Sequence[str],
    temporal: bool,
) -> int:
    """Print the table of records made by `run`, or a published table (1 to 8) filled from them.

    \b
      cvbench table reports/recon
      cvbench table reports/recon --format latex > table.tex
      cvbench table reports/recon --temporal           which frames of a clip a model codes worse
      cvbench table reports/recon --published          beside scores what papers print, under the same protocol and data
      cvbench table reports/recon --sort psnr --columns params,psnr,bpp --rows 'tiny-*,jpeg'
      cvbench table reports/recon --columns 'psnr*' --percentiles p5,worst
      cvbench table 1 --from reports/recon --published
      cvbench table 5 --published                      the paper's cells alone
      cvbench table 6                                  the paper's ablation at small scale, with paired tests

    Bold is the best of a column, underlined the second, each with all that tie with it: two scores tie when their
    95 % intervals overlap and, where both were measured on the same clips (8 or more), the 95 % interval of the
    paired differences holds 0. The identity and untrained models do not compete. `cvbench compare` tests.

    FCR is how many frames become one latent frame. Comp. tells whether a model's latents are those of an image model's:
    a check mark yes, a cross no, - it is an image model itself. bpp are bits per pixel: 16 for each number of the
    latents, or as counted. Rows come in the order in which models were typed.

    Below Tables 1, 6, 7 and 8 stand small networks of this project, from records that ship with it; those of --from go
    before them.
    """
    name = published_table(what, extra=bool(runs))
    if temporal and (name or published):
        raise UsageError("--temporal makes its own table of records: cvbench table RUN_OR_FOLDER --temporal")
    if by and (name or temporal):
        raise UsageError("--published-by is about records: cvbench table RUN_OR_FOLDER --published-by PROTOCOL")
    if name and (sort or columns or rows):
        raise UsageError("--sort, --columns and --rows are about records: cvbench table RUN_OR_FOLDER")
    if percentiles and (name or temporal):
        raise UsageError("--percentiles stand behind the means of records: cvbench table RUN_OR_FOLDER")
    if temporal:
        table = build_temporal(chosen_records(what, rows), intervals=intervals, allow_mixed=allow_mixed)
    elif name:
        table = fill(name, runs, published=published, intervals=intervals, allow_mixed=allow_mixed)
    else:
        records = chosen_records(what, rows)
        beside = Beside(by or "") if by or published else None
        shares = tables.checked(listed(percentiles))
        table = tables.lay_out(records, intervals=intervals, allow_mixed=allow_mixed, beside=beside, percentiles=shares)
    table = tables.arranged(table, listed(columns), sort or "")
    echo(tables.FORMATS[form](table), nl=False)
    return DONE


def chosen_records(what: Sequence[str], rows: Sequence[str]) -> Sequence[RunRecord]:
    """Read records, of the models `rows` alone where there are any."""
    return tables.chosen(read_records(existing(what)), listed(rows))


def fill(name: str, runs: Sequence[Path], *, published: bool, intervals: bool, allow_mixed: bool) -> Table:
    """Return a published table filled from records. Raises UsageError for options that are about records it has not."""
    layout = paper.load_table(name)
    stored = [r for r in paper.stored_records() if layout.small.holds(r)] if layout.small else []
    if (intervals or allow_mixed) and not (runs or stored):
        raise UsageError(
            f"--intervals and --allow-mixed are about records; name some: table {name} --from RUN_OR_FOLDER"
        )
    records = read_records(runs)
    return paper.build(
        layout, records, stored=stored, published=published, intervals=intervals, allow_mixed=allow_mixed
    )


def published_table(what: Sequence[str], *, extra: bool) -> str | None:
    """Return which published table is meant, None for folders, which take no `extra` options."""
    if not (what[0].isdigit() or what[0].endswith(".toml")):
        if extra:
            raise UsageError("--from goes with a published table: cvbench table 1 --from RUN_OR_FOLDER")
        return None
    if len(what) > 1:
        raise UsageError(f"the records of table {what[0]} go behind --from: cvbench table {what[0]} --from {what[1]}")
    return what[0]
