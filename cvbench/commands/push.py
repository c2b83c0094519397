"""`cvbench push`: a bundle to the hub. No torch."""

import click

from cvbench.commands.codes import DONE, REGRESSION
from cvbench.commands.console import line
from cvbench.commands.options import existing


@click.command("push")
@click.argument("bundle")
@click.argument("address", metavar="hf:OWNER/REPO")
@click.option("--type", "kind", type=click.Choice(["dataset", "model"]), default="dataset", show_default=True)
@click.option("--private", is_flag=True, help="Where the repository is made, make it private.")
@click.option("--pull-request", "request", is_flag=True, help="Open a pull request in a repository of somebody else.")
def command(bundle: str, address: str, kind: str, private: bool, request: bool) -> int:
    """Verify a bundle and upload its files to the hub, into a folder named by its hash.

    \b
      cvbench push recon.bundle.zip hf:OWNER/REPO
      cvbench push recon.bundle.zip hf:OWNER/MODEL --type model --pull-request

    The account is that of `hf auth login`. Exit codes: 0 done, 1 the bundle does not agree with itself (nothing is
    sent), 2 no bundle or address, 3 the hub did not take it (why).
    """
    from cvbench.sharing.files import opened
    from cvbench.sharing.push import push, repository
    from cvbench.sharing.verify import verify

    repo = repository(address)
    (path,) = existing([bundle])
    with opened(path) as held:
        if wrong := verify(held).wrong:
            line(f"Error: {path} does not agree with itself: {wrong[0]}", err=True)
            return REGRESSION
        line(push(held, repo, "model" if kind == "model" else "dataset", private=private, request=request))
    return DONE
