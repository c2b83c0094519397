"""The registry's entries for the networks of cvbench/models/nets: loaded from official layouts, run by the harness.

Recorded values are those of the networks' own tests: outputs of the official code with the weights of
golden/weights.py, of reconstructions every eleventh value where the file is `thinned`.
"""

import gzip
import json
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import reconstruct
from golden.weights import clip, tensor
from safetensors.torch import save_file
from torch import Tensor

from cvbench import models
from cvbench.core.errors import BadWeights, MissingWeights, UsageError
from cvbench.core.protocol import EvalProtocol
from cvbench.engine.coding import pad
from cvbench.engine.subject import Listed, Setting
from cvbench.models.entry import Loading
from cvbench.models.paper import PAPER
from cvbench.nets import osp as osp_nets

GOLDEN = Path(__file__).parent / "golden"
CPU = torch.device("cpu")
ATOL = 1e-4
PROTOCOL = EvalProtocol("test", 1, eight="none")

SMALL: dict[str, dict[str, Any]] = {
    "vqgan": {"channels": 32, "latent": 32, "codes": 512},
    "vqgan-f16": {"channels": 32, "latent": 32, "codes": 512},
    "tats": {"n_hiddens": 8, "embedding_dim": 32, "n_codes": 256},
    "vae-osp": {"hidden_size": 32},
    "vae-osp-1.1": {"hidden_size": 32},
    "vae-osp-1.2": {"hidden_size": 32},
    "cvvae": {"channels": 32},
    "cvvae-1.1": {"channels": 32},
    "cvvae-3d": {"channels": 32},
    "cvvae-sd3": {"channels": 32},
}
"""Widths of the recorded variants."""
OWN = list(SMALL)
NETWORKS = [name for name in OWN if name != "cvvae-1.1"]  # the network of cvvae
DISCRETE = {"vqgan", "vqgan-f16", "tats"}
TINY = {name: {"channels": 8, "groups": 4} for name in OWN if name.startswith("cvvae")}


def build(name: str, path: Path | None = None, small: bool = True, **settings: Any) -> Any:
    """Build an entry's model as the harness does; `options` among the settings override the entry's."""
    entry = PAPER[name]
    options = {**entry.config, **entry.options, **(SMALL[name] if small else {}), **settings.pop("options", {})}
    loading = Loading(**{"device": CPU, "dtype": torch.float32, "path": path, "options": options, **settings})
    return models.resolve(entry.build)(loading)


@cache
def untrained(name: str) -> Any:
    return build(name, options=TINY.get(name, {}))


@pytest.fixture
def small_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OWN:
        entry = PAPER[name]
        monkeypatch.setitem(models.MODELS, name, replace(entry, config={**entry.config, **SMALL[name]}))


def video(name: str, *shape: int) -> Tensor:
    """Pixels in [0, 1]."""
    return torch.from_numpy(clip(name, shape, 0, 1))


# ---- what the registry says is what the networks are


@pytest.mark.parametrize("name", OWN)
def test_the_full_size_network_is_the_one_of_the_entry(name: str) -> None:
    with torch.device("meta"):
        model = build(name, small=False, device=torch.device("meta"))
    assert model.params == PAPER[name].params
    assert model.traits == PAPER[name].traits


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("vqgan", (26_345_728, 38_316_163)),
        ("vqgan-f16", (29_298_176, 42_449_795)),
        ("tats", (7_403_648, 16_116_995)),
        ("vae-osp", (93_816_456, 135_353_347)),
        ("vae-osp-1.1", (97_349_258, 149_510_149)),
        ("vae-osp-1.2", (94_399_368, 144_790_531)),
        ("cvvae", (68_748_936, 113_697_539)),
        ("cvvae-1.1", (68_748_936, 113_697_539)),
        ("cvvae-3d", (100_009_608, 155_869_955)),
        ("cvvae-sd3", (69_080_736, 112_811_779)),
    ],
)
def test_parameters_are_those_of_the_official_code(name: str, total: tuple[int, int]) -> None:
    assert PAPER[name].params == total


@pytest.mark.parametrize(
    ("name", "latents"),
    [
        ("vqgan", (1, 33, 32, 32)),
        ("vqgan-f16", (1, 33, 16, 16)),
        ("tats", (1, 9, 32, 32)),
        ("vae-osp", (1, 4, 9, 32, 32)),
        ("vae-osp-1.1", (1, 4, 9, 32, 32)),
        ("vae-osp-1.2", (1, 4, 9, 32, 32)),
        ("cvvae", (1, 4, 9, 32, 32)),
        ("cvvae-1.1", (1, 4, 9, 32, 32)),
        ("cvvae-3d", (1, 4, 9, 32, 32)),
        ("cvvae-sd3", (1, 16, 9, 32, 32)),
    ],
)
@pytest.mark.large
def test_latents_of_33_frames_of_256_have_the_published_shape(name: str, latents: tuple[int, ...]) -> None:
    with torch.device("meta"):
        model = build(name, small=False, device=torch.device("meta"))
        padded = pad(torch.empty(1, 3, 33, 256, 256), PAPER[name].traits)
        coded = model.encode(padded)
        assert tuple(coded.shape) == latents
        assert model.decode(coded, padded.shape[2]).shape == padded.shape


def test_bits_per_pixel_are_counted_by_hand() -> None:
    # 13 bits a token of 64 pixels; 14 bits a token of 4 x 8 x 8; 4 or 16 channels of 16 bits over 256 pixels
    found = {name: PAPER[name].traits.bits_per_pixel for name in ("vqgan", "tats", "cvvae", "cvvae-sd3")}
    assert found == {"vqgan": 13 / 64, "tats": 14 / 256, "cvvae": 0.25, "cvvae-sd3": 1.0}


# ---- shapes and half precision; all else that the harness relies on is in test_model_contract.py


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_stays_near_full_precision(name: str) -> None:
    model = build(name, dtype=torch.bfloat16, options=TINY.get(name, {}))
    target = video("half", 1, 3, 5, 16, 16)
    half, full = (reconstruct(m, target, PROTOCOL)[0] for m in (model, untrained(name)))
    assert half.dtype == torch.float32
    assert {p.dtype for p in model.net.parameters()} == {torch.bfloat16}
    if name not in DISCRETE:  # a code that flips moves its pixels by any amount
        assert (half - full).square().mean().sqrt() < 0.03


def test_tats_codes_an_image_as_four_equal_frames() -> None:
    model, image = untrained("tats"), video("image", 1, 3, 1, 16, 16)
    repeated = reconstruct(model, image.expand(-1, -1, 4, -1, -1), PROTOCOL)[0]
    assert torch.equal(reconstruct(model, image, PROTOCOL)[0], repeated[:, :, :1])


# ---- checkpoints as they were published


@dataclass(frozen=True)
class Case:
    """A recorded variant: the entry, the golden file, the variant in it, the case and its clip."""

    name: str
    variant: str
    case: str
    shape: tuple[int, ...]
    save: Callable[[dict[str, Tensor], Path], Path]
    letter: str = ""
    atol: float = ATOL

    @property
    def file(self) -> str:
        return "cvvae" if self.name.startswith("cvvae") else {"vae": "osp"}.get(self.name[:3], self.name.split("-")[0])

    @property
    def key(self) -> str:
        return f"{self.variant}-small/{self.case}"

    @property
    def thinned(self) -> bool:
        return self.file != "cvvae"

    def state(self) -> dict[str, Tensor]:
        return golden_state(self.file, f"{self.variant.removesuffix('-release')}-small")

    def clip(self) -> Tensor:
        return video(self.key + self.letter, *self.shape)

    def recorded(self, what: str) -> Tensor:
        with np.load(GOLDEN / f"{self.file}.npz") as arrays:
            return torch.from_numpy(arrays[f"{self.key}/{what}"])


@cache
def manifest(file: str) -> dict[str, dict[str, list[int]]]:
    plain = GOLDEN / f"{file}.shapes.json"
    text = plain.read_text() if plain.exists() else gzip.decompress((GOLDEN / f"{file}.shapes.json.gz").read_bytes())
    found: dict[str, dict[str, list[int]]] = json.loads(text)
    return found


def golden_state(file: str, variant: str) -> dict[str, Tensor]:
    return {name: torch.from_numpy(tensor(name, tuple(shape))) for name, shape in manifest(file)[variant].items()}


LOSSES = {"loss.perceptual_loss.lin0.model.1.weight": torch.ones(1, 64, 1, 1), "loss.logvar": torch.zeros(())}


def as_safetensors(state: dict[str, Tensor], folder: Path) -> Path:
    save_file(state, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def as_half(state: dict[str, Tensor], folder: Path) -> Path:
    return as_safetensors({name: value.half() for name, value in state.items()}, folder)


def as_folder(state: dict[str, Tensor], folder: Path) -> Path:
    """Save as CV-VAE's hub folders are: config.json, diffusers' file and the trainer's checkpoint beside it."""
    save_file(state, folder / "diffusion_pytorch_model.safetensors")
    torch.save({"state_dict": {}}, folder / "cv_vae.ckpt")
    (folder / "config.json").write_text('{"_class_name": "CVVAEModel"}')
    return folder


def as_lightning(state: dict[str, Tensor], folder: Path) -> Path:
    """Save as Lightning does: losses among the tensors, an optimizer and hyperparameters beside them."""
    content = {"epoch": 3, "state_dict": {**state, **LOSSES}, "optimizer_states": [{"state": {0: torch.ones(2)}}]}
    torch.save(content, folder / "last.ckpt")
    return folder / "last.ckpt"


def as_tats(state: dict[str, Tensor], folder: Path) -> Path:
    """Save as TATS does, with the training script's arguments and both discriminators."""
    args = Namespace(n_hiddens=8, embedding_dim=32, n_codes=256, downsample=(4, 8, 8), norm_type="batch", lr=3e-5)
    others = {"image_discriminator.model0.0.bias": torch.ones(4), "video_discriminator.model0.0.bias": torch.ones(4)}
    content = {"epoch": 1, "state_dict": {**state, **others}, "hyper_parameters": {"args": args}}
    torch.save(content, folder / "tats.ckpt")
    return folder / "tats.ckpt"


def as_osp_folder(layout: str) -> Callable[[dict[str, Tensor], Path], Path]:
    def save(state: dict[str, Tensor], folder: Path) -> Path:
        save_file({**state, **LOSSES}, folder / "diffusion_pytorch_model.safetensors")
        config = asdict(replace(osp_nets.LAYOUTS[layout], hidden_size=32))
        (folder / "config.json").write_text(json.dumps({"_class_name": "CausalVAEModel", **config}))
        return folder

    return save


def as_osp_trainer(averaged: bool) -> Callable[[dict[str, Tensor], Path], Path]:
    """Save as release 1.2's trainer does; where averaged weights are kept the others are wrong on purpose."""

    def save(state: dict[str, Tensor], folder: Path) -> Path:
        wrong = {name: torch.zeros_like(value) for name, value in state.items()}
        ema = {f"module.{name}": value for name, value in state.items()} if averaged else {}
        networks = {"gen_model": wrong if averaged else state, "dics_model": LOSSES}
        torch.save({"state_dict": networks, "ema_state_dict": ema}, folder / "checkpoint.ckpt")
        return folder / "checkpoint.ckpt"

    return save


CASES = [
    Case("cvvae", "cvvae", "clip5", (1, 3, 5, 32, 48), as_folder),
    Case("cvvae", "cvvae", "image", (2, 3, 1, 48, 64), as_lightning),
    Case("cvvae-1.1", "cvvae", "clip5", (1, 3, 5, 32, 48), as_half, atol=0.02),
    Case("cvvae-3d", "cvvae-3d", "clip5", (1, 3, 5, 32, 48), as_safetensors),
    Case("cvvae-sd3", "cvvae-sd3", "clip5", (1, 3, 5, 32, 48), as_folder),
    Case("vae-osp", "osp-v1.0-release", "t5", (1, 3, 5, 48, 64), as_osp_folder("v1.0")),
    Case("vae-osp", "osp-v1.0", "t5", (1, 3, 5, 48, 64), as_osp_folder("v1.0-class-default")),
    Case("vae-osp-1.1", "osp-v1.1", "t5", (1, 3, 5, 48, 64), as_osp_folder("v1.1")),
    Case("vae-osp-1.2", "osp-v1.2", "t5", (1, 3, 5, 48, 64), as_osp_trainer(averaged=True)),
    Case("vae-osp-1.2", "osp-v1.2", "t1", (2, 3, 1, 48, 64), as_osp_trainer(averaged=False)),
    Case("tats", "tats-batch", "t16", (1, 3, 16, 32, 32), as_tats, letter="a"),
    Case("vqgan", "vqgan-gumbel-f8", "sq", (2, 3, 1, 64, 64), as_lightning, letter="a"),
    Case("vqgan-f16", "vqgan-f16-16384", "sq", (2, 3, 1, 64, 64), as_lightning, letter="a"),
]


@pytest.mark.usefixtures("small_registry")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}:{case.key}")
def test_a_checkpoint_of_the_official_layout_gives_the_recorded_values(case: Case, tmp_path: Path) -> None:
    path = case.save(case.state(), tmp_path)
    listed = Listed(case.name, Setting(PROTOCOL, CPU, {case.name: path}))
    model: Any = listed.model
    with torch.inference_mode():
        coded = model.encode(case.clip())
        if case.name in DISCRETE:
            latents, clear = case.recorded("indices").long(), case.recorded("clear")
            latents, clear = (v if case.name == "tats" else v[:, None] for v in (latents, clear))
            assert torch.equal(coded[clear], latents[clear])
        else:
            latents = case.recorded("mean")
            torch.testing.assert_close(coded, latents, atol=case.atol, rtol=0)
        pixels = model.decode(latents, case.shape[2]) * 2 - 1
    pixels = pixels.flatten()[::11] if case.thinned else pixels
    recorded = case.recorded("recon") * (2 if case.name == "tats" else 1)
    torch.testing.assert_close(pixels, recorded, atol=case.atol, rtol=0)


@pytest.mark.usefixtures("small_registry")
def test_weights_decide_the_cache_key_and_random_ones_the_seed(tmp_path: Path) -> None:
    path = CASES[0].save(CASES[0].state(), tmp_path)
    loaded = Listed("cvvae", Setting(PROTOCOL, CPU, {"cvvae": path}))
    untrained_ones = [Listed("cvvae", Setting(replace(PROTOCOL, seed=s), CPU, {}, "random")) for s in (0, 0, 1)]
    keys = [one.key((1, 16, 16)) for one in (loaded, *untrained_ones)]
    assert keys[1] == keys[2]
    assert len(set(keys)) == 3
    assert [loaded.facts.init, untrained_ones[0].facts.init] == ["weights", "random"]


@pytest.mark.parametrize(
    ("name", "variant", "file", "says"),
    [
        ("cvvae", "cvvae-sd3-small", "cvvae", "missing: encoder.down.0"),
        ("cvvae-sd3", "cvvae-small", "cvvae", "missing: encoder.down_blocks.0"),
        ("cvvae-3d", "cvvae-small", "cvvae", "misshaped: encoder.down.0.block.0.conv2.weight"),
        ("vae-osp", "osp-v1.1-small", "osp", "missing: encoder.conv_in.conv.weight"),
        ("vqgan", "ldm-vq-f8-small", "vqgan", "belongs to another architecture"),
        ("vqgan", "tats-batch-small", "tats", "belongs to another architecture"),
        ("tats", "vqgan-gumbel-f8-small", "vqgan", "missing: encoder.conv_first.conv.weight"),
    ],
)
def test_a_file_of_another_network_is_refused_by_name(
    name: str, variant: str, file: str, says: str, tmp_path: Path
) -> None:
    path = as_safetensors(golden_state(file, variant), tmp_path)
    with pytest.raises(BadWeights) as refused:
        build(name, path)
    assert str(path) in str(refused.value)
    assert says in str(refused.value)


def test_convolutions_around_the_latents_are_not_dropped_from_a_cvvae_in_silence(tmp_path: Path) -> None:
    state = {**CASES[0].state(), "post_quant_conv.weight": torch.ones(4, 4, 1, 1, 1)}
    with pytest.raises(BadWeights, match="1 unexpected: post_quant_conv"):
        build("cvvae", as_safetensors(state, tmp_path))


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"norm_type": "layer"}, "norm_type 'layer'"),
        ({"n_codes": None}, "no TATS has"),
        ({"downsample": 4}, "no TATS has"),
    ],
)
def test_tats_refuses_settings_that_are_none(args: dict[str, Any], says: str, tmp_path: Path) -> None:
    content = {"state_dict": {"a": torch.ones(1)}, "hyper_parameters": {"args": Namespace(**args)}}
    torch.save(content, tmp_path / "tats.ckpt")
    with pytest.raises(BadWeights, match=says):
        build("tats", tmp_path / "tats.ckpt")


@pytest.mark.parametrize(("text", "says"), [("{", "is no JSON"), ("[]", "holds a list"), ("{}", "lacks")])
def test_osp_refuses_a_config_that_is_none(text: str, says: str, tmp_path: Path) -> None:
    as_safetensors({"a": torch.ones(1)}, tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadWeights, match=says):
        build("vae-osp", tmp_path)


def test_unpublished_weights_are_asked_for_and_run_when_given(tmp_path: Path, small_registry: None) -> None:
    with pytest.raises(MissingWeights, match=r"published its 2D\+3D and SD3 networks only.*--weights cvvae-3d=PATH"):
        Listed("cvvae-3d", Setting(PROTOCOL, CPU, {}))
    path = as_safetensors(Case("cvvae-3d", "cvvae-3d", "", (), as_safetensors).state(), tmp_path)
    given = Listed("cvvae-3d", Setting(PROTOCOL, CPU, {"cvvae-3d": path}))
    assert reconstruct(given.model, video("given", 1, 3, 5, 16, 16), PROTOCOL)[0].shape == (1, 3, 5, 16, 16)


def test_tats_weights_are_fetched_by_hand() -> None:
    with pytest.raises(MissingWeights, match=r"fetched by hand.*drive\.google\.com.*--weights tats=PATH"):
        Listed("tats", Setting(PROTOCOL, CPU, {}))


# ---- posterior, tiles, noise


@pytest.mark.parametrize("name", [name for name in OWN if name not in DISCRETE])
def test_a_sample_of_the_posterior_has_its_mean_and_variance(name: str) -> None:
    target = video("posterior", 1, 3, 5, 32, 32)
    model = build(name, posterior="sample")
    mean, logvar = model.net.encode(2 * target - 1)
    torch.manual_seed(3)
    standard = (model.encode(target) - mean) / (logvar / 2).exp()
    n = standard.numel()  # 128 or more: three standard errors of mean and variance
    assert abs(standard.mean()) < 3 / n**0.5
    assert abs(standard.var() - 1) < 3 * (2 / n) ** 0.5
    assert torch.equal(build(name).encode(target), mean)


def test_a_sample_is_repeated_by_its_seed() -> None:
    model, target = build("cvvae", posterior="sample"), video("seeds", 1, 3, 5, 16, 16)
    first, again, other = (reconstruct(model, target, PROTOCOL, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.fixture(scope="module")
def wide() -> Tensor:
    return video("wide", 1, 3, 1, 16, 264)


@pytest.mark.parametrize("name", ["vae-osp", "vae-osp-1.1", "vae-osp-1.2"])
def test_osp_tiles_beyond_256_pixels_where_the_protocol_says_so(name: str, wide: Tensor) -> None:
    whole, tiled = build(name), build(name, tiling=True)
    assert not torch.equal(whole.encode(wide), tiled.encode(wide))
    assert torch.equal(whole.encode(wide[..., :256]), tiled.encode(wide[..., :256]))
    assert reconstruct(tiled, wide, PROTOCOL)[0].shape == wide.shape


@pytest.mark.parametrize("tiling", [False, True])
def test_cvvae_tiles_always_beyond_its_own_size(tiling: bool) -> None:
    whole, tiled = build("cvvae", options={"tile": 0}), build("cvvae", options={"tile": 72}, tiling=tiling)
    target = video("tiles", 1, 3, 1, 16, 80)
    assert not torch.equal(whole.encode(target), tiled.encode(target))
    assert torch.equal(whole.encode(target[..., :72]), tiled.encode(target[..., :72]))
    assert build("cvvae", tiling=tiling).net.tiling.size == 576


def test_a_tile_off_the_latent_grid_is_refused() -> None:
    with pytest.raises(UsageError, match="tiles of 100 pixels"):
        build("cvvae", options={"tile": 100})


def test_gumbel_noise_is_drawn_on_request_from_the_seed_and_the_clip_alone() -> None:
    batch = video("noise", 2, 3, 2, 16, 24)
    calm, noisy, reseeded = (build("vqgan", options={"noise": n}) for n in (0, 1, 1))
    reseeded.seed = 7
    codes = noisy.encode(batch)
    assert (codes != calm.encode(batch)).float().mean() > 0.1
    assert torch.equal(codes, noisy.encode(batch))
    assert torch.equal(codes[1:], noisy.encode(batch[1:]))
    assert (codes != reseeded.encode(batch)).float().mean() > 0.1
    still = batch[:1, :, :1].expand(-1, -1, 2, -1, -1)
    assert not torch.equal(*noisy.encode(still)[0])


def test_noise_is_zero_or_one() -> None:
    with pytest.raises(UsageError, match="not 2"):
        build("vqgan", options={"noise": 2})


def test_many_frames_are_coded_as_few() -> None:
    model, clips = untrained("vqgan"), video("many", 1, 3, 11, 16, 16)
    codes = model.encode(clips)
    assert torch.equal(codes[:, 9:], model.encode(clips[:, :, 9:]))
    torch.testing.assert_close(model.decode(codes, 11)[:, :, 9:], model.decode(codes[:, 9:], 2), atol=1e-5, rtol=0)
