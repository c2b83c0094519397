"""What a posterior is coded as."""

import torch
from jaxtyping import Float
from torch import Tensor

from cvbench.models.entry import Loading

Coded = Float[Tensor, "b z *cells"]


def sampled(mean: Coded, logvar: Coded, loading: Loading) -> Coded:
    """Return the mean, or a draw when the protocol asks for one."""
    return mean if loading.posterior == "mode" else mean + (logvar / 2).exp() * torch.randn_like(mean)


def moments(found: Float[Tensor, "b _ *cells"]) -> tuple[Coded, Coded]:
    """Split what an encoder gives into mean and logarithm of the variance, within latent diffusion's limits."""
    mean, logvar = found.chunk(2, dim=1)
    return mean, logvar.clamp(-30, 20)
