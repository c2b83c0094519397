"""Building a network of diffusers: from its config, and with its weights."""

import inspect
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cvbench import weights
from cvbench.core.errors import BadWeights
from cvbench.models.autoencoders import AUTOENCODERS, Config, Network
from cvbench.models.entry import Loading
from cvbench.models.renames import TINY, WAN, renamed
from cvbench.nets.vidtok import first_release
from cvbench.nets.vqgan import to_diffusers
from cvbench.weights.checkpoints import shown

DROP = ("loss.", "model_ema.", "dynamic_feature_projection_heads.")
FIRST_STAGE = "first_stage_model."
"""Before the names of an autoencoder in a checkpoint of Stable Diffusion."""
UNSAID, TILE = 32, 512
"""Pixels: diffusers' default of `sample_size`; sides of tiles where no config says any, as of AutoencoderTiny."""
LATENT_DIFFUSION = ("AutoencoderKL", "AsymmetricAutoencoderKL", "VQModel")
"""Classes with checkpoints in the layout of the code they come from."""
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
SAVED = "diffusion_pytorch_model"
INDEX = f"{SAVED}.safetensors.index.json"


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
    net = make(**{key: value for key, value in config.items() if key in known})
    return first_release(net) if config.get("release") == "1.0" else net


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
        net = loaded(name, config, loading.path)
    return net.eval().requires_grad_(False)


def loaded(name: str, config: Config, path: Path) -> Network:
    """Build a network with the weights of a file or folder. Raises BadWeights."""
    if "release" in config:
        check_release(path, str(config["release"]))
    state = read(path, name)
    with weights.sound_settings(str(path)):
        if name not in AUTOENCODERS or not AUTOENCODERS[name].probed_as(config):  # settings of any size cost nothing
            fitted(state, on_meta(name, config), path)
        with Uninitialised():
            net = construct(name, config)
    net.load_state_dict(fitted(state, net, path), assign=True)
    return net


class Uninitialised(TorchFunctionMode):
    """Draws no values that weights replace: in the largest networks that takes a minute."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return a tensor to be initialised as it is."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs.get("tensor", *args[:1])
        return func(*args, **kwargs)


def fitted(state: dict[str, Tensor], net: Network, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file or folder that a network wants, by its names. Raises BadWeights."""
    state, wanted = diffusers_layout(state, net), net.state_dict()
    unused = {k: v for k, v in wanted.items() if k.endswith("num_batches_tracked")}
    ignored = net._keys_to_ignore_on_load_unexpected or ()
    return weights.fit({**unused, **state}, wanted, str(path), (*DROP, *ignored))


def cast(net: Network, device: torch.device, dtype: torch.dtype) -> Network:
    """Move a network, and change its dtype but for the modules that its class keeps in float32, which stay exact."""
    torch.nn.Module.to(net, device)  # diffusers' own warns of what the next lines take care of
    kept = set(net._keep_in_fp32_modules or ())
    for key, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.float32 if kept & set(key.split(".")) else dtype)
    return net


def settings_of(loading: Loading) -> tuple[str, dict[str, Any]]:
    """Return the class and its full config: the loading's, over which goes a config.json next to the weights.

    `force_upcast` is true only where one of them says so and neither the contrary: the default of a class says
    nothing of a network. Nor does that of `sample_size`, of which diffusers makes its tiles: 32 pixels in some classes,
    where published networks say 256 to 1,024. Where nobody says, tiles are of TILE pixels. Raises BadWeights when a
    folder's config.json cannot be read or is of another class.
    """
    config = dict(loading.options)
    name = str(config.pop("_class_name"))
    found = (weights.config_beside(loading.path) if loading.path else None) or {}
    said = found.get("_class_name", name)
    if said != name and loading.path and loading.path.is_dir():
        raise BadWeights(f"{loading.path}/config.json is of a {shown(str(said))}, not of a {name}")
    beside = found if said == name else {}
    words = [settings["force_upcast"] for settings in (config, beside) if "force_upcast" in settings]
    full = full_config(name, {**config, **beside})
    if full.get("sample_size") == UNSAID and "sample_size" not in {**config, **beside}:
        full["sample_size"] = TILE
    return name, {**full, "force_upcast": bool(words) and all(words)}


def read(path: Path, name: str) -> dict[str, Tensor]:
    """Read a file of weights or a folder's: the shards that its index names, or its one file. Raises BadWeights.

    Networks of the class `name` that are published in two files are read from these where diffusers saved none.
    """
    index = path / INDEX
    if not index.is_file():
        saved = any(file.stem.startswith(SAVED) for file in weights.files_of_weights(path))
        in_halves = name == "AutoencoderTiny" and not saved
        return weights.read_halves(path) if in_halves else weights.read_tensors(weights.weights_file(path))
    shard_of = weights.shards_in(index)
    shards = sorted(set(shard_of.values()))
    absent = [shard for shard in shards if not (path / shard).is_file()]
    if absent:
        raise BadWeights(f"{path} lacks {', '.join(absent)}, which {INDEX} names; fetch them again")
    tensors = ((shard, key, tensor) for shard in shards for key, tensor in weights.read_tensors(path / shard).items())
    return {key: tensor for shard, key, tensor in tensors if shard_of.get(key, shard) == shard}


def check_release(path: Path, release: str) -> None:
    """Raise BadWeights for a file of VidTok that does not say it is of this release: nothing but its name tells."""
    if path.is_dir() and weights.config_beside(path) is not None:
        found = "1.1"  # diffusers' layout, which has no other
    else:
        name = weights.weights_file(path).name
        published = re.search(r"vidtok_(kl|fsq)_(non)?causal", name)
        found = "1.1" if re.search(r"1[._]1", name) else "1.0" if published or re.search(r"1[._]0", name) else ""
    if found != release:
        said = f"is of release {found}" if found else "has no release in its name"
        raise BadWeights(
            f"{path} {said}; this is VidTok {release}, and the two have the same tensors but other arithmetic. Take "
            f"the entry of its release, or name the file as it was published (1.1: vidtok_…_v1_1.ckpt)"
        )


def diffusers_layout(state: dict[str, Tensor], net: Network) -> dict[str, Tensor]:
    """Rename the tensors of original (LDM) checkpoints, and of diffusers folders from before version 0.18."""
    if type(net).__name__ == "AutoencoderKLWan" and "decoder.middle.0.residual.0.gamma" in state:
        return renamed(state, WAN)
    if type(net).__name__ == "AutoencoderTiny" and "decoder.1.weight" in state:
        return renamed(state, TINY)
    if type(net).__name__ not in LATENT_DIFFUSION:
        return state
    state = {k.removeprefix(FIRST_STAGE): v for k, v in state.items() if k.startswith(FIRST_STAGE)} or state
    state = {k: v for k, v in state.items() if not k.startswith(DROP)}
    if any(re.search(r"\.down\.\d+\.attn\.", k) for k in state):
        return to_diffusers(state)
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
