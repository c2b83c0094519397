"""A callback for Lightning: `Trainer(callbacks=[Monitor(every=500, data="val/")])`."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from cvbench.core.errors import UsageError
from cvbench.integrations.loggers import TensorBoard, WandB, numbers
from cvbench.integrations.training import EveryN, Monitored


class Monitor(Callback):
    """Measures the module, or the autoencoder in it that `model` names, every `every` optimizer steps.

    model: an attribute's name, a function from the module to the autoencoder, or nothing for the module itself, which
    has `encode` and `decode` then. Other arguments are those of `EveryN`. Scores go to all loggers of the trainer,
    pictures to TensorBoard and Weights & Biases; the newest are in `found`.
    """

    def __init__(self, every: int, *args: Any, model: str | Callable[[Any], Any] = "", **options: Any) -> None:
        self.model = model
        self.found: Monitored | None = None
        self.monitor = EveryN(every, *args, **options)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure where it is time to."""
        found = self.monitor(trainer.global_step, self._autoencoder(pl_module))
        if found is not None:
            self.found = found
            if trainer.is_global_zero:
                _log(trainer, found)

    def _autoencoder(self, module: LightningModule) -> Any:
        if callable(self.model):
            return self.model(module)
        if self.model and not hasattr(module, self.model):
            raise UsageError(f"a {type(module).__name__} has no attribute {self.model}")
        return getattr(module, self.model) if self.model else module


def _log(trainer: Trainer, found: Monitored) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            TensorBoard(logger.experiment).log(found)
        elif isinstance(logger, WandbLogger):
            WandB(logger.experiment).log(found)
        else:
            logger.log_metrics(numbers(found), step=found.step)
