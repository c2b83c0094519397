"""The optimizer of the tiny models: Muon for kernels and matrices, Adam for biases and norms.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) replaces a matrix's momentum by the nearest
semi-orthogonal matrix. In these narrow networks it gains 0.7 dB over Adam in equal time. PyTorch's own takes matrices
only, not kernels.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the published iteration: five rounds bring singular values to about 0.7 to 1.2."""


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum; a kernel counts as the matrix (outputs, everything else)."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group["lr"], group["momentum"])

    def _move(self, parameter: Tensor, grad: Tensor, rate: float, momentum: float) -> None:
        held = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        held.lerp_(grad, 1 - momentum)
        direction = orthogonal(grad.lerp(held, momentum).flatten(1))
        rows, columns = direction.shape
        parameter.add_(direction.view_as(parameter), alpha=-rate * max(1, rows / columns) ** 0.5)


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """Return the nearest semi-orthogonal matrix, roughly, by Newton and Schulz's iteration."""
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix) / (matrix.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


def optimizers(net: nn.Module, rate: float) -> tuple[Muon, torch.optim.Adam]:
    """Return Muon for what has two axes or more, and Adam, a third as fast, for the rest."""
    matrices = [parameter for parameter in net.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in net.parameters() if parameter.ndim < 2]
    return Muon(matrices, rate), torch.optim.Adam(vectors, rate / 3, (0.9, 0.99))
