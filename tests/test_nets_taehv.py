"""Layouts of TAEHV that came later, against recorded outputs of the official code.

Sources: madebyollin/taehv `taehv.py` at 1f14a56, the wide one's of branch 2026_03_11_taeltx23_wide at 32ac014; taem1 at
863c0eb; ModelTC/LightX2V `tae.py` at f8aee98b.
"""

import pytest
import torch
from zoo2 import close, official, pixels, shapes, shapes_of

from cvbench.models import MODELS
from cvbench.nets import taehv

CASES = [
    ("taeh3/t5", (1, 3, 5, 32, 48), 2),
    ("taehv1_5_super/t6", (2, 3, 6, 32, 32), 4),
    ("taew2_2_super/t5", (1, 3, 5, 32, 48), 2),
    ("taecvx/t8", (1, 3, 8, 16, 24), 2),
    ("taecvx/t9", (1, 3, 9, 16, 24), 2),
    ("taem1/t6", (1, 3, 6, 32, 48), 2),
    ("taeltx2_3_wide/t9", (1, 3, 9, 32, 64), 4),
    ("lighttaehy1_5/t5", (1, 3, 5, 32, 48), 2),
    pytest.param("taeh3/t22", (1, 3, 22, 32, 32), 4, marks=pytest.mark.large),
    pytest.param("taehv1_5_super/t5", (1, 3, 5, 32, 48), 2, marks=pytest.mark.large),
    pytest.param("taew2_2_super/t6", (2, 3, 6, 32, 32), 4, marks=pytest.mark.large),
]
SIGNED = ("lighttaehy1_5",)


@pytest.mark.parametrize(("key", "shape", "stride"), CASES)
def test_clips_give_the_official_latents_and_pixels(key: str, shape: tuple[int, ...], stride: int) -> None:
    variant = key.split("/")[0]
    with torch.device("meta"):
        net = taehv.TAEHV(taehv.LAYOUTS[variant])
    net.load_state_dict(official(variant), assign=True)
    with torch.inference_mode():
        z = net.encode(pixels(key, shape, -1 if variant in SIGNED else 0))
        close(z, f"{key}/z")
        close(net.decode(z), f"{key}/recon", stride)


@pytest.mark.parametrize(
    "layout", ["taeh3", "taehv1_5_super", "taew2_2_super", "taecvx", "taem1", "taeltx2_3_wide", "lighttaehy1_5"]
)
def test_tensors_are_the_official_ones(layout: str) -> None:
    with torch.device("meta"):
        assert shapes_of(taehv.TAEHV(taehv.LAYOUTS[layout])) == shapes(layout)


@pytest.mark.parametrize(("frames", "latents"), [(5, 2), (22, 7), (39, 12)])
def test_chunks_of_seventeen_frames_give_five_latents_but_for_the_last_three(frames: int, latents: int) -> None:
    layout = taehv.Layout(channels=2, chunk=17, widths=(8, 8, 8, 8))
    net = taehv.TAEHV(layout).eval().requires_grad_(False)
    z = net.encode(torch.rand(1, 3, frames, 16, 16))
    assert z.shape[2] == latents
    assert net.decode(z).shape[2] == frames


@pytest.mark.parametrize(("frames", "back"), [(3, 5), (6, 5), (17, 5), (18, 22), (34, 22)])
def test_other_lengths_come_back_as_the_reference_gives_them(frames: int, back: int) -> None:
    net = taehv.TAEHV(taehv.Layout(channels=2, chunk=17, widths=(8, 8, 8, 8))).eval().requires_grad_(False)
    assert net.decode(net.encode(torch.rand(1, 3, frames, 8, 8))).shape[2] == back


def test_a_chunk_is_coded_by_itself() -> None:
    net = taehv.TAEHV(taehv.Layout(channels=2, chunk=17, widths=(8, 8, 8, 8))).eval().requires_grad_(False)
    x = torch.rand(1, 3, 34, 8, 8)
    changed = torch.cat([1 - x[:, :, :17], x[:, :, 17:]], dim=2)
    torch.testing.assert_close(net.encode(x)[:, :, 5:], net.encode(changed)[:, :, 5:])


@pytest.mark.parametrize("name", ["taeh3", "taem1", "taehv1.5-super", "taeltx2.3-wide", "lighttae-hy1.5"])
def test_entries_count_the_parameters_of_their_layouts(name: str) -> None:
    with torch.device("meta"):
        net = taehv.TAEHV(taehv.LAYOUTS[MODELS[name].config["layout"]])
    assert MODELS[name].params == tuple(
        sum(p.numel() for p in half.parameters()) for half in (net.encoder, net.decoder)
    )
