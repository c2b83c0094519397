"""DreamSim's network against the published package, with small transformers of weights drawn from their names."""

import json
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.weights import clip as pattern
from golden.weights import tensor as value
from PIL import Image
from torch import Tensor, nn

pytest.importorskip("dreamsim", reason="the extra `pic` is not installed", exc_type=ImportError)

from dreamsim import model as package
from dreamsim.feature_extraction import load_clip_as_dino, load_open_clip_as_dino, vision_transformer

from cvbench.core.errors import BadWeights
from cvbench.nets.dreamsim import ADAPTER, STATES, UPDATES, merge
from cvbench.probes import load_feature_probe

WIDTH = 48
HEAD = ("mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias", "mlp.4.weight", "mlp.4.bias", "last_layer.weight")
CPU = torch.device("cpu")


def drawn(net: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Values for all tensors of a network, other ones for another prefix."""
    return {
        name: torch.from_numpy(value(f"{prefix}.{name}", tuple(tensor.shape)))
        for name, tensor in net.state_dict().items()
    }


@pytest.fixture(scope="module", autouse=True)
def small_towers() -> Iterator[None]:
    """Twelve blocks, as the package's choice of the last one wants, but 48 channels."""
    make = partial(
        vision_transformer.VisionTransformer,
        embed_dim=WIDTH,
        depth=12,
        num_heads=4,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    with pytest.MonkeyPatch.context() as patch:
        for module in (vision_transformer, load_clip_as_dino, load_open_clip_as_dino):
            patch.setattr(module, "vit_base", make)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published files' layout, without the updates."""
    folder = tmp_path_factory.mktemp("dreamsim")
    dino = vision_transformer.vit_base(patch_size=16)
    torch.save(drawn(dino, "dino"), folder / "dino_vitbase16_pretrain.pth")
    head = {f"module.head.{name}": torch.zeros(1) for name in HEAD}
    torch.save({"student": head}, folder / "dino_vitb16_pretrain.pth")
    for name, file in STATES.items():
        net = vision_transformer.vit_base(patch_size=16)
        net.pos_drop = nn.LayerNorm(WIDTH)
        projection = torch.from_numpy(value(f"{name}.proj", (WIDTH, 512)))
        torch.save({"state_dict": drawn(net, name) | {"proj": projection}}, folder / file)
    config = {"r": 4, "lora_alpha": 6, "lora_dropout": 0.3, "bias": "none", "target_modules": ["qkv"]}
    (folder / ADAPTER).parent.mkdir()
    (folder / ADAPTER).write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def published(folder: Path) -> tuple[nn.Module, Callable[[Image.Image], Tensor]]:
    """The package's own model, its updates drawn and saved as it saves them; DINO's network is not downloaded."""

    def dino(*_: object) -> nn.Module:
        net: nn.Module = vision_transformer.vit_base(patch_size=16)
        net.load_state_dict(torch.load(folder / "dino_vitbase16_pretrain.pth"))
        return net

    home = torch.hub.get_dir()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package's: on torch's weight_norm, and on adapting what is adapted
        patch.setattr(torch.hub, "load", dino)
        model, _ = package.dreamsim(pretrained=False, device="cpu", cache_dir=str(folder))
        updates = {name: tensor for name, tensor in model.named_parameters() if "lora_" in name}
        for name, tensor in updates.items():
            tensor.copy_(torch.from_numpy(value(name, tuple(tensor.shape))))
        model.save_pretrained(folder / "ensemble_lora")
        loaded, preprocess = package.dreamsim(device="cpu", cache_dir=str(folder))
    torch.hub.set_dir(home)
    return loaded, preprocess


def clip(frames: int, height: int, width: int) -> Tensor:
    pixels = pattern("dreamsim", (3, frames, height, width), 0, 255)
    return torch.from_numpy(np.rint(pixels) / np.float32(255))


def given(folder: Path) -> dict[str, Path]:
    return {"dreamsim": folder, "dreamsim-dino": folder / "dino_vitbase16_pretrain.pth"}


def test_embeddings_and_distances_are_the_packages(
    folder: Path, published: tuple[nn.Module, Callable[[Image.Image], Tensor]]
) -> None:
    model, preprocess = published
    video = clip(2, 60, 100)
    frames = [Image.fromarray((255 * f).round().byte().permute(1, 2, 0).numpy()) for f in video.unbind(1)]
    with torch.no_grad():
        inputs = [preprocess(frame) for frame in frames]
        expected = torch.cat([model.embed(x) for x in inputs]).numpy()
        distance = float(model(*inputs))
    rows = load_feature_probe("dreamsim", CPU, given(folder)).rows(video)
    assert distance > 1e-3
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-6)
    assert 1 - float(rows[0] @ rows[1]) == pytest.approx(distance, abs=1e-5)


def test_the_archive_is_read_as_its_folder(
    folder: Path, published: tuple[nn.Module, Callable[[Image.Image], Tensor]], tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "dreamsim.zip", "w") as archive:
        for name in (*STATES.values(), ADAPTER, UPDATES[0]):
            archive.write(folder / name, name)
        archive.writestr("../outside", "never written")
    probes = [
        load_feature_probe("dreamsim", CPU, given(folder) | {"dreamsim": place})
        for place in (folder, tmp_path / "dreamsim.zip")
    ]
    first, second = (probe.rows(clip(1, 32, 32)) for probe in probes)
    np.testing.assert_array_equal(first, second)
    assert not (tmp_path.parent / "outside").exists()


def test_an_incomplete_archive_says_what_it_lacks(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "dreamsim.zip", "w") as archive:
        archive.write(folder / ADAPTER, ADAPTER)
    with pytest.raises(BadWeights, match=r"lacks clip_vitb16_pretrain\.pth\.tar, open_clip_vitb16_pretrain\.pth\.tar"):
        load_feature_probe("dreamsim", CPU, given(folder) | {"dreamsim": tmp_path / "dreamsim.zip"})


def test_what_is_no_archive_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "dreamsim.zip").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(BadWeights, match="damaged or no zip archive"):
        load_feature_probe("dreamsim", CPU, given(folder) | {"dreamsim": tmp_path / "dreamsim.zip"})


def test_an_update_is_added_to_its_weight_alone() -> None:
    states = [{"a.weight": torch.ones(2, 3), "b.weight": torch.ones(2, 3)}, {"a.weight": torch.ones(2, 3)}]
    place = "base_model.model.extractor_list.1.model.a"
    down, up = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0], [-1.0]])
    merged = merge(states, {f"{place}.lora_A.weight": down, f"{place}.lora_B.weight": up}, 0.5)
    assert merged[1]["a.weight"].tolist() == [[1.5, 2.0, 2.5], [0.5, 0.0, -0.5]]
    assert torch.equal(merged[0]["a.weight"], states[0]["a.weight"])
    assert torch.equal(merged[0]["b.weight"], states[0]["b.weight"])
    assert torch.equal(states[1]["a.weight"], torch.ones(2, 3))


@pytest.mark.parametrize(
    ("place", "told"), [("extractor_list.2.model.a", "another version"), ("extractor_list.0.model.a", "shape")]
)
def test_updates_of_another_version_are_refused(place: str, told: str) -> None:
    updates = {f"base_model.model.{place}.lora_{half}.weight": torch.ones(4, 4) for half in "AB"}
    with pytest.raises(BadWeights, match=told):
        merge([{"a.weight": torch.ones(2, 3)}], updates, 1.0)


def test_random_networks_give_unit_embeddings_by_their_seed() -> None:
    probes = [load_feature_probe("dreamsim", CPU, init="random", seed=seed) for seed in (0, 0, 1)]
    first, again, other = (probe.rows(clip(2, 32, 32)) for probe in probes)
    np.testing.assert_array_equal(first, again)
    assert float(first[0] @ other[0]) < 0.9
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=0, atol=1e-6)
