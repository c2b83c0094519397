"""What training the tiny models needs beyond the models: the frozen image VAE, LPIPS, a discriminator, their losses."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from cvbench import weights


class ImageVAE(nn.Module):
    """An image VAE that codes each frame of a clip by itself: (b, 3, t, h, w) in [-1, 1] to (b, c, t, h/8, w/8)."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.net = AutoencoderKL(**{key: value for key, value in config.items() if not key.startswith("_")})

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the posterior."""
        posterior = self.net.encode(x.transpose(1, 2).flatten(0, 1)).latent_dist
        return clips(posterior.mean, len(x)), clips(posterior.logvar, len(x))

    def decode(self, z: Tensor) -> Tensor:
        """Return pixels."""
        return clips(self.net.decode(z.transpose(1, 2).flatten(0, 1)).sample, len(z))


OPPONENT = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]])
"""Luma, red against blue, green against both: the rows are orthogonal."""
GAIN = torch.tensor([1.0, 4.0, 4.0])
"""What brings the three to one size: natural colours are near grey."""


@torch.no_grad()
def let_through(net: AutoencoderKL, channels: int = 4) -> None:
    """Start an image VAE as a plain reduction: its first channels pass all convolutions, residual blocks add little.

    Three of them are luma and two axes of colour. From PyTorch's own start L1 first finds an image VAE that spends all
    latent channels on luma, and then stays grey for 10,000 steps and more.
    """
    for name, conv in net.named_modules():
        if not isinstance(conv, nn.Conv2d) or name.endswith("conv1"):
            continue
        if name.endswith("conv2"):
            conv.weight.mul_(0.1)
            nn.init.zeros_(conv.bias)
            continue
        kernel = torch.full(conv.kernel_size, 1 / 9) if "downsamplers" in name else middle(conv.kernel_size)
        passing = min(channels, conv.in_channels, conv.out_channels)
        conv.weight[:passing] = 0
        conv.bias[:passing] = 0
        conv.weight[range(passing), range(passing)] = kernel
    axes = OPPONENT / OPPONENT.norm(dim=1, keepdim=True)
    net.encoder.conv_in.weight[:3, :, 1, 1] = axes * GAIN[:, None]
    net.decoder.conv_out.weight[:, :3, 1, 1] = (axes / GAIN[:, None]).T


def middle(size: tuple[int, ...]) -> Tensor:
    """Return the kernel that changes nothing."""
    kernel = torch.zeros(size)
    kernel[tuple(side // 2 for side in size)] = 1
    return kernel


def clips(frames: Tensor, number: int) -> Tensor:
    """Give frames back to the clips they are of."""
    return frames.reshape(number, -1, *frames.shape[1:]).transpose(1, 2)


class Lpips(nn.Module):
    """LPIPS of the frames of clips in [-1, 1], differentiable; `backbone` is the file of torchvision's VGG16."""

    def __init__(self, backbone: Path) -> None:
        import lpips

        super().__init__()
        self.net = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).requires_grad_(False).eval()
        state = weights.read_tensors(backbone)
        for name, parameter in self.net.net.named_parameters():  # slice2.5.weight is torchvision's features.5.weight
            parameter.data.copy_(state["features." + name.split(".", 1)[1]])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean over all frames."""
        distances: Tensor = self.net(*(each.transpose(1, 2).flatten(0, 1) for each in (x, y)))
        return distances.mean()


class Critic(nn.Sequential):
    """A 3-D PatchGAN discriminator (Isola et al. 2017): one verdict a patch."""

    def __init__(self, width: int = 16) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, width), (width, 2 * width), (2 * width, 4 * width)):
            layers += [nn.Conv3d(inputs, outputs, (3, 4, 4), (1, 2, 2), 1), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv3d(4 * width, 1, 3, padding=1))


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss of its verdicts on what is real and on what is not (Lim and Ye 2017)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def coloured(x: Tensor) -> Tensor:
    """Return each pixel's deviation from grey, (b, 3, t, h, w)."""
    return x - x.mean(1, keepdim=True)


def divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL divergence from the standard normal, mean over the latents, in nats."""
    return (mean.square() + logvar.exp() - 1 - logvar).mean() / 2
