"""DreamSim's ensemble: three vision transformers with low-rank updates, and the embedding they make together.

Fu et al. 2023, "DreamSim: Learning new dimensions of human visual similarity using synthetic data". The transformer
is the `dreamsim` package's; its own loader is not used, as it would download and run unpinned code for DINO.
"""

import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cvbench.core.errors import BadWeights
from cvbench.weights import read_tensors

SIDE = 224
WIDTH = 768 + 512 + 512
MEAN = {"dino": (0.485, 0.456, 0.406), "clip": (0.48145466, 0.4578275, 0.40821073)}
DEVIATION = {"dino": (0.229, 0.224, 0.225), "clip": (0.26862954, 0.26130258, 0.27577711)}
TOWERS = ("dino", "clip", "open_clip")
"""In the order of the adapter's numbers and of the embedding."""
STATES = {"clip": "clip_vitb16_pretrain.pth.tar", "open_clip": "open_clip_vitb16_pretrain.pth.tar"}
ADAPTER = "ensemble_lora/adapter_config.json"
UPDATES = ("ensemble_lora/adapter_model.safetensors", "ensemble_lora/adapter_model.bin")

Images = Float[Tensor, "b 3 224 224"]
"""RGB in [0, 1]."""
State = dict[str, Tensor]


class QuickGelu(nn.Module):
    """The GELU of OpenAI's CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        return x * torch.sigmoid(1.702 * x)


def tower(name: str) -> nn.Module:
    """Return a ViT-B/16 as DINO, OpenAI's CLIP or OpenCLIP has it, with the package's tensor names."""
    from dreamsim.feature_extraction import vision_transformer

    net: nn.Module = vision_transformer.vit_base(patch_size=16)
    if name == "dino":
        return net
    net.pos_drop = nn.LayerNorm(cast(int, net.embed_dim))  # CLIP normalises before its first block
    for module in list(net.modules()):
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5
    if name == "clip":
        for block in cast(nn.ModuleList, net.blocks):
            cast(nn.Module, block.mlp).act = QuickGelu()
    return net


class DreamSim(nn.Module):
    """Embeddings whose cosine distance is DreamSim; to be used in eval mode. Its updates are merged beforehand."""

    def __init__(self) -> None:
        super().__init__()
        for name in TOWERS:
            self.add_module(name, tower(name))
        for name in STATES:
            width = cast(int, self.get_submodule(name).embed_dim)
            self.register_parameter(f"{name}_proj", nn.Parameter(torch.randn(width, 512) / width**0.5))

    def forward(self, images: Images) -> Float[Tensor, "b d"]:
        """Join DINO's class token and both CLIP embeddings, less their mean, scaled to unit length."""
        parts = [self._class_token(_normalised(images, "dino"))]
        for name in STATES:
            features = self.get_submodule(name)(_normalised(images, "clip"))
            parts.append(features @ self.get_parameter(f"{name}_proj"))
        joined = torch.cat(parts, -1)
        return nn.functional.normalize(joined - joined.mean(-1, keepdim=True), dim=-1)

    def _class_token(self, x: Tensor) -> Tensor:
        """DINO's token as its last block leaves it, not normalised."""
        net = self.get_submodule("dino")
        tokens: Tensor = net.prepare_tokens(x)  # type: ignore[operator]
        for block in cast(nn.ModuleList, net.blocks):
            tokens = block(tokens)
        return tokens[:, 0]


def _normalised(images: Tensor, of: str) -> Tensor:
    mean, deviation = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in (MEAN[of], DEVIATION[of]))
    return (images - mean) / deviation


def read_state(ensemble: Path, dino: Path) -> State:
    """Return the network's tensors, updates merged, from the published archive or its unpacked folder, and from DINO.

    Raises BadWeights when a file is missing, damaged, or meant for another version of DreamSim.
    """
    if ensemble.is_dir():
        return _assembled(ensemble, dino)
    with tempfile.TemporaryDirectory() as folder:
        _unpack(ensemble, Path(folder))
        return _assembled(Path(folder), dino)


def _unpack(archive: Path, folder: Path) -> None:
    """Write the wanted members, and no others, into a folder."""
    wanted = {*STATES.values(), ADAPTER, *UPDATES}
    try:
        with zipfile.ZipFile(archive) as file:
            for name in wanted.intersection(file.namelist()):
                file.extract(name, folder)
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise BadWeights(f"{archive} is damaged or no zip archive ({error}); fetch it again") from error


def _assembled(folder: Path, dino: Path) -> State:
    missing = [name for name in (*STATES.values(), ADAPTER) if not (folder / name).is_file()]
    updates = next((folder / name for name in UPDATES if (folder / name).is_file()), None)
    if missing or updates is None:
        raise BadWeights(f"DreamSim's ensemble lacks {', '.join(missing or UPDATES[:1])}; fetch the archive again")
    states = {"dino": read_tensors(dino)} | {name: read_tensors(folder / file) for name, file in STATES.items()}
    scale = _scale(folder / ADAPTER)
    merged = merge([states[name] for name in TOWERS], read_tensors(updates), scale)
    named = {
        f"{name}.{key}": tensor for name, state in zip(TOWERS, merged, strict=True) for key, tensor in state.items()
    }
    return {_own_name(key): tensor for key, tensor in named.items()}


def _own_name(key: str) -> str:
    """CLIP's projection lies in its state, but is no part of the transformer."""
    return key.replace(".proj", "_proj") if key.endswith("clip.proj") else key


def _scale(path: Path) -> float:
    """What the updates are multiplied by."""
    try:
        adapter = json.loads(path.read_text())
        return float(adapter["lora_alpha"]) / float(adapter["r"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise BadWeights(f"{path.name} is no adapter configuration ({error!r}); fetch the archive again") from error


def merge(states: list[State], updates: Mapping[str, Tensor], scale: float) -> list[State]:
    """Return the states of the towers with the low-rank updates added: W + scale · B A (Hu et al. 2021).

    Raises BadWeights when an update meets no weight of its shape.
    """
    merged = [dict(state) for state in states]
    left = dict(updates)
    for number, state in enumerate(merged):
        for name in [name for name in state if name.endswith(".weight")]:
            place = f"base_model.model.extractor_list.{number}.model.{name.removesuffix('.weight')}"
            down, up = left.pop(f"{place}.lora_A.weight", None), left.pop(f"{place}.lora_B.weight", None)
            if down is not None and up is not None:
                state[name] = _updated(state[name], scale * (up.float() @ down.float()), name)
    if left:
        raise BadWeights(f"DreamSim's adapter has updates of another version: {', '.join(sorted(left)[:4])}")
    return merged


def _updated(weight: Tensor, update: Tensor, name: str) -> Tensor:
    if weight.shape != update.shape:
        raise BadWeights(f"DreamSim's update of {name} has shape {tuple(update.shape)}, not {tuple(weight.shape)}")
    return weight.float() + update
