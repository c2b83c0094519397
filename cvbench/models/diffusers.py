"""Every image and video autoencoder of diffusers through one adapter."""

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cvbench import weights
from cvbench.errors import BadWeights, MissingWeights, Unavailable, UnsuitableInput, UsageError
from cvbench.models.autoencoders import AUTOENCODERS, Call, Config, Network
from cvbench.models.entry import Loading, ModelEntry
from cvbench.models.floors import check_size
from cvbench.tensors import Latents, Videos
from cvbench.types import Traits
from cvbench.weights import Source

AT_ONCE = 8
"""Frames that image networks are given at a time."""
PROBE = 256
"""Height and width of the pictures that measure a network's traits; divided by every factor there is."""
DROP = ("loss.", "model_ema.")
FORGET = ("clear_cache", "_clear_conv_cache")
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
STEM = "diffusion_pytorch_model"


class Diffusers:
    """An autoencoder of one of the classes AUTOENCODERS.

    `options` of the loading are the class (`_class_name`) and its arguments where they differ from its defaults; a
    config.json next to the weights takes precedence. Weights: a diffusers folder, sharded or not, or a single file in
    its layout; of AutoencoderKL also in the original (LDM) layout. In fp16, networks whose config says `force_upcast`
    run in fp32, as in the pipelines of diffusers: `dtype` says what they run in. Latents are not scaled, as that
    cancels out. Raises BadWeights, or Unavailable for tiles that a class does not have.
    """

    def __init__(self, loading: Loading) -> None:
        self.name, config = settings_of(loading)
        self.kind = AUTOENCODERS[self.name]
        self.call = Call(config, loading.posterior, loading.seed)
        upcast = loading.dtype == torch.float16 and config.get("force_upcast", False)
        self.dtype = torch.float32 if upcast else loading.dtype
        self.net = cast(build(self.name, config, loading).to(loading.device), self.dtype)
        self._tile(loading.tiling)
        self.traits = measure(self.name, config)
        self.params = halves(self.net)

    def encode(self, videos: Videos) -> Latents:
        """Code clips: (b, 3, t, h, w) in [0, 1] to (b, c, t', h', w'), or indices (b, t', h', w').

        Raises UnsuitableInput for lengths and sizes that the class would not give back, or not whole.
        """
        check_size(videos, self.traits, self.name)
        self._check_sides(*videos.shape[-2:])
        x = fold((videos - self._along(self.kind.mean, videos)) / self._along(self.kind.std, videos), self.kind.layout)
        z = self._run(lambda part: self.kind.encode(self.net, part, self.call), self._parts(x.to(self.dtype)))
        return unfold(z, self.kind.layout, len(videos))

    def decode(self, latents: Latents, frames: int) -> Videos:
        """Reconstruct clips, float32, not clamped."""
        if not isinstance(latents, Tensor):
            raise UnsuitableInput(f"{self.name} decodes a tensor, the one that encode returned")
        z = fold(latents.to(self.dtype) if latents.is_floating_point() else latents, self.kind.layout)
        pixels = self._run(lambda part: self.kind.decode(self.net, part, self.call, frames), self._parts(z, frames))
        videos = unfold(pixels.float(), self.kind.layout, len(latents))
        return videos * self._along(self.kind.std, videos) + self._along(self.kind.mean, videos)

    def _parts(self, x: Tensor, frames: int = 1) -> Iterable[Tensor]:
        """Split frames and stills; the clips of SVD's decoder stay whole."""
        whole = -(-AT_ONCE // frames) * frames
        return x.split(1) if self.kind.singly else [x] if self.kind.layout == "clips" else x.split(whole)

    def _run(self, step: Callable[[Tensor], Tensor], parts: Iterable[Tensor]) -> Tensor:
        """Apply a step to each part; when it fails, clear what causal networks remember of frames before."""
        try:
            return torch.cat([step(part) for part in parts])
        except BaseException:
            for method in FORGET:
                getattr(self.net, method, lambda: None)()
            raise

    def _along(self, values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, device=like.device).view(1, -1, 1, 1, 1)

    def _tile(self, wanted: bool) -> None:
        if not (wanted or self.kind.tiled):
            return
        try:
            self.net.enable_tiling()
        except (AttributeError, NotImplementedError) as error:
            raise Unavailable(f"{self.name} has no tiles in diffusers; set tiling=false") from error

    def _check_sides(self, height: int, width: int) -> None:
        if self.kind.sides is None:
            return
        heights, widths = self.kind.sides(self.net)
        if height not in heights or width not in widths:
            raise UnsuitableInput(
                f"{self.name}: frames are {height}×{width}, and {self.kind.refusal}; "
                f"heights are {some(heights)}, widths {some(widths)}"
            )


def some(sides: range) -> str:
    """Name the first of many sides."""
    first = ", ".join(map(str, sides[:3]))
    return f"{first}, …" if len(sides) > 3 else first


def fold(x: Tensor, layout: str) -> Tensor:
    """Give the time axis (of indices the second, of all else the third) to the batch, as `layout` asks."""
    if layout == "clips":
        return x
    frames = (x.movedim(2, 1) if x.is_floating_point() else x).flatten(0, 1)
    return frames.unsqueeze(2) if layout == "stills" else frames


def unfold(x: Tensor, layout: str, clips: int) -> Tensor:
    """Undo `fold`."""
    if layout == "clips":
        return x
    frames = (x.squeeze(2) if layout == "stills" else x).unflatten(0, (clips, -1))
    return frames.movedim(1, 2) if frames.is_floating_point() else frames


def count(net: torch.nn.Module | None) -> int:
    """Count parameters."""
    return sum(p.numel() for p in net.parameters()) if net is not None else 0


def halves(net: Network) -> tuple[int, int]:
    """Count the parameters of encoder and decoder, quantizers and 1×1 convolutions between them left out."""
    return count(net.encoder), count(getattr(net, "decoder", None) or net.decoder_unet)


def full_config(name: str, config: Config) -> dict[str, Any]:
    """Return the config with the defaults of the class."""
    import diffusers

    arguments = inspect.signature(getattr(diffusers, name).__init__).parameters.values()
    return {a.name: a.default for a in arguments if a.default is not a.empty} | dict(config)


def construct(name: str, config: Config) -> Network:
    """Build a network of the class `name`; entries of the config that are no arguments of it are left out."""
    import diffusers

    make = getattr(diffusers, name)
    known = inspect.signature(make.__init__).parameters
    return make(**{key: value for key, value in config.items() if key in known})


def on_meta(name: str, config: Config) -> Network:
    """Build a network without memory for its weights."""
    with torch.device("meta"):
        net = construct(name, config)
    return net.to("meta").eval()  # some classes make a parameter elsewhere


@torch.no_grad()
def measure(name: str, config: Config) -> Traits:
    """Return a network's traits: compression and channels from the shapes of what it codes, on the meta device."""
    kind, codes = AUTOENCODERS[name], AUTOENCODERS[name].codes(config)
    net = on_meta(name, {**config, **kind.probed_as(config)})
    if kind.tiled:
        net.enable_tiling()
    rule = kind.rule(config)
    lengths = (rule.fit(1), rule.fit(rule.fit(1) + 1)) if kind.layout == "clips" else (1, 1)
    heights, widths = kind.sides(net) if kind.sides else ((PROBE,), (PROBE,))
    clips = (torch.zeros(1, 3, frames, heights[0], widths[0], device="meta") for frames in lengths)
    first, second = (
        unfold(kind.encode(net, fold(x, kind.layout), Call(config, "mode", 0)), kind.layout, 1) for x in clips
    )
    temporal = -(-rule.step // (second.shape[-3] - first.shape[-3])) if kind.layout == "clips" else 1
    channels = 0 if codes else first.shape[1]
    return Traits(temporal, heights[0] // first.shape[-2], channels, rule, 0, kind.least_side, codes)


def settings_of(loading: Loading) -> tuple[str, dict[str, Any]]:
    """Return the class and its full config: the loading's, then what a config.json next to the weights says.

    Raises BadWeights when that is of another class.
    """
    config = dict(loading.options)
    name = str(config.pop("_class_name"))
    file = loading.path and (loading.path if loading.path.is_dir() else loading.path.parent) / "config.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file and file.is_file() else {}
    said = found.get("_class_name", name)
    if said != name and file and file.parent == loading.path:
        raise BadWeights(f"{file} is of a {said}; wanted: {name}")
    return name, full_config(name, {**config, **(found if said == name else {})})


class Uninitialised(TorchFunctionMode):
    """Leaves out the drawing of random weights, which takes a minute in the largest networks."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return the tensor as it is."""
        if func.__module__ == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def build(name: str, config: Config, loading: Loading) -> Network:
    """Build a network on the CPU, seeded at random or with its weights. Raises BadWeights."""
    if loading.path is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(loading.seed)
            return construct(name, config)
    state = read(loading.path)
    with Uninitialised():
        net = construct(name, config)
    wanted = net.state_dict()
    state = diffusers_layout(state, net)
    state |= {k: v for k, v in wanted.items() if k.endswith("num_batches_tracked") and k not in state}
    unused = net._keys_to_ignore_on_load_unexpected or ()
    net.load_state_dict(weights.fit(state, wanted, str(loading.path), (*DROP, *unused)), assign=True)
    return net


def cast(net: Network, dtype: torch.dtype) -> Network:
    """Return the network for use, in `dtype` but for the modules that its class keeps in float32."""
    net.to(dtype).eval().requires_grad_(False)
    kept = set(net._keep_in_fp32_modules or ())
    for key, tensor in net.named_parameters():
        if kept & set(key.split(".")):
            tensor.data = tensor.data.float()
    return net


def read(path: Path) -> dict[str, Tensor]:
    """Read a file of weights, or a folder's: the shards that its index names, or one file. Raises BadWeights."""
    index = path / f"{STEM}.safetensors.index.json"
    if not index.is_file():
        return weights.read_tensors(weights.weights_file(path))
    shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    absent = [shard for shard in shards if not (path / shard).is_file()]
    if absent:
        raise BadWeights(f"{path} lacks {', '.join(absent)}, which {index.name} names; fetch them again")
    return {key: tensor for shard in shards for key, tensor in weights.read_tensors(path / shard).items()}


def diffusers_layout(state: dict[str, Tensor], net: Network) -> dict[str, Tensor]:
    """Rename the tensors of original (LDM) checkpoints, and those of diffusers folders from before version 0.18."""
    if type(net).__name__ not in ("AutoencoderKL", "AsymmetricAutoencoderKL", "VQModel"):
        return state
    prefix = "first_stage_model."
    state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)} or state
    state = {k: v for k, v in state.items() if not k.startswith(DROP)}
    if any(".down." in k for k in state):
        from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

        state = convert_ldm_vae_checkpoint(state, net.config)
    return {modern(k): v.flatten(1) if convolves_attention(k, v) else v for k, v in state.items()}


def convolves_attention(key: str, value: Tensor) -> bool:
    """Tell a 1×1 convolution of the original layout from the linear layer that diffusers has in its place."""
    return ".attentions." in key and value.ndim == 4 and value.shape[2:] == (1, 1)


def modern(key: str) -> str:
    """Return the present name of a tensor in an attention layer."""
    for old, new in OLD_ATTENTION.items():
        key = key.replace(f"attentions.0.{old}.", f"attentions.0.{new}.")
    return key
