"""Tokenizers and decoders against recorded outputs of the official code, through their entries, and their files.

Sources: NVIDIA/Cosmos-Tokenizer 3584ae7, TencentARC/SEED-Voken b9a17ea, FoundationVision/LlamaGen ce98ec4,
bytedance/1d-tokenizer 942a96f, hustvl/LightningDiT 2725fed, microsoft/VidTok d6ad92d, PKU-YuanGroup/WF-VAE d858bee,
ModelTC/LightX2V f8aee98b.
"""

import os
import pickle
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from zoo2 import close, loaded, official, pixels, recorded, same_codes, shapes, shapes_of

from cvbench import models
from cvbench.core.errors import BadWeights, UnsuitableInput
from cvbench.models import MODELS, building
from cvbench.models.building import Uninitialised, construct
from cvbench.models.decoder_entries import DECODERS
from cvbench.models.entry import Loading
from cvbench.models.renames import cosmos as cosmos_names
from cvbench.models.stand_in_entries import STAND_INS
from cvbench.models.tokenizer_entries import TOKENIZERS
from cvbench.models.tokenizers import of_layout
from cvbench.nets import cosmos, magvit2, titok, vqgan
from cvbench.weights import sources as weights


class Case(NamedTuple):
    """What a variant is built as, and what was recorded of it."""

    entry: str
    variant: str
    case: str
    shape: tuple[int, ...]
    stride: int = 2
    letter: str = ""
    options: dict[str, Any] = {}  # noqa: RUF012
    file: str = "w.safetensors"

    @property
    def key(self) -> str:
        return f"{self.variant}/{self.case}"


SMALL_VQ = {"channels": 32, "latent": 32, "codes": 512}
SMALL_TITOK = {
    "encoder": "small",
    "decoder": "small",
    "tokens": 24,
    "codes": 256,
    "side": 64,
    "blocks": 2,
    "hidden": 32,
}
C32 = {"channels": 32}
SMALL_MAGVIT = {**C32, "bits": 10}
SMALL_F16 = {"block_out_channels": (32, 32, 64, 64, 128)}
SMALL_WF = {"base_channels": 32, "encoder_energy_flow_hidden_size": 32, "decoder_energy_flow_hidden_size": 32}
VIDTOK, VIDTOK_1_1 = "vidtok_kl_causal_488_4chn.ckpt", "vidtok_kl_causal_488_4chn_v1_1.ckpt"
CODED = [
    Case("cosmos-di16x16", "cosmos-di16x16-small", "sq", (1, 3, 64, 64), 4, options={**C32, "latent": 32}),
    Case("cosmos-dv4x8x8", "cosmos-dv4x8x8-small", "t5", (1, 3, 5, 32, 48), 4, "a", C32),
    Case("cosmos-dv8x16x16", "cosmos-dv8x16x16-small", "t1", (1, 3, 1, 64, 96), 4, "b", C32),
    Case("ibq-16384", "ibq-small", "wide", (1, 3, 64, 96), 2, "d", SMALL_VQ),
    Case("llamagen-ds16", "llamagen-vq16-small", "sq", (2, 3, 64, 64), 2, "a", SMALL_VQ),
    Case("llamagen-ds8", "llamagen-vq8-small", "wide", (1, 3, 64, 96), 2, "", SMALL_VQ),
    Case("titok-l32", "titok-legacy-small", "a", (2, 3, 64, 64), options=SMALL_TITOK),
    Case("titok-bl64-vq8k", "titok-vq-small", "a", (2, 3, 64, 64), options=SMALL_TITOK),
    Case("vidtok-1.0-fsq", "vidtok-1.0-fsq-small", "t5", (1, 3, 5, 32, 48), 4, options={"ch": 32}, file=VIDTOK),
    Case("open-magvit2", "open-magvit2-small", "sq", (2, 3, 64, 64), 2, "b", SMALL_MAGVIT),
    Case("open-magvit2-video", "open-magvit2-video-small", "t5", (1, 3, 5, 32, 48), 4, "a", SMALL_MAGVIT),
]
CONTINUOUS = [
    Case("cosmos-ci8x8", "cosmos-ci8x8-small", "wide", (1, 3, 32, 48), options=C32),
    Case("cosmos-cv4x8x8", "cosmos-cv4x8x8-small", "t5", (1, 3, 5, 32, 48), 4, options=C32),
    Case("va-vae", "va-vae-small", "wide", (1, 3, 64, 96), options=SMALL_F16),
    Case("titok-bl64-vae", "titok-vae-small", "a", (2, 3, 64, 64), options=SMALL_TITOK),
    Case("vidtok-1.0-kl4", "vidtok-1.0-kl4-small", "t5", (1, 3, 5, 32, 48), 4, options={"ch": 32}, file=VIDTOK),
    Case("vidtok-1.0-kl4", "vidtok-1.0-kl4-small", "t1", (1, 3, 1, 32, 48), 4, options={"ch": 32}, file=VIDTOK),
    Case("vidtok-noncausal-kl4", "vidtok-noncausal-kl4-small", "t16", (1, 3, 16, 32, 32), 4, options={"ch": 32}),
    Case("wf-vae-s-4", "wf-vae-4-small", "t9", (1, 3, 9, 32, 48), options=SMALL_WF),
    Case("lightvae-w2.1", "lightvaew2_1", "t9", (1, 3, 9, 32, 48)),
    Case("lightvae-w2.2", "lightvaew2_2-p75", "t5", (1, 3, 5, 64, 32), options={"base_dim": 40}),
]


MORE_CODED = [
    Case("cosmos-di16x16", "cosmos-di16x16-small", "wide", (1, 3, 64, 96), 4, options={**C32, "latent": 32}),
    Case("cosmos-dv8x16x16", "cosmos-dv8x16x16-small", "t9", (1, 3, 9, 64, 64), 4, options=C32),
    Case("ibq-16384", "ibq-small", "sq", (2, 3, 64, 64), 2, "a", SMALL_VQ),
    Case("llamagen-ds16", "llamagen-vq16-small", "wide", (1, 3, 64, 96), 2, "", SMALL_VQ),
    Case("vidtok-1.0-fsq", "vidtok-1.0-fsq-small", "t1", (1, 3, 1, 32, 48), 4, options={"ch": 32}, file=VIDTOK),
    Case("open-magvit2", "open-magvit2-small", "wide", (1, 3, 64, 96), 2, "c", SMALL_MAGVIT),
    Case("open-magvit2-video", "open-magvit2-video-small", "t1", (1, 3, 1, 32, 48), 4, "c", SMALL_MAGVIT),
]
MORE_CONTINUOUS = [
    Case("va-vae", "va-vae-small", "sq", (2, 3, 64, 64), options=SMALL_F16),
    Case("wf-vae-s-4", "wf-vae-4-small", "t1", (2, 3, 1, 32, 48), options=SMALL_WF),
    Case("lightvae-w2.1", "lightvaew2_1", "t1", (2, 3, 1, 32, 48)),
]
"""The same networks on other sizes."""


def large(cases: list[Case]) -> list[Any]:
    """Leave cases out where only quick tests are run."""
    return [pytest.param(case, marks=pytest.mark.large) for case in cases]


def ids(case: Case) -> str:
    return case.key


def save(case: Case, folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict) -> Path:
    """Save the variant's tensors; of WF-VAE with the kernels that its names leave out."""
    state = change(official(case.variant))
    if case.file.endswith("safetensors"):
        save_file(state, folder / case.file)
    else:
        torch.save({"state_dict": state}, folder / case.file)
    return folder / case.file


def built(case: Case, path: Path) -> Any:
    return loaded(case.entry, path, options=case.options)


def videos(case: Case) -> Tensor:
    """Pixels in [0, 1] with a time axis."""
    signed = not case.variant.startswith("titok")
    x = pixels(case.key + case.letter, case.shape, -1 if signed else 0)
    x = (x + 1) / 2 if signed else x
    return x if x.ndim == 5 else x[:, :, None]


def still(case: Case, x: Tensor) -> Tensor:
    """Take off the time axis of what was recorded without one."""
    return x if len(case.shape) == 5 else x.squeeze(1 if not x.is_floating_point() else 2)


def decoded(case: Case, model: Any, latents: Tensor) -> Tensor:
    frames = case.shape[2] if len(case.shape) == 5 else 1
    made: Tensor = model.decode(latents, frames)
    return still(case, made if case.variant.startswith("titok") else 2 * made - 1)


def with_kernels(case: Case) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Add the constant wavelets to a WF-VAE's tensors."""
    if not case.variant.startswith("wf-vae"):
        return dict
    net = models.build(MODELS[case.entry], Loading(torch.device("cpu"), torch.float32, options=case.options)).net
    return lambda state: {**{k: v for k, v in net.state_dict().items() if "wavelet_transform" in k}, **state}


@pytest.mark.parametrize("case", [*CODED, *large(MORE_CODED)], ids=ids)
def test_codes_and_pixels_are_the_official_ones(case: Case, tmp_path: Path) -> None:
    model = built(case, save(case, tmp_path))
    with torch.inference_mode():
        codes = still(case, model.encode(videos(case)))
        if case.variant.startswith("open-magvit2"):  # whose margin is the distance to 0
            assert recorded(f"{case.key}/h").abs().min() > 1e-4
            assert torch.equal(codes.int(), recorded(f"{case.key}/indices"))
        else:
            same_codes(codes, case.key)
        indices = recorded(f"{case.key}/indices").long()
        recon = decoded(case, model, indices if len(case.shape) == 5 else indices[:, None])
        close(recon, f"{case.key}/recon", case.stride, atol=1e-3 if "cosmos" in case.variant else 1e-4)


@pytest.mark.parametrize("case", [*CONTINUOUS, *large(MORE_CONTINUOUS)], ids=ids)
def test_latents_and_pixels_are_the_official_ones(case: Case, tmp_path: Path) -> None:
    model = built(case, save(case, tmp_path, with_kernels(case)))
    what = "z" if "cosmos" in case.variant else "mean"
    with torch.inference_mode():
        z = model.encode(videos(case))
        close(still(case, z), f"{case.key}/{what}")
        recon = decoded(case, model, z)
        if case.variant.startswith("light"):  # which diffusers' class clamps
            expected = recorded(f"{case.key}/recon").clamp(-1, 1)
            torch.testing.assert_close(recon[..., :: case.stride, :: case.stride], expected, atol=1e-4, rtol=1e-4)
        else:
            close(recon, f"{case.key}/recon", case.stride, atol=1e-3 if "cosmos" in case.variant else 1e-4)


WHOLE = [
    Case("vidtok-1.0-kl4", "vidtok-1.0-kl4-small", "t8", (1, 3, 8, 32, 32), 4, options={"ch": 32}, file=VIDTOK),
    Case("vidtok-kl4", "vidtok-1.1-kl4-small", "t8", (1, 3, 8, 32, 32), 4, options={"ch": 32}, file=VIDTOK_1_1),
]
"""Whole groups of frames, which the network takes and an adapter pads to one more."""


@pytest.mark.parametrize("case", WHOLE, ids=ids)
def test_vidtok_of_whole_groups_of_frames_is_the_official_one(case: Case, tmp_path: Path) -> None:
    net = built(case, save(case, tmp_path)).net
    with torch.inference_mode():
        mean = net.encode(2 * videos(case) - 1).latent_dist.mode()
        close(mean, f"{case.key}/mean")
        recon = net.decode(mean)
    expected = recorded(f"{case.key}/recon")[:, :, -recon.shape[2] :]  # of 1.1 with the frames that are cut off
    torch.testing.assert_close(recon[..., :: case.stride, :: case.stride], expected, atol=1e-4, rtol=1e-4)


def of_entry(net: Callable[[Any], nn.Module], layout: Any, name: str) -> Callable[[], nn.Module]:
    """Return what makes the network of an entry's config."""
    return lambda: net(of_layout(layout, MODELS[name].config))


FULL: dict[str, Callable[[], nn.Module]] = {
    "open-magvit2-262144-full": of_entry(magvit2.OpenMagvit2, magvit2.Layout(), "open-magvit2"),
    "open-magvit2-16384-full": of_entry(magvit2.OpenMagvit2, magvit2.Layout(), "open-magvit2-16384"),
    "open-magvit2-video-full": of_entry(magvit2.OpenMagvit2, magvit2.Layout(), "open-magvit2-video"),
    "titok-s128-full": of_entry(titok.TiTok, titok.Layout(), "titok-s128"),
}


@pytest.mark.parametrize("name", [*TOKENIZERS, *STAND_INS, *DECODERS])
def test_the_full_size_network_is_the_one_of_the_entry(name: str) -> None:
    entry, meta = MODELS[name], torch.device("meta")
    counts_codes = entry.config.get("regularizer") == "fsq"  # at construction, which takes values
    device = torch.device("cpu") if counts_codes else meta
    with Uninitialised() if counts_codes else meta:
        model = models.build(entry, Loading(device, torch.float32))
    assert model.params == entry.params
    assert model.traits == entry.traits


@pytest.mark.parametrize("variant", FULL)
def test_full_size_tensors_are_the_official_ones(variant: str) -> None:
    with torch.device("meta"):
        assert shapes_of(FULL[variant]()) == shapes(variant)


@pytest.mark.parametrize(
    ("variant", "layout"),
    [("ibq-16384-full", "ibq"), ("llamagen-vq16-full", "llamagen-ds16"), ("llamagen-vq8-full", "llamagen-ds8")],
)
def test_full_size_tensors_are_the_official_ones_renamed(variant: str, layout: str) -> None:
    named = {name: torch.empty(shape, device="meta") for name, shape in shapes(variant).items()}
    with torch.device("meta"):
        assert shapes_of(vqgan.VQGAN(vqgan.LAYOUTS[layout])) == {
            k: list(v.shape) for k, v in vqgan.to_diffusers(named).items()
        }


def on_meta(variant: str) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes(variant).items()}


@pytest.mark.parametrize(
    ("variant", "entry"),
    [("va-vae-full", "va-vae"), ("vidtok-1.0-kl4-full", "vidtok-1.0-kl4")],
)
def test_official_tensors_of_full_size_fit_the_classes_of_diffusers(variant: str, entry: str) -> None:
    config = MODELS[entry].config
    net = building.on_meta(str(config["_class_name"]), config)
    fitted = building.fitted(on_meta(variant), net, Path(variant))
    assert shapes_of(net) == {name: list(value.shape) for name, value in fitted.items()}


@pytest.mark.parametrize(
    ("variant", "entry", "renamed"),
    [
        ("cosmos-di16x16-full", "cosmos-di16x16", vqgan.to_diffusers),
        ("cosmos-dv8x16x16-full", "cosmos-dv8x16x16", cosmos_names),
    ],
)
def test_official_tensors_of_full_size_fit_a_cosmos(variant: str, entry: str, renamed: Callable[..., Any]) -> None:
    with torch.device("meta"):
        wanted = shapes_of(cosmos.Cosmos(of_layout(cosmos.Layout(), MODELS[entry].config)))
    found = {name: list(value.shape) for name, value in renamed(on_meta(variant)).items()}
    unused = {name for name in found if name not in wanted}
    assert all("samplers.0.conv" in name for name in unused)
    assert {name: shape for name, shape in found.items() if name not in unused} == {
        name: shape for name, shape in wanted.items() if name in found
    }
    assert all(name in cosmos.constants(wanted) for name in set(wanted) - set(found))


def test_official_tensors_of_full_size_fit_a_wf_vae() -> None:
    with torch.device("meta"):
        net = models.build(MODELS["wf-vae-s-8"], Loading(torch.device("meta"), torch.float32)).net
    found = {name: shape for name, shape in shapes_of(net).items() if "wavelet_transform" not in name}
    assert found == shapes("wf-vae-s-8-full")


# ---- files as they are published, and their twins


class Layer(nn.Module):
    """A scripted program's stand-in: parameters at any depth."""


def program(state: dict[str, Tensor], path: Path) -> Path:
    """Write tensors as a TorchScript archive of modules of their names."""
    root = nn.Module()
    for name, value in state.items():
        *parents, leaf = name.split(".")
        place = root
        for parent in parents:
            if parent not in dict(place.named_children()):
                place.add_module(parent, Layer())
            place = dict(place.named_children())[parent]
        place.register_buffer(leaf, value)
    torch.jit.save(torch.jit.script(root), path)
    return path


def in_jit(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Save a Cosmos as two programs."""
    state = {name: value.to(dtype) for name, value in official("cosmos-ci8x8-small").items()}
    for half, parts in (("encoder", ("encoder.", "quant_conv.")), ("decoder", ("post_quant_conv.", "decoder."))):
        program({k: v for k, v in state.items() if k.startswith(parts)}, folder / f"{half}.jit")
    return folder


COSMOS = CONTINUOUS[0]


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_tensors_of_a_program_are_read_and_the_program_is_not_run(tmp_path: Path) -> None:
    in_jit(tmp_path)
    for path in (tmp_path, tmp_path / "decoder.jit"):
        state = built(COSMOS, path).net.state_dict()
        expected = vqgan.to_diffusers(official("cosmos-ci8x8-small"))
        assert all(torch.equal(state[name], value) for name, value in expected.items())


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_programs_in_bfloat16_are_cast(tmp_path: Path) -> None:
    assert built(COSMOS, in_jit(tmp_path, torch.bfloat16)).computes_in == "fp32"


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("echo run",)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def poison(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("decoder/data.pkl", pickle.dumps(Evil()))


def around(path: Path) -> None:
    """Write a module that holds itself."""
    module = b"c__torch__\nModule\n)\x81q\x00}X\x04\x00\x00\x00selfh\x00sb."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("decoder/data.pkl", b"\x80\x02" + module)


def other(path: Path) -> None:
    program({"encoder.conv_in.weight": torch.ones(2, 3)}, path)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (cut, "decoder.jit is damaged"),
        (poison, "decoder.jit is refused: it asks for '(posix|nt).system'"),
        (around, r"decoder.jit is damaged \(RecursionError\)"),
        (other, "no tensor is named decoder.up"),
        (lambda path: path.write_bytes(b"PK"), "is damaged"),
    ],
    ids=["cut", "malicious", "a module in itself", "another network's", "two bytes"],
)
def test_programs_that_are_no_cosmos_are_refused(
    change: Callable[[Path], object], says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    change(in_jit(tmp_path) / "decoder.jit")
    with pytest.raises(BadWeights, match=says):
        built(COSMOS, tmp_path)
    assert "run" not in capfd.readouterr().out


MAGVIT = CODED[-2]


def lightning(state: dict[str, Tensor], path: Path, **more: Any) -> Path:
    """Save averaged tensors under names without dots, beside others that were not."""
    plain = {name: torch.zeros_like(value) for name, value in state.items()}
    kept = {f"model_ema.{name.replace('.', '')}": value for name, value in state.items()}
    rest = {"model_ema.decay": torch.ones(()), "model_ema.num_updates": torch.ones(()), "loss.d.weight": torch.ones(1)}
    torch.save({"state_dict": {**plain, **kept, **rest}, **more}, path)
    return path


@pytest.mark.parametrize("case", [MAGVIT, CODED[3]], ids=ids)
def test_averaged_tensors_are_taken_where_a_checkpoint_holds_them(case: Case, tmp_path: Path) -> None:
    state = official(case.variant)
    of_average = built(case, lightning(state, tmp_path / "w.ckpt")).net.state_dict()
    of_plain = built(case, save(case, tmp_path)).net.state_dict()
    assert all(torch.equal(of_average[name], value) for name, value in of_plain.items())


@pytest.mark.parametrize("case", [MAGVIT, CODED[3]], ids=ids)
@pytest.mark.parametrize("whole", [False, True])
def test_averages_of_some_parameters_are_no_network(case: Case, whole: bool, tmp_path: Path) -> None:
    path = lightning(official(case.variant), tmp_path / "w.ckpt")
    state = torch.load(path, weights_only=True)["state_dict"]
    needed = [name for name in state if name.startswith("model_ema.decoder")]
    for name in needed if whole else needed[:1]:
        del state[name]
    torch.save({"state_dict": state}, path)
    with pytest.raises(BadWeights, match=r"w\.ckpt.*holds averages .*, but none of .* parameters \(decoder\."):
        built(case, path)


@pytest.mark.parametrize("share", [0.02, 0.999])
def test_a_checkpoint_of_averages_that_is_cut_short_is_refused(share: float, tmp_path: Path) -> None:
    path = lightning(official(MAGVIT.variant), tmp_path / "w.ckpt")
    built(MAGVIT, path)  # whole, it is read
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(BadWeights, match=r"w\.ckpt is damaged, cut short or no file of weights"):
        built(MAGVIT, path)


def test_a_checkpoint_that_asks_for_more_than_tensors_is_refused(tmp_path: Path) -> None:
    path = lightning(official(MAGVIT.variant), tmp_path / "w.ckpt", hyper_parameters={"args": Namespace(a=Evil())})
    with pytest.raises(BadWeights, match="is refused"):
        built(MAGVIT, path)


# ---- wrong pairs


@pytest.mark.parametrize(
    ("entry", "file", "says"),
    [
        ("vidtok-kl4", "vidtok_kl_causal_488_4chn.ckpt", "is of release 1.0; this is VidTok 1.1"),
        ("vidtok-1.0-kl4", "vidtok_kl_causal_488_4chn_v1_1.ckpt", "is of release 1.1; this is VidTok 1.0"),
        ("vidtok-kl4", "weights.ckpt", "has no release in its name"),
    ],
)
def test_vidtok_of_another_release_is_refused(entry: str, file: str, says: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(1)}}, tmp_path / file)
    with pytest.raises(BadWeights, match=says):
        loaded(entry, tmp_path / file)


@pytest.mark.parametrize(
    ("entry", "options", "width"),
    [
        ("lightvae-w2.1", {}, {"base_dim": 16}),
        ("lightvae-w2.2", {"base_dim": 8}, {"decoder_base_dim": 16}),
        ("lightvae-w2.2-half", {"base_dim": 8}, {"decoder_base_dim": 16}),
    ],
)
def test_weights_pruned_otherwise_are_of_another_network(
    entry: str, options: dict[str, int], width: dict[str, int], tmp_path: Path
) -> None:
    net = construct("AutoencoderKLWan", {**MODELS[entry].config, **options, **width})
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(BadWeights, match=r"another architecture.*misshaped: decoder\.|misshaped: encoder\."):
        loaded(entry, tmp_path / "w.safetensors", options=options)


def test_a_file_in_the_folder_of_weights_is_of_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVBENCH_WEIGHTS", str(tmp_path))
    sources = {name: entry.source for name, entry in MODELS.items() if entry.source}
    served: dict[Path, str] = {}
    for name, source in sources.items():
        for place in weights.places(name, source):
            assert served.setdefault(place, name) == name


def test_ibq_takes_the_largest_product_not_the_nearest_code() -> None:
    z, rule = torch.tensor([[[[1.0]], [[0.0]]]]), vqgan.VectorQuantizer(2, 2, "dot")
    rule.embedding.weight.data = torch.tensor([[1.0, 0.1], [9.0, 5.0]])
    near = vqgan.VectorQuantizer(2, 2)
    near.load_state_dict(rule.state_dict())
    assert (rule.indices(z).item(), near.indices(z).item()) == (1, 0)


def test_llamagen_compares_directions_and_decodes_rows_of_unit_length() -> None:
    rule = vqgan.VectorQuantizer(2, 2, "cosine")
    rule.embedding.weight.data = torch.tensor([[10.0, 0.0], [0.8, 0.6]])
    assert (
        rule.indices(torch.tensor([[[[0.9]], [[0.1]]]])).item() == 0
    )  # the second row is nearer, its direction is not
    assert rule.vectors(torch.tensor([[[0]]])).flatten().tolist() == [1.0, 0.0]


def test_titok_refuses_another_size_with_the_reason(tmp_path: Path) -> None:
    case = CODED[6]
    with pytest.raises(UnsuitableInput, match="was made for 64x64 and has no positions for 96x64"):
        built(case, save(case, tmp_path)).encode(torch.zeros(1, 3, 1, 96, 64))


def test_convolutions_that_no_layer_runs_are_the_only_ones_left_out(tmp_path: Path) -> None:
    case = CONTINUOUS[1]
    left = set(cosmos_names(official(case.variant))) - set(built(case, save(case, tmp_path)).net.state_dict())
    assert left
    assert all("samplers.0.conv" in name for name in left)
    state = {**official(case.variant), "encoder.extra.conv3d.weight": torch.ones(1)}
    save_file(state, tmp_path / "more.safetensors")
    with pytest.raises(BadWeights, match=r"unexpected: encoder\.extra\.weight"):
        built(case, tmp_path / "more.safetensors")


def test_haar_patches_are_undone() -> None:
    x = torch.rand(2, 3, 8, 16)
    torch.testing.assert_close(cosmos.from_patches(cosmos.to_patches(x)), x)
    assert cosmos.to_patches(torch.ones(1, 1, 2, 2)).flatten().tolist() == [1.0, 0.0, 0.0, 0.0]
