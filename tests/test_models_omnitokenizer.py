"""OmniTokenizer against recorded outputs of FoundationVision/OmniTokenizer 701b619, in both readings, and its files."""

import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from zoo2 import close, loaded, official, pixels, same_codes, shapes, shapes_of

from cvbench.core.errors import BadWeights, UnsuitableInput, UsageError
from cvbench.models import MODELS
from cvbench.models.tokenizers import of_layout
from cvbench.nets import omnitokenizer

SMALL = {"width": 64, "heads": 2, "window": 4, "codes": 256}
ENTRIES = {"omnitokenizer-small": "omnitokenizer", "omnitokenizer-vae-small": "omnitokenizer-vae"}
TRAINED = {"casual_in_peg": True, "casual_in_temporal_transformer": True, "l2_code": True, "spatial_pos": "rope"}
UNUSED = {
    "discriminator.weight": torch.ones(2),
    "perceptual_model.lin0": torch.ones(2),
    "codebook.N": torch.ones(256),
    "codebook.z_avg": torch.ones(256, 8),
    "encoder.enc_spatial_transformer.layers.2.1.relative_position_index": torch.zeros(16, 16, dtype=torch.int64),
}
"""What published checkpoints hold beside the tokenizer."""


def save(variant: str, folder: Path, args: Any = None, **more: Tensor) -> Path:
    """Save a Lightning checkpoint as the training code does."""
    said = Namespace(**TRAINED) if args is None else args
    state = {**official(variant), **UNUSED, **more}
    torch.save({"state_dict": state, "hyper_parameters": {"args": said}}, folder / "w.ckpt")
    return folder / "w.ckpt"


def built(variant: str, path: Path, **options: Any) -> Any:
    return loaded(ENTRIES[variant], path, options={**SMALL, **options})


def clip(key: str, case: str) -> Tensor:
    """The recorded input in [0, 1]."""
    shape = (2, 3, 1, 64, 64) if case == "image" else (1, 3, 9, 64, 64)
    return pixels(key, shape, -0.5, 0.5) + 0.5


@pytest.mark.parametrize(("case", "letter", "alibi"), [("image", "a", 0), ("t9", "", 0), ("t9", "", 1)])
def test_codes_and_pixels_are_the_official_ones(case: str, letter: str, alibi: int, tmp_path: Path) -> None:
    variant, reading = "omnitokenizer-small", "_alibi" if alibi else ""
    key = f"{variant}/{case}"
    model = built(variant, save(variant, tmp_path), alibi=alibi)
    x = clip(key + letter, case)
    with torch.inference_mode():
        close(model.net.latents(x - 0.5), f"{key}/z{reading}")
        codes = model.encode(x)
        if not alibi:  # of the other reading no margin was recorded
            same_codes(codes, key)
        recon = model.decode(codes, x.shape[2]) - 0.5
    close(recon.squeeze(2) if case == "image" else recon, f"{key}/recon{reading}", 8)


@pytest.mark.parametrize(("case", "alibi"), [("image", 0), ("t9", 0), ("t9", 1)])
def test_means_and_pixels_are_the_official_ones(case: str, alibi: int, tmp_path: Path) -> None:
    variant, reading = "omnitokenizer-vae-small", "_alibi" if alibi else ""
    key = f"{variant}/{case}"
    model = built(variant, save(variant, tmp_path), alibi=alibi)
    x = clip(key, case)
    with torch.inference_mode():
        z = model.encode(x)
        close(z, f"{key}/z{reading}")
        recon = model.decode(z, x.shape[2]) - 0.5
    close(recon.squeeze(2) if case == "image" else recon, f"{key}/recon{reading}", 8)


def test_means_are_drawn_from_where_the_protocol_asks(tmp_path: Path) -> None:
    variant = "omnitokenizer-vae-small"
    path = save(variant, tmp_path)
    drawn = loaded("omnitokenizer-vae", path, options=SMALL, posterior="sample")
    x = clip(f"{variant}/image", "image")
    with torch.inference_mode():
        mean, logvar = drawn.net.latents(x - 0.5).chunk(2, dim=1)
        normal = (drawn.encode(x) - mean) / (logvar / 2).exp()
    assert normal.mean().item() == pytest.approx(0, abs=0.1)  # of 1,024 draws
    assert normal.std().item() == pytest.approx(1, abs=0.1)


def test_full_size_tensors_are_the_official_ones() -> None:
    with torch.device("meta"):
        net = omnitokenizer.OmniTokenizer(of_layout(omnitokenizer.Layout(), MODELS["omnitokenizer"].config))
    assert shapes_of(net) == shapes("omnitokenizer-full")


def test_no_frame_sees_later_ones_and_the_first_reading_lowers_distant_ones() -> None:
    like = torch.zeros(1)
    plain, alibi = (omnitokenizer.by_distance(3, 2, on, like) for on in (False, True))
    never = -torch.inf
    assert plain[0].tolist() == [[0, never, never], [0, 0, never], [0, 0, 0]]
    slopes = [2**-4, 2**-8]  # of two heads: 2 to the -8 (h + 1) / 2
    assert alibi[:, 2].tolist() == [[-2 * slope, -slope, 0] for slope in slopes]


def test_only_squares_are_coded(tmp_path: Path) -> None:
    model = built("omnitokenizer-small", save("omnitokenizer-small", tmp_path))
    with pytest.raises(UnsuitableInput, match=r"square frames whose sides are multiples of 32.*got 64x32"):
        model.encode(torch.zeros(1, 3, 1, 64, 32))


def test_another_reading_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"alibi=2: it is 0 .* or 1"):
        built("omnitokenizer-small", save("omnitokenizer-small", tmp_path), alibi=2)


# ---- twins


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("echo run",)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def trained_otherwise(path: Path) -> None:
    save("omnitokenizer-small", path.parent, Namespace(**{**TRAINED, "casual_in_peg": False}))


def malicious(path: Path) -> None:
    save("omnitokenizer-small", path.parent, Namespace(a=Evil()))


def without_a_tensor(path: Path) -> None:
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint["state_dict"]["decoder.to_pixels.0.bias"]
    torch.save(checkpoint, path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (cut, "is damaged"),
        (malicious, "is refused"),
        (trained_otherwise, "was trained with casual_in_peg=False; this network has True"),
        (without_a_tensor, r"missing: decoder\.to_pixels\.0\.bias"),
        (lambda path: save("omnitokenizer-vae-small", path.parent), r"misshaped: pre_vq_conv\.1\.weight \(16, 64\)"),
        (lambda path: torch.save({"state_dict": {}}, path), "holds no tensors"),
    ],
    ids=["cut", "malicious", "trained otherwise", "a tensor less", "of the VAE", "empty"],
)
def test_files_that_are_no_omnitokenizer_are_refused(
    change: Callable[[Path], object], says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = save("omnitokenizer-small", tmp_path)
    change(path)
    with pytest.raises(BadWeights, match=says):
        built("omnitokenizer-small", path)
    assert "run" not in capfd.readouterr().out
