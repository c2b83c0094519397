"""The TAESD family against recorded outputs of the official code.

Sources: madebyollin/taesd `taesd.py` at 5cccb12, madebyollin/taesdv `taesdv.py` at 1b2655e.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from zoo2 import close, loaded, official, pixels, recorded, shapes, shapes_of

from cvbench import weights
from cvbench.core.errors import BadWeights, UnsuitableInput, UsageError
from cvbench.models import MODELS
from cvbench.models.building import construct
from cvbench.nets import taesd

LAYOUT = {"taesd": "taesd", "taef1": "taesd3", "taef2": "taef2", "taesana": "taesana"}
SIZES = {"sq": (2, 3, 64, 64), "wide": (1, 3, 64, 96)}
CASES = ["taesd/wide", "taef1/wide", "taef2/sq", "taef2/wide", "taesana/wide"]


def in_two(folder: Path, variant: str, stem: str, dtype: torch.dtype = torch.float16) -> Path:
    """Save encoder and decoder as they are published, both with the names of one network."""
    for half in ("encoder", "decoder"):
        part = {k.removeprefix(f"{half}."): v for k, v in official(variant).items() if k.startswith(half)}
        torch.save({k: v.to(dtype) for k, v in part.items()}, folder / f"{stem}_{half}.pth")
    return folder


@pytest.mark.parametrize("key", CASES)
def test_images_give_the_official_latents_and_pixels(key: str) -> None:
    variant, case = key.split("/")
    net = taesd.TAESD(taesd.LAYOUTS[LAYOUT[variant]]).eval().requires_grad_(False)
    net.load_state_dict(official(variant))
    z = net.encode(pixels(key, SIZES[case]))
    close(z, f"{key}/z")
    close(net.decode(z), f"{key}/recon", 2)


def test_clips_give_the_official_latents_and_pixels() -> None:
    net = taesd.TAESDV().eval().requires_grad_(False)
    net.load_state_dict(official("taesdv"))
    z = net.encode(pixels("taesdv/t3", (2, 3, 3, 32, 48)))
    close(z, "taesdv/t3/z")
    close(net.decode(z), "taesdv/t3/recon", 2)


@pytest.mark.parametrize(("name", "variant"), [("taesd", "taesd"), ("taef1", "taef1"), ("taef2", "taef2")])
def test_two_files_are_one_network(name: str, variant: str, tmp_path: Path) -> None:
    folder = in_two(tmp_path, variant, name, torch.float32)
    key = f"{variant}/wide"
    with torch.inference_mode():
        for path in (folder, folder / f"{name}_encoder.pth"):
            model = loaded(name, path)
            z = model.encode(pixels(key, SIZES["wide"])[:, :, None])
            close(z[:, :, 0], f"{key}/z")
        close(model.decode(z, 1)[:, :, 0], f"{key}/recon", 2)
    assert model.params == MODELS[name].params


def test_what_diffusers_saved_is_taken_before_halves_beside_it(tmp_path: Path) -> None:
    in_two(tmp_path, "taesd", "taesd", torch.float32)
    net = construct("AutoencoderTiny", {})
    net.save_pretrained(tmp_path)
    wanted = net.encoder.layers[0].weight
    assert torch.equal(loaded("taesd", tmp_path).net.encoder.layers[0].weight, wanted)
    halves = loaded("taesd", tmp_path / "taesd_decoder.pth").net
    assert not torch.equal(halves.encoder.layers[0].weight, wanted)


def test_halves_beside_weights_of_another_class_are_none_of_its_own(tmp_path: Path) -> None:
    in_two(tmp_path, "taesd", "taesd")
    with pytest.raises(BadWeights, match="name the one that is meant"):
        loaded("vae-sd21", tmp_path)


@pytest.mark.parametrize("name", ["taesd_encoder.pth", "taesd_decoder.pth"])
def test_halves_of_another_name_in_the_folder_do_not_matter_to_a_named_one(name: str, tmp_path: Path) -> None:
    key = "taesd/wide"
    in_two(in_two(tmp_path, "taesd", "taesd", torch.float32), "taef1", "taef1")
    with torch.inference_mode():
        close(loaded("taesd", tmp_path / name).encode(pixels(key, SIZES["wide"])[:, :, None])[:, :, 0], f"{key}/z")


def test_halves_of_two_names_are_not_one_network(tmp_path: Path) -> None:
    for stem, half in (("taesd", "encoder"), ("taesdxl", "decoder")):
        (in_two(tmp_path, "taesd", "x") / f"x_{half}.pth").rename(tmp_path / f"{stem}_{half}.pth")
        for left in tmp_path.glob("x_*"):
            left.unlink()
    with pytest.raises(BadWeights, match="halves of taesd, taesdxl: name the file"):
        loaded("taesd", tmp_path)


def test_a_network_in_one_file_may_be_called_like_a_half(tmp_path: Path) -> None:
    torch.save(official("taef2"), tmp_path / "best_decoder.pth")
    assert loaded("taef2", tmp_path / "best_decoder.pth").traits.channels == 32


def test_half_precision_of_the_files_is_no_half_precision_of_the_network(tmp_path: Path) -> None:
    model = loaded("taef2", in_two(tmp_path, "taef2", "taef2"))
    assert model.computes_in == "fp32"


def swap(folder: Path) -> None:
    for half, other in (("encoder", "x"), ("decoder", "encoder"), ("x", "decoder")):
        (folder / f"taef2_{half}.pth").rename(folder / f"taef2_{other}.pth")


def cut(folder: Path) -> None:
    content = (folder / "taef2_decoder.pth").read_bytes()
    (folder / "taef2_decoder.pth").write_bytes(content[: len(content) // 2])


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return print, ("run",)


def poison(folder: Path) -> None:
    torch.save({"0.weight": Evil()}, folder / "taef2_encoder.pth")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (swap, "another architecture"),
        (cut, "taef2_decoder.pth is damaged"),
        (poison, "taef2_encoder.pth is refused"),
        (lambda folder: (folder / "taef2_decoder.pth").unlink(), "no taef2_decoder.pth"),
        (lambda folder: in_two(folder, "taef1", "taef2"), "misshaped: encoder.14.weight|missing: encoder.11.pool"),
    ],
    ids=["swapped", "cut", "malicious", "one alone", "another network's"],
)
def test_two_files_that_are_no_network_are_refused(
    change: Callable[[Path], object], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(in_two(tmp_path, "taef2", "taef2"))
    with pytest.raises(BadWeights, match=says):
        loaded("taef2", tmp_path)
    assert not capsys.readouterr().out


def test_a_folder_and_either_file_in_it_are_known_by_the_same(tmp_path: Path) -> None:
    source = MODELS["taef2"].source
    assert source
    in_two(in_two(tmp_path, "taesd", "taesd"), "taef2", "taef2")
    places = (tmp_path, tmp_path / "taef2_encoder.pth", tmp_path / "taef2_decoder.pth")
    found = {weights.identity(place, source).sha256 for place in places}
    assert len(found) == 1
    torch.save({"0.weight": torch.ones(1)}, tmp_path / "taef2_decoder.pth")
    assert weights.identity(tmp_path, source).sha256 not in found


def test_other_networks_in_the_folder_do_not_matter(tmp_path: Path) -> None:
    in_two(in_two(tmp_path, "taesd", "taesd"), "taef2", "taef2")
    assert loaded("taef2", tmp_path).traits.channels == 32


def test_tiles_change_pictures_larger_than_one(tmp_path: Path) -> None:
    folder = in_two(tmp_path, "taef2", "taef2")
    whole, tiled = (loaded("taef2", folder, tiling=tiling, options={"tile": 64}) for tiling in (False, True))
    x = pixels("tiles", (1, 3, 64, 96))[:, :, None]
    with torch.inference_mode():
        assert torch.equal(tiled.encode(x[..., :64]), whole.encode(x[..., :64]))
        assert tiled.encode(x).shape == whole.encode(x).shape
        assert not torch.equal(tiled.encode(x), whole.encode(x))  # statistics of the picture are those of a tile
        z = whole.encode(x)
        assert tiled.decode(z, 1).shape == x.shape


def test_tiles_that_do_not_divide_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="multiples of 32"):
        loaded("taef2", in_two(tmp_path, "taef2", "taef2"), tiling=True, options={"tile": 100})


def test_sides_that_would_not_come_back_are_refused() -> None:
    with pytest.raises(UnsuitableInput, match="got 12x8"):
        taesd.TAESD(taesd.LAYOUTS["taef2"]).encode(torch.zeros(1, 3, 12, 8))


def test_statistics_of_the_whole_picture_are_in_every_latent_of_taef2() -> None:
    net = taesd.TAESD(taesd.LAYOUTS["taef2"]).eval().requires_grad_(False)
    net.load_state_dict(official("taef2"))
    x: Tensor = pixels("whole", (1, 3, 32, 256))
    changed = torch.cat([x[..., :248], 1 - x[..., 248:]], dim=-1)
    assert (net.encode(x) - net.encode(changed))[..., 0].abs().max() > 1e-6


@pytest.mark.parametrize("variant", [*LAYOUT, "taesdv"])
def test_tensors_are_the_official_ones(variant: str) -> None:
    with torch.device("meta"):
        net = taesd.TAESDV() if variant == "taesdv" else taesd.TAESD(taesd.LAYOUTS[LAYOUT[variant]])
    assert shapes_of(net) == shapes(variant)
    assert recorded(f"{variant}/{'t3' if variant == 'taesdv' else 'wide'}/z").shape[1] == net.layout.channels
