"""Building a network of diffusers: from its config, and with its weights."""

import inspect
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cvbench import weights
from cvbench.core.errors import BadWeights
from cvbench.models.autoencoders import Config, Network
from cvbench.models.entry import Loading

DROP = ("loss.", "model_ema.")
FIRST_STAGE = "first_stage_model."
"""Before the names of an autoencoder in a checkpoint of Stable Diffusion."""
LATENT_DIFFUSION = ("AutoencoderKL", "AsymmetricAutoencoderKL", "VQModel")
"""Classes with checkpoints in the layout of the code they come from."""
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
INDEX = "diffusion_pytorch_model.safetensors.index.json"


def full_config(name: str, config: Config) -> dict[str, Any]:
    """Return the config with the defaults of the class `name`."""
    import diffusers

    arguments = inspect.signature(getattr(diffusers, name).__init__).parameters.values()
    return {a.name: a.default for a in arguments if a.default is not a.empty} | dict(config)


def construct(name: str, config: Config) -> Network:
    """Build a network of the class `name`; entries of the config that are none of its arguments are left out."""
    import diffusers

    make = getattr(diffusers, name)
    known = inspect.signature(make.__init__).parameters
    return make(**{key: value for key, value in config.items() if key in known})


def on_meta(name: str, config: Config) -> Network:
    """Build a network without memory for its weights."""
    with torch.device("meta"):
        net = construct(name, config)
    return torch.nn.Module.to(net, "meta").eval()  # some classes make a parameter or two on the CPU all the same


def build(name: str, config: Config, loading: Loading) -> Network:
    """Build a network for use, not training: seeded at random, or with the loading's weights. Raises BadWeights."""
    if loading.path is None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(loading.seed)
            net = construct(name, config)
    else:
        with Uninitialised():
            net = construct(name, config)
        load(net, loading.path)
    return net.eval().requires_grad_(False)


class Uninitialised(TorchFunctionMode):
    """Draws no values that weights replace: in the largest networks that takes a minute."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return a tensor to be initialised as it is."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs.get("tensor", *args[:1])
        return func(*args, **kwargs)


def load(net: Network, path: Path) -> None:
    """Put the weights of a file or folder into a network. Raises BadWeights."""
    state, wanted = diffusers_layout(read(path), net), net.state_dict()
    state |= {k: v for k, v in wanted.items() if k.endswith("num_batches_tracked") and k not in state}  # unused
    ignored = net._keys_to_ignore_on_load_unexpected or ()
    net.load_state_dict(weights.fit(state, wanted, str(path), (*DROP, *ignored)), assign=True)


def cast(net: Network, device: torch.device, dtype: torch.dtype) -> Network:
    """Move a network, and change its dtype but for the modules that its class keeps in float32."""
    torch.nn.Module.to(net, device, dtype)  # diffusers' own warns of what the next lines take care of
    kept = set(net._keep_in_fp32_modules or ())
    for key, tensor in net.named_parameters():
        if kept & set(key.split(".")):
            tensor.data = tensor.data.float()
    return net


def settings_of(loading: Loading) -> tuple[str, dict[str, Any]]:
    """Return the class and its full config: the loading's, over which goes a config.json next to the weights.

    Raises BadWeights when a folder's config.json cannot be read or is of another class.
    """
    config = dict(loading.options)
    name = str(config.pop("_class_name"))
    found = config_beside(loading.path) if loading.path else {}
    said = found.get("_class_name", name)
    if said != name and loading.path and loading.path.is_dir():
        raise BadWeights(f"{loading.path}/config.json is of a {said}, not of a {name}")
    return name, full_config(name, {**config, **(found if said == name else {})})


def config_beside(path: Path) -> dict[str, Any]:
    """Return what the config.json of a folder, or next to a file, holds; nothing where there is none."""
    file = (path if path.is_dir() else path.parent) / "config.json"
    return config_in(file) if file.is_file() else {}


def config_in(file: Path) -> dict[str, Any]:
    """Return what a config.json holds. Raises BadWeights."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadWeights(f"{file} is no JSON ({error}); fetch it again") from error
    if not isinstance(config, dict):
        raise BadWeights(f"{file} holds a {type(config).__name__}, not the network's settings")
    return config


def read(path: Path) -> dict[str, Tensor]:
    """Read a file of weights or a folder's: the shards that its index names, or its one file. Raises BadWeights."""
    index = path / INDEX
    if not index.is_file():
        return weights.read_tensors(weights.weights_file(path))
    shards = shards_of(index)
    absent = [shard for shard in shards if not (path / shard).is_file()]
    if absent:
        raise BadWeights(f"{path} lacks {', '.join(absent)}, which {INDEX} names; fetch them again")
    return {key: tensor for shard in shards for key, tensor in weights.read_tensors(path / shard).items()}


def shards_of(index: Path) -> list[str]:
    """Return the names of the files that hold a network's weights together. Raises BadWeights."""
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadWeights(f"{index} is no index of shards ({type(error).__name__}: {error}); fetch it again") from error


def diffusers_layout(state: dict[str, Tensor], net: Network) -> dict[str, Tensor]:
    """Rename the tensors of original (LDM) checkpoints, and of diffusers folders from before version 0.18."""
    if type(net).__name__ not in LATENT_DIFFUSION:
        return state
    state = {k.removeprefix(FIRST_STAGE): v for k, v in state.items() if k.startswith(FIRST_STAGE)} or state
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
