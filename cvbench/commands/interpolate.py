"""`cvbench interpolate`: frames between the frames of clips."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from cvbench.commands import processes
from cvbench.commands.codes import DONE, INCOMPLETE
from cvbench.commands.console import line, progress_bar, quiet
from cvbench.commands.options import configured_weights, weights_of
from cvbench.core.errors import MissingWeights, UsageError
from cvbench.models.interp_entries import INTERPOLATION


@click.command("interpolate")
@click.argument("source", type=click.Path(exists=True, path_type=Path), metavar="VIDEO|DIR")
@click.option("--factor", type=click.IntRange(2), default=4, show_default=True, help="Frames for each frame given.")
@click.option(
    "--model", default="rife", show_default=True, help="rife, rife-m, rife-eccv2022, interp-repeat or interp-linear."
)
@click.option("--out", "-o", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option("--weights", multiple=True, metavar="NAME=PATH", help="Weights on this machine.")
@processes.placement
@quiet
def command(
    source: Path, factor: int, model: str, out: Path, device: str, weights: Sequence[str], **where: str | None
) -> int:
    """Put frames between the frames of a clip, or of every clip in a folder: 25 frames become 97 at factor 4.

    \b
      cvbench interpolate clip.mp4 --factor 4 --model rife --out smooth/
      cvbench interpolate frames/ --model interp-linear --out smooth/

    The frames given come back unchanged. Files become lossless FFV1 in Matroska, folders of frames folders of PNG.
    What is already there is not made again. Exit code 3: some clip could not be read (named).
    """
    from cvbench.engine.memory import settle_threads
    from cvbench.tasks.interpolation import interpolate_path  # torch, for which no help waits

    typed = weights_of(weights)
    refuse_unused(typed, model)
    given = {**configured_weights(), **typed}
    if devices := processes.to_launch(where):
        return processes.launch(devices)
    settle_threads()
    on = processes.device_of({**where, "device": device})
    try:
        with processes.taking_part(where) as ranks, progress_bar(ranks.speaks) as progress:
            made = interpolate_path(source, out, factor, model, on, given, progress)
    except MissingWeights as error:
        raise MissingWeights(f"{error} Without weights there is --model interp-linear") from error
    for clip in made if ranks.speaks else ():
        frames = f"{clip.frames[0]} → {clip.frames[1]} frames" + (" (already there)" if clip.reused else "")
        line(clip.source, clip.error or clip.target, "failed" if clip.error else frames)
    return INCOMPLETE if any(clip.error for clip in made) else DONE


def refuse_unused(weights: Mapping[str, Path], model: str) -> None:
    """Raise UsageError for weights of a model that does not run."""
    known = model in INTERPOLATION and INTERPOLATION[model].source is None
    unused = ", ".join(name for name in weights if name != model or known)
    if unused:
        what = "has no weights" if known else f"takes its own: --weights {model}=PATH"
        raise UsageError(f"--weights {unused}: the model is {model}, which {what}")
