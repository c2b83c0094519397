"""Loggers for `EveryN`: scores with their intervals, and pictures, through each library's own interface.

Names are cvbench/DATA/METRIC, with /low and /high beside; pictures show target above reconstruction, clips by their
middle frame. Each takes what its library calls a run: nothing is started or finished here.
"""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from cvbench.core.errors import UsageError
from cvbench.integrations.training import Monitored
from cvbench.tasks.evaluation import SamplePair

Picture = UInt8[np.ndarray, "height width 3"]


def numbers(found: Monitored) -> dict[str, float]:
    """Return what a logger plots."""
    return {
        f"cvbench/{name}{ending}": value
        for name, estimate in found.scores.items()
        for ending, value in (("", estimate.value), ("/low", estimate.low), ("/high", estimate.high))
    }


def picture(pair: SamplePair) -> Picture:
    """Return the middle frame of a target, and under it that of its reconstruction."""
    middle = pair.target.shape[1] // 2
    return np.concatenate([side[:, middle].transpose(1, 2, 0) for side in (pair.target, pair.reconstruction)])


def name_of(pair: SamplePair) -> str:
    """Return the name under which a picture is logged."""
    return f"cvbench/{pair.data}/{pair.id}"


class TensorBoard:
    """Logs to a `torch.utils.tensorboard.SummaryWriter`."""

    def __init__(self, writer: Any) -> None:
        _expect(writer, "add_scalar", "a torch.utils.tensorboard.SummaryWriter")
        self.writer = writer

    def log(self, found: Monitored) -> None:
        """Add scalars and images."""
        for name, value in numbers(found).items():
            self.writer.add_scalar(name, value, found.step)
        for pair in found.pictures:
            self.writer.add_image(name_of(pair), picture(pair), found.step, dataformats="HWC")


class WandB:
    """Logs to a run of Weights & Biases, as `wandb.init` gives it.

    The training's step is logged as cvbench/step, for W&B's own only ever grows.
    """

    def __init__(self, run: Any) -> None:
        _expect(run, "log", "what wandb.init gives")
        self.run = run

    def log(self, found: Monitored) -> None:
        """Log scores, and pictures as wandb.Image."""
        import wandb

        pictures = {name_of(pair): wandb.Image(picture(pair)) for pair in found.pictures}
        self.run.log({**numbers(found), **pictures, "cvbench/step": found.step})


class Trackio:
    """Logs to a run of trackio, as `trackio.init` gives it."""

    def __init__(self, run: Any) -> None:
        _expect(run, "log", "what trackio.init gives")
        self.run = run

    def log(self, found: Monitored) -> None:
        """Log scores, and pictures as trackio.Image."""
        import trackio

        pictures = {name_of(pair): trackio.Image(picture(pair)) for pair in found.pictures}
        self.run.log({**numbers(found), **pictures}, step=found.step)


class Accelerate:
    """Logs through the trackers of an `accelerate.Accelerator`, as diffusers' training scripts do."""

    def __init__(self, accelerator: Any) -> None:
        _expect(accelerator, "trackers", "an accelerate.Accelerator")
        self.accelerator = accelerator

    def log(self, found: Monitored) -> None:
        """Log scores everywhere, and pictures where a tracker takes them."""
        self.accelerator.log(numbers(found), step=found.step)
        for tracker in self.accelerator.trackers:
            if found.pictures and hasattr(tracker, "log_images"):
                images = {name_of(pair): picture(pair)[None] for pair in found.pictures}
                tracker.log_images(images, step=found.step)


def _expect(given: object, attribute: str, what: str) -> None:
    if not hasattr(given, attribute):
        raise UsageError(f"give {what}, not a {type(given).__name__}")
