"""`cvbench compare`: two runs, or two models of one, sample by sample. No torch."""

from collections.abc import Sequence
from pathlib import Path

import click

from cvbench.commands.codes import DONE, INCOMPLETE
from cvbench.commands.console import echo
from cvbench.compare import compare_runs, text
from cvbench.core.records import read_records


@click.command("compare")
@click.argument("first", type=click.Path(exists=True, path_type=Path), metavar="A")
@click.argument("second", required=False, type=click.Path(exists=True, path_type=Path), metavar="[B]")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only this model; twice: A's first, B's second.")
@click.option("--format", "form", type=click.Choice(["md", "json"]), default="md", show_default=True)
def command(first: Path, second: Path | None, models: Sequence[str], form: str) -> int:
    """Compare two runs, or models of one run, sample by sample: is the difference real?

    \b
      cvbench compare reports/before reports/after
      cvbench compare reports/recon
      cvbench compare reports/recon --model vae-sd21 --model cvvae
      cvbench compare reports/before reports/after --model cvvae --model my_vae.py:build

    A and B are folders or records made by `cvbench run`. Of A alone, its first model is compared with each other one,
    or the first --model with each further one. Differences are B minus A on the samples that both measured on the same
    pixels. Exit codes: 0 done, 2 wrong usage, 3 something could not be paired (named under the table).
    """
    comparisons, alone = compare_runs(read_records([first]), read_records([second]) if second else None, models)
    show = text.comparison_markdown if form == "md" else text.comparison_json
    echo(show(comparisons, alone), nl=False)
    return INCOMPLETE if alone or any(c.unpaired for c in comparisons) else DONE
