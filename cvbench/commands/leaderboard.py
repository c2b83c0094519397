"""`cvbench leaderboard`: a site made from bundles. No torch."""

from collections.abc import Sequence
from pathlib import Path

import click

from cvbench.commands.codes import DONE, REGRESSION
from cvbench.commands.console import line
from cvbench.commands.options import check_folder, existing


@click.group("leaderboard")
def command() -> None:
    """Make a static site from bundles: no server, no number without its bundle.

    \b
      cvbench leaderboard build bundles/*.zip --out site/
    """


@command.command("build")
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...")
@click.option("--out", "-o", type=click.Path(path_type=Path), default=Path("site"), show_default=True)
@click.option("--title", default="Leaderboard", show_default=True)
def build(bundles: Sequence[str], out: Path, title: str) -> int:
    """Write a page for each protocol and data set, one for each model, and the bundles beside them.

    Every bundle is verified first. Exit codes: 0 done, 1 a bundle does not agree with itself (nothing is built), 2 no
    bundle.
    """
    from cvbench.sharing.leaderboard import Disagrees, build

    check_folder(out)
    try:
        pages = build(existing(bundles), out, title)
    except Disagrees as error:
        line(f"Error: {error}", err=True)
        return REGRESSION
    line(pages[0], f"{len(pages)} pages")
    return DONE
