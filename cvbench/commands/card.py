"""`cvbench card`: the scores of a model for its card. No torch."""

from pathlib import Path

import click

from cvbench.commands.codes import DONE
from cvbench.commands.console import echo
from cvbench.commands.options import existing
from cvbench.commands.show import of_models
from cvbench.core.errors import UsageError


@click.command("card")
@click.argument("model", required=False)
@click.option("--from", "source", default="reports/recon", show_default=True, metavar="RUN", help="Its records.")
def command(model: str | None, source: str) -> int:
    """Print the card of a model in Markdown, its scores in front as the model-index that the hub reads.

    \b
      cvbench card tiny-video --from reports/recon > README.md
      cvbench card --from reports/one-model
    """
    from cvbench.sharing.card import card

    records = of_models([str(path) for path in existing([source])], [model] if model else [])
    names = list(dict.fromkeys(record.model.name for record in records))
    if len(names) > 1:
        raise UsageError(f"{Path(source)} holds {len(names)} models: name one, as in `cvbench card {names[0]}`")
    echo(card(records), nl=False)
    return DONE
