"""`cvbench generate`: a generator's latents, and frames where they are wanted."""

from pathlib import Path
from typing import Any

import click

from cvbench.commands.codes import DONE, INCOMPLETE
from cvbench.commands.console import line, progress_bar, quiet
from cvbench.commands.drawing import agreeing, request_of
from cvbench.commands.options import check_folder, data_names
from cvbench.commands.processes import refuse
from cvbench.core.config import load_config
from cvbench.core.errors import UsageError
from cvbench.data import DATASETS
from cvbench.probes import known_weights


@click.command("generate")
@click.argument("generator")
@click.option(
    "--prompts", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="CSV, JSON or text of name,prompt.",
)  # fmt: skip
@click.option("--data", "-d", multiple=True, metavar="NAME|NAME=PATH|PATH", help="Captions or first frames of a set.")
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="Where latents and frames go.")
@click.option("--frames", is_flag=True, help="Frames too, decoded by the VAE of GENERATOR[+VAE]: PNG, or FFV1 clips.")
@click.option("--protocol", metavar="NAME", help="See `cvbench list protocols`.  [default: the generator's]")
@click.option(
    "--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change a field of the protocol; repeatable."
)
@click.option("--seed", type=click.IntRange(0), help="Of all samples; the same as --set seed=.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N samples.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option("--weights", multiple=True, metavar="NAME=PATH", help="Weights on this machine; repeatable.")
@click.option("--yes", is_flag=True, help="Begin also what takes over an hour.")
@quiet
def command(**given: Any) -> int:
    """Draw latents by a generator, one safetensors file a sample, and frames where they are wanted.

    \b
      cvbench generate gaussian-t2i --data sample-images --out latents/
      cvbench generate wan2.1-1.3b --prompts prompts.csv --out latents/ --frames

    What is drawn is kept: `cvbench run` with the same generator, protocol and samples decodes it and draws nothing.
    Exit codes: 0 done, 2 wrong usage, 3 some samples were not made (named), 130 interrupted.
    """
    if bool(given["prompts"]) == bool(given["data"]):
        raise UsageError("say what samples are made from: --prompts FILE, or --data")
    from cvbench.engine.ranks import Ranks  # torch, for which no help waits
    from cvbench.tasks.generation import draw
    from cvbench.tasks.generation.files import write

    check_folder(given["out"])
    refuse({"shard": None, "devices": None}, "cvbench generate")
    config = load_config(Path.cwd(), DATASETS, known_weights())
    data = data_names(given["data"], config.data)
    request = request_of(given, [given["generator"]], data, (), config, given["out"], speed=False)
    failed = 0
    with progress_bar() as progress:
        for drawing, keys in draw(request, progress, agree=agreeing(Ranks(), yes=given["yes"])):
            failures = [*drawing.failures(), *write(drawing, keys, request, frames=given["frames"])]
            failed += len(failures)
            for failure in failures:
                line(f"Error: {failure.id}: {failure.error}", err=True)
            line(f"{len(keys)} samples of {given['generator']} are in {given['out']}", err=True)
    return INCOMPLETE if failed else DONE
