"""VideoCrafter2: text to video from parts of diffusers and transformers, by its own DDIM sampler."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cvbench import weights
from cvbench.core.errors import BadWeights, MissingWeights, UsageError
from cvbench.generators.entry import Condition, GeneratorLoading, Latent
from cvbench.generators.pipelines import DTYPES
from cvbench.nets.videocrafter import TEXT, VideoCrafter2UNet, rescale, text_encoder, to_diffusers

SCALE = 0.18215
FACTOR = 8
Denoise = Callable[[Tensor, int], Tensor]
"""The noise guessed in latents at a time."""
UNET = "diffusion_pytorch_model.safetensors"


def schedule() -> Any:
    """Return diffusers' DDIM scheduler with the settings of VideoCrafter2's."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, timestep_spacing="leading",
    )  # fmt: skip


def sample(
    denoise: Denoise, noise: Iterator[Tensor], steps: int, eta: float = 1.0, scaled: bool = True
) -> Iterator[Tensor]:
    """Yield latents after each DDIM step, the last ones clean, from the first of `noise`.

    `noise` gives the start, then what each step adds, the last one included. With `scaled`, x0 is divided by `rescale`
    at its time and multiplied by it at the next. Raises UsageError for steps that do not divide 1,000: the reference
    takes more than it is asked for then, diffusers other ones.
    """
    if steps < 1 or 1000 % steps:
        raise UsageError(f"steps must divide 1000 for VideoCrafter2's sampler; {steps} does not: take 50, or 25")
    scheduler = schedule()
    scheduler.set_timesteps(steps)
    x = next(noise)
    for t in scheduler.timesteps.tolist():
        step = scheduler.step(denoise(x, t), t, x, eta=eta, variance_noise=next(noise) if eta else None)
        x = step.prev_sample
        if scaled:
            before = max(t - 1000 // steps, 0)
            ratio = float(rescale(before) / rescale(t)) - 1
            x = x + float(scheduler.alphas_cumprod[before]) ** 0.5 * ratio * step.pred_original_sample
        yield x


class VideoCrafter2:
    """VideoCrafter2 with weights as published: `model.ckpt` of all parts, or a folder with its UNet for diffusers.

    Such a folder has the UNet alone (`diffusion_pytorch_model.safetensors`), its text encoder beside it as
    `text_encoder` of SD2.1 in transformers' layout.
    """

    def __init__(self, loading: GeneratorLoading) -> None:
        if loading.path is None:
            raise MissingWeights("VideoCrafter2 needs model.ckpt, or the folder of its UNet for diffusers")
        self.settings, self.device = loading.settings, loading.device
        self.dtype = DTYPES[loading.settings.dtype]
        state, folder = read(loading.path)
        self.net = network(state, str(loading.path)).to(self.device, self.dtype)
        text = text_of(state, folder).to(self.device, self.dtype)
        self.text: Any = text
        self.facts: Mapping[str, Any] = {
            "scheduler": {"_class_name": "DDIMScheduler", "eta": 1.0, "x0 rescale": 0.7},
            "params": sum(p.numel() for p in self.net.parameters()),
        }

    def draw(self, condition: Condition, seed: int) -> Latent:
        """Draw one sample, raw latents of SD's image VAE. Raises UsageError for steps that the sampler cannot take."""
        texts = self.embedded(["", condition.prompt])
        values, generator = self.settings.values, torch.Generator("cpu").manual_seed(seed)
        height, width = (side // FACTOR for side in self.settings.size)
        shape = (1, 4, self.settings.frames, height, width)

        def noise() -> Iterator[Tensor]:
            while True:
                yield torch.randn(shape, generator=generator).to(self.device)

        denoise = self.guided(texts, values["guidance"], int(values["fps"]))
        *_, clean = sample(denoise, noise(), int(values["steps"]))
        made: np.ndarray = (clean[0] / SCALE).to(self.dtype).float().cpu().numpy()
        return made if self.dtype != torch.float16 else made.astype(np.float16)

    def guided(self, texts: Tensor, guidance: float, fps: int) -> Denoise:
        """Return the guess of noise, guided away from the first of two texts."""

        def guess(x: Tensor, t: int) -> Tensor:
            both = x.to(self.dtype).expand(2, -1, -1, -1, -1)
            times, rates = (torch.full((2,), value, device=x.device) for value in (t, fps))
            without, with_text = self.net(both, times, rates, texts).float().chunk(2)
            guided: Tensor = without + guidance * (with_text - without)
            return guided

        return guess

    def embedded(self, prompts: list[str]) -> Tensor:
        """Return what is conditioned on, (2, 77, d)."""
        from open_clip import SimpleTokenizer

        tokens = SimpleTokenizer()(prompts).to(self.device)  # pads with 0, as the text encoder was trained
        made: Tensor = self.text(tokens % self.text.config.vocab_size).last_hidden_state
        return made


def read(path: Path) -> tuple[dict[str, Tensor], Path]:
    """Return the tensors at a path, and the folder they lie in. Raises BadWeights."""
    if path.is_dir():
        file = next((f for f in (path / "unet" / UNET, path / UNET, path / "model.ckpt") if f.is_file()), None)
        if file is None:
            raise BadWeights(f"{path} holds neither {UNET} nor model.ckpt")
        return weights.read_tensors(file), path
    return weights.read_tensors(path), path.parent


def network(state: Mapping[str, Tensor], where: str) -> VideoCrafter2UNet:
    """Build the denoiser of the size that its weights have. Raises BadWeights."""
    tensors = to_diffusers(state)
    try:
        channels, latent = tensors["conv_in.weight"].shape[:2]
        context = tensors["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"].shape[1]
    except KeyError as error:
        raise BadWeights(f"{where} is no VideoCrafter2: it lacks {error}") from error
    with torch.device("meta"):
        net = VideoCrafter2UNet(
            channels, max(1, channels // 5) if channels % 5 == 0 else channels // 2, context, latent
        )
    held = weights.fit(tensors, net.named(), where, ())
    net.load(held)
    return net.float().eval().requires_grad_(False)


def text_of(state: Mapping[str, Tensor], folder: Path) -> Any:
    """Return the text encoder: of the checkpoint, or SD2.1's beside the UNet. Raises BadWeights without either."""
    if any(key.startswith(TEXT) for key in state):
        return text_encoder({k: v for k, v in state.items() if k.startswith(TEXT)})
    from transformers import CLIPTextModel

    place = folder / "text_encoder"
    if not place.is_dir():
        raise BadWeights(
            f"{folder} has no text_encoder: put that of Stable Diffusion 2.1 there (a folder of its files)"
        )
    return (
        CLIPTextModel.from_pretrained(place, use_safetensors=True, local_files_only=True).eval().requires_grad_(False)
    )
