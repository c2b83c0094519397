"""`cvbench weights`: where weights lie, and fetching them. No torch."""

from collections.abc import Mapping, Sequence
from functools import partial

import click

from cvbench import weights
from cvbench.commands.codes import DONE, INCOMPLETE
from cvbench.commands.console import line, print_rows, progress_bar, quiet
from cvbench.commands.options import configured_weights
from cvbench.core.errors import CvbenchError, UnknownName
from cvbench.models import MODELS
from cvbench.probes import known_weights
from cvbench.weights import Source


@click.group("weights")
def command() -> None:
    """Find, fetch and verify weights.

    \b
      cvbench weights list
      cvbench weights fetch vae-sd21 cvvae
      cvbench weights path cvvae
    """


def sources(names: Sequence[str]) -> Mapping[str, Source]:
    """Return where the weights of the named models and metrics come from; of all when none is named.

    Of a decoder alone those of its encoder, too.
    """
    known = known_weights()
    for name in names:
        if name not in known:
            raise UnknownName("model or metric with weights", name, known)
    encoders = (MODELS[name].encoder for name in names if name in MODELS)
    return {name: known[name] for name in [*names, *filter(None, encoders)] or known}


@command.command("list")
@click.argument("names", nargs=-1)
def list_weights(names: Sequence[str]) -> int:
    """Show where weights lie on this machine, or come from."""
    print_rows(weights.COLUMNS, [h.row for h in weights.listing(sources(names), configured_weights())])
    return DONE


@command.command("verify")
@click.argument("names", nargs=-1)
def verify_weights(names: Sequence[str]) -> int:
    """Read every file that is here, whole, and compare its hash. Exit code 3: one is damaged or another's."""
    holdings = weights.verify(sources(names), configured_weights())
    print_rows(weights.COLUMNS, [h.row for h in holdings])
    return INCOMPLETE if any(h.bad for h in holdings) else DONE


@command.command("path")
@click.argument("name")
def path_weights(name: str) -> int:
    """Print where weights lie. Exit code 3: not on this machine."""
    line(weights.path_of(name, sources([name])[name], configured_weights()))
    return DONE


@command.command("fetch")
@click.argument("names", nargs=-1, required=True)
@quiet
def fetch_weights(names: Sequence[str]) -> int:
    """Download weights, continuing where a download stopped; hashes are checked. Exit code 3: some are missing."""
    failed = False
    for name, source in sources(names).items():
        try:
            with progress_bar() as report:
                path = weights.fetch(name, source, configured_weights(), partial(report, name))
            line(name, path)
        except CvbenchError as error:
            line(f"Error: {error}", err=True)
            failed = True
    return INCOMPLETE if failed else DONE
