"""A generator without a network: the optimal denoiser of a Gaussian, whose exact answer is known.

Of x = √a·z + √(1−a)·ε with z of mean μ and covariance Σ, the best guess of ε is √(1−a)·(aΣ + (1−a)I)⁻¹(x − √a·μ). Σ is
fitted to the latents that `tiny-image` makes of the built-in pictures and clips: a covariance of space times one of
time, ρ^|i−j|. It draws textures of their colours, not pictures.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from cvbench import models, weights
from cvbench.core.digest import digest
from cvbench.core.errors import UnsuitableInput
from cvbench.core.types import Sampling
from cvbench.data import Item, open_dataset
from cvbench.data.frames import prepare
from cvbench.generators.entry import Condition, FirstFrame, GeneratorLoading, Latent
from cvbench.models.entry import Loading
from cvbench.store import FileStore

VAE = "tiny-image"
FACTOR, FITTED = 8, 256
"""Pixels a latent's side; side in pixels of what is fitted to, of which crops are samples."""
LARGEST = 256
VERSION = 1
Matrix = Float64[np.ndarray, "n n"]
Vector = Float64[np.ndarray, " n"]


@dataclass(frozen=True)
class Fit:
    """A Gaussian of latents: mean by channel, eigenvectors and eigenvalues of space (c·h·w), ρ of time; all divided by
    `std`, the standard deviation of the latents.
    """

    mean: Float64[np.ndarray, " c"]
    vectors: Matrix
    values: Vector
    rho: float
    std: float


def tiny_image() -> Any:
    """Return the VAE whose latents these are, in float32 on the CPU."""
    entry = models.MODELS[VAE]
    path = weights.path_of(VAE, entry.source) if entry.source else None
    return models.build(entry, Loading(torch.device("cpu"), torch.float32, path=path))


@lru_cache(maxsize=8)
def fitted(height: int, width: int) -> Fit:
    """Return the Gaussian of pictures of a size in pixels, remembered. Raises UnsuitableInput for other sizes."""
    if height % FACTOR or width % FACTOR or not 16 <= min(height, width) <= max(height, width) <= LARGEST:
        raise UnsuitableInput(f"Gaussian generators draw sides of 16 to {LARGEST} pixels, in steps of 8")
    store, key = FileStore(), digest([identity(), height, width])
    held = store.rows(key)
    if not held:
        held = _fit(height // FACTOR, width // FACTOR)
        store.add(key, held)
    return Fit(held["mean"], held["vectors"], held["values"], float(held["rho"]), float(held["std"]))


def identity() -> str:
    """Return what stands for all that Gaussians are fitted to: the VAE, the scenes, and how they are read."""
    source = models.MODELS[VAE].source
    return digest(["gaussian", VERSION, source.sha256 if source else "", [item.fingerprint for item in _scenes()]])


def _scenes() -> list[Item]:
    return [*open_dataset("sample-images", {}).items[:3], *open_dataset("sample-clips", {}).items[:2]]


def _fit(h: int, w: int) -> dict[str, np.ndarray]:
    """Fit to crops of h×w latents of the first built-in pictures, and of two frames of the first clips."""
    latents = list(_latents(tiny_image()))
    std = float(np.concatenate([z.reshape(4, -1) for z in latents], axis=1).std())
    mean = np.concatenate([z.reshape(4, -1) for z in latents], axis=1).mean(1) / std
    centred = [z / std - mean[:, None, None, None] for z in latents]
    step = max(1, min(h, w) // 8)
    crops = np.stack([
        z[:, t, y : y + h, x : x + w].ravel()
        for z in centred for t in range(z.shape[1])
        for y in range(0, z.shape[2] - h + 1, step) for x in range(0, z.shape[3] - w + 1, step)
    ])  # fmt: skip
    values, vectors = np.linalg.eigh(crops.T @ crops / len(crops))
    clips = [z for z in centred if z.shape[1] > 1]
    rho = np.mean([(z[:, 1:] * z[:, :-1]).mean() / (z**2).mean() for z in clips])
    return {
        "mean": mean, "vectors": vectors, "values": values.clip(0), "rho": np.array(rho), "std": np.array(std)
    }  # fmt: skip


def _latents(vae: Any) -> Iterator[np.ndarray]:
    for item in _scenes():
        pixels = prepare(item.read(Sampling(2, 3)).pixels, FITTED, "bicubic", True, "center")
        with torch.no_grad():
            z = vae.encode(torch.from_numpy(pixels)[None].float() / 255)
        yield z[0].double().numpy()


class Gaussian:
    """Draws latents of `tiny-image` by diffusers' DDIM loop (eta 0) and the closed-form denoiser; prompts are not read.

    `gaussian-i2v` conditions on the latents of the first frame, which stays as it is; those after it depend on it by
    ρ^t.
    """

    def __init__(self, loading: GeneratorLoading) -> None:
        from diffusers import DDIMScheduler

        self.settings, self.task = loading.settings, loading.config["task"]
        self.fit = fitted(*self.settings.size)
        self.scheduler = DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False
        )
        steps = int(self.settings.values["steps"])
        if not 1 <= steps <= 1000:
            raise UnsuitableInput(f"steps can be 1 to 1000, not {steps}")
        self.scheduler.set_timesteps(steps)
        self.facts: Mapping[str, Any] = {"scheduler": {"_class_name": "DDIMScheduler", "steps": steps, "eta": 0}}
        own = tiny_image().encode if self.task == "i2v" else None
        self.encode = loading.encoder or own

    def draw(self, condition: Condition, seed: int) -> Latent:
        """Draw one sample, float32."""
        mean, covariance = self.moments(condition.first_frame)
        x = self.start(seed)
        for t in self.scheduler.timesteps:
            a = float(self.scheduler.alphas_cumprod[t])
            guess = torch.from_numpy(self.denoise(x.numpy(), a, mean, covariance))
            x = self.scheduler.step(guess, t, x, eta=0.0).prev_sample
        return np.asarray(x.numpy() * self.fit.std, np.float32)

    def start(self, seed: int) -> torch.Tensor:
        """Return the noise that a sample starts from, (c, t, h, w), float64."""
        h, w = (side // FACTOR for side in self.settings.size)
        generator = torch.Generator("cpu").manual_seed(seed)
        return torch.randn(4, self.settings.frames, h, w, generator=generator, dtype=torch.float64)

    def moments(self, first: FirstFrame | None) -> tuple[np.ndarray, tuple[Vector, Matrix]]:
        """Return the mean (c, t, h, w), and eigenvalues and eigenvectors of the covariance of time."""
        h, w = (side // FACTOR for side in self.settings.size)
        frames = np.arange(self.settings.frames)
        mean = np.broadcast_to(self.fit.mean[:, None, None, None], (4, len(frames), h, w))
        powers = self.fit.rho ** np.abs(frames[:, None] - frames[None])
        if first is not None and self.encode is not None:
            with torch.no_grad():
                z = self.encode(torch.from_numpy(first)[None].float() / 255)[0].double().cpu().numpy()
            decay = self.fit.rho**frames
            mean = mean + (z / self.fit.std - mean[:, :1]) * decay[None, :, None, None]
            powers = powers - decay[:, None] * decay[None]
        values, vectors = np.linalg.eigh(powers)
        return mean, (values.clip(0), vectors)

    def denoise(self, x: np.ndarray, a: float, mean: np.ndarray, time: tuple[Vector, Matrix]) -> np.ndarray:
        """Return the best guess of the noise in x, (c, t, h, w), at alphas_cumprod `a`."""
        values = np.outer(time[0], self.fit.values)
        along = self.to_eigen(x - np.sqrt(a) * mean, time[1])
        return self.from_eigen(np.sqrt(1 - a) * along / (a * values + 1 - a), time[1], x.shape)

    def to_eigen(self, x: np.ndarray, time: Matrix) -> np.ndarray:
        """Return coordinates (t, c·h·w) along the eigenvectors of the covariance."""
        rows = x.transpose(1, 0, 2, 3).reshape(x.shape[1], -1)
        return np.asarray(time.T @ rows @ self.fit.vectors)

    def from_eigen(self, along: np.ndarray, time: Matrix, shape: tuple[int, ...]) -> np.ndarray:
        """Undo `to_eigen`."""
        c, t, h, w = shape
        return np.asarray((time @ along @ self.fit.vectors.T).reshape(t, c, h, w).transpose(1, 0, 2, 3))
