"""Crossings: who may decode whose latents, that nothing is lost where nothing can be, and how much where it must."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import scene
from PIL import Image

from cvbench.cli import run_program
from cvbench.core.errors import UsageError
from cvbench.core.protocol import EvalProtocol, derive, protocol
from cvbench.core.records import RunRecord
from cvbench.core.types import FrameRule, Traits
from cvbench.models import MODELS
from cvbench.models.building import construct
from cvbench.tables import lay_out, markdown
from cvbench.tables.crossing import Crossings, build_compat, verdict
from cvbench.tasks import crossdecoding as compat
from cvbench.tasks import reconstruction as bench
from cvbench.tasks.crossdecoding.plan import other_form, view
from cvbench.tasks.request import Request

IMAGE = Traits(1, 8, 4)
VIDEO = Traits(4, 8, 4, FrameRule(1, 4))
SMALL = protocol("cvvae-2405", ["size=32", "frames=5", "stride=1"])


def request(models: Sequence[str], data: Path | str, out: Path | None = None, changes: Sequence[str] = ()) -> Request:
    return Request(tuple(models), (str(data),), ("psnr", "ssim"), derive(SMALL, changes), device="cpu", out=out)


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    """A folder with two images of 64×48 and two clips of 9 frames."""
    folder = tmp_path / "footage"
    for i in range(2):
        (folder / f"clip{i}").mkdir(parents=True)
        Image.fromarray(scene(1, 48, 64, i)[:, 0].transpose(1, 2, 0)).save(folder / f"image{i}.png")
        for k, frame in enumerate(scene(9, 48, 64, 9 + i).transpose(1, 2, 3, 0)):
            Image.fromarray(frame).save(folder / f"clip{i}" / f"{k:05d}.png")
    return folder


def protocol_of_clips() -> EvalProtocol:
    return protocol("cvvae-2405", ["size=32", "frames=5", "stride=1", "psnr_mean=clip"])


MODULE = '''
import torch
from diffusers import AutoencoderKL
from cvbench.nets.cvvae import CVVAE, Form, inflate
from cvbench.core.types import FrameRule, Traits

FORM = Form(channels=8, multipliers=(1, 1, 1, 1), blocks=1, groups=2, temporal_attention=False, eps=1e-6)

def image_net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = AutoencoderKL(
            block_out_channels=(8,) * 4, down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4, layers_per_block=1, norm_num_groups=2,
            use_quant_conv=False, use_post_quant_conv=False,
        )
    return net.eval().requires_grad_(False)

class Still:
    """Random image VAE."""
    traits = Traits(1, 8, 4)
    def __init__(self):
        self.net = image_net()
    def encode(self, x):
        z = self.net.encode(2 * x.transpose(1, 2).flatten(0, 1) - 1).latent_dist.mode()
        return z.unflatten(0, (len(x), -1)).transpose(1, 2)
    def decode(self, z, frames):
        y = self.net.decode(z.transpose(1, 2).flatten(0, 1)).sample / 2 + 0.5
        return y.unflatten(0, (len(z), -1)).transpose(1, 2)

class Moving:
    """The same, inflated."""
    traits = Traits(4, 8, 4, FrameRule(1, 4), window=16)
    def __init__(self):
        self.net = CVVAE(FORM, None).eval().requires_grad_(False)
        self.net.load_state_dict(inflate(image_net().state_dict(), self.net))
    def encode(self, x):
        return self.net.encode(2 * x - 1)[0]
    def decode(self, z, frames):
        return self.net.decode(z) / 2 + 0.5

class Other(Still):
    """Another image VAE of the same shape."""
    def decode(self, z, frames):
        return super().decode(z.flip(1), frames)
'''


@pytest.fixture
def own(tmp_path: Path) -> dict[str, str]:
    """An untrained image VAE, the video VAE inflated from it, and one that reads its channels backwards."""
    file = tmp_path / "own.py"
    file.write_text(MODULE)
    return {name: f"{file}:{name}" for name in ("Still", "Moving", "Other")}


def found(records: Sequence[RunRecord], name: str, data: str) -> RunRecord:
    (record,) = [r for r in records if r.model.name == name and r.data.name.endswith(f":{data}")]
    return record


@pytest.mark.large
def test_an_inflated_untrained_video_vae_loses_nothing_at_one_frame(own: dict[str, str], footage: Path) -> None:
    records = compat.run(request([own["Still"], own["Moving"]], footage))
    assert [(r.error, r.failures) for r in records if not r.complete] == []
    crossings = Crossings(records)
    assert len(crossings.directions) == 2
    for encoder, decoder in crossings.directions:
        losses = {view.rpartition(":")[2]: loss for view, loss in crossings.losses((encoder, decoder)).items()}
        # group norm looks along time: the first latent of a whole clip is not that of its first frame
        for single in ("images", "first") if encoder == own["Still"] else ("images",):
            difference = losses[single].of("psnr")
            assert difference is not None
            assert difference.mean == pytest.approx(0, abs=1e-3)
    correlation = found(records, f"{own['Moving']}>{own['Still']}", "images").crossing
    assert correlation is not None
    np.testing.assert_allclose(correlation["latents"]["correlation"], 1, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["eight=raw", "resizer=float", "filter=bilinear"],
        pytest.param(["eight=floor"], marks=pytest.mark.large),  # another rounding in the same place
    ],
)
def test_a_model_with_itself_equals_plain_reconstruction(
    changes: list[str], own: dict[str, str], footage: Path
) -> None:
    specs = [own["Still"], own["Moving"]]
    plain = {record.model.name: record for record in bench.run(request(specs, footage, changes=changes))}
    records = compat.run(request(specs, footage, changes=changes))
    for spec, data in ((own["Still"], "images"), (own["Moving"], "images"), (own["Moving"], "clips-4")):
        crossed = found(records, spec, data)
        rows = {sample.id: sample.rows for sample in plain[spec].samples}
        assert crossed.samples
        for sample in crossed.samples:
            assert sample.rows == {name: rows[sample.id][name] for name in ("psnr", "ssim")}


def test_what_a_wrong_decoder_costs_is_the_difference_of_the_two_reconstructions(
    own: dict[str, str], footage: Path
) -> None:
    records = compat.run(request([own["Still"], own["Other"]], footage))
    crossings = Crossings(records)
    losses = crossings.losses((own["Still"], own["Other"]))
    images = next(loss for view, loss in losses.items() if view.endswith(":images"))
    decoder = found(records, own["Other"], "images").scores["psnr"].value
    crossed = found(records, f"{own['Still']}>{own['Other']}", "images").scores["psnr"].value
    difference = images.of("psnr")
    assert difference is not None
    assert difference.mean == pytest.approx(decoder - crossed, abs=1e-9)
    encoded = found(records, f"{own['Other']}>{own['Still']}", "images").scores["psnr"].value
    assert encoded == pytest.approx(found(records, own["Still"], "images").scores["psnr"].value, abs=1e-9)


def test_floors_are_compatible_where_nothing_moves_and_by_the_average(footage: Path) -> None:
    records = compat.run(request(["pool-8x8", "pool-4x8x8"], footage))
    for direction in Crossings(records).directions:
        losses = {view.rpartition(":")[2]: loss for view, loss in Crossings(records).losses(direction).items()}
        assert set(losses) == {"images", "static", "first", "average", "slice", "random"}
        for name in ("images", "static", "first", "average"):  # the video floor averages each group of four
            difference = losses[name].of("psnr")
            assert difference is not None
            assert difference.mean == pytest.approx(0, abs=1e-4)
        judged = verdict(losses)
        assert judged is not None
        assert judged.lost == pytest.approx(0, abs=1e-4)


def test_static_clips_hold_one_frame_and_clips_are_trimmed() -> None:
    clip = torch.arange(11.0).view(1, 1, 11, 1, 1).expand(1, 3, 11, 2, 2)
    frames = {name: view(clip, name, 4, 0)[0, 0, :, 0, 0].tolist() for name in ("static", "still", "clips", "slice")}
    assert frames == {
        "static": [0.0] * 9, "still": [0.0] * 3, "clips": [float(k) for k in range(9)], "slice": [0.0, 4.0, 8.0],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        (IMAGE, VIDEO, ""),
        (IMAGE, IMAGE, ""),
        (Traits(1, 16, 4), VIDEO, "16×16 pixels in one, 8×8 in the other"),
        (Traits(1, 8, 16), VIDEO, "16 and 4 channels"),
        (Traits(1, 8, 0, codebook=8192), VIDEO, "codes of 8192 and of no codebook entries"),
        (IMAGE, Traits(4, 8, 4, FrameRule(0, 4)), "1 [+] 4k frames, not of 4k"),
        (Traits(2, 8, 4, FrameRule(1, 2)), VIDEO, "2 frames in one, 4 in the other"),
        (Traits(4, 8, 4, FrameRule(0, 4)), VIDEO, "clips of 4k frames in one, 1 [+] 4k in the other"),
        (Traits(), VIDEO, "a codec's bytes are no latents"),
    ],
)
def test_latents_that_cannot_be_exchanged_are_refused_with_the_reason(a: Traits, b: Traits, reason: str) -> None:
    import re

    said = compat.mismatch(a, b)
    assert re.search(reason, said) if reason else said == ""


def test_a_refused_pair_is_named_in_the_table_and_the_others_are_measured(footage: Path, tmp_path: Path) -> None:
    records = compat.run(request(["pool-8x8", "pool-4x8x8", "identity"], footage, tmp_path / "out"))
    text = markdown(build_compat(records))
    assert "pool-8x8 and identity: a codec's bytes are no latents" in text
    assert "too few samples: 0.00 dB" in text
    kept = [RunRecord.load(path) for path in (tmp_path / "out" / "records").glob("*.json")]
    assert len(kept) == len(records)


@pytest.mark.parametrize("spec", ["label={}", "{}/diffusion_pytorch_model.safetensors@as=taesd"])
def test_scaled_latents_of_a_file_are_not_given_to_a_decoder_of_raw_ones(
    spec: str, own: dict[str, str], footage: Path, tmp_path: Path
) -> None:
    construct("AutoencoderTiny", {}).save_pretrained(tmp_path / "tiny")
    records = compat.run(request([spec.format(tmp_path / "tiny"), own["Still"]], footage))
    assert {record.error for record in records if record.error} != set()
    assert all("are scaled as for a diffusion model, the other's are raw" in (r.error or "") for r in records)


@pytest.mark.parametrize(
    ("forms", "says"),
    [
        ({"taew2.1": "scaled", "wan-2.1": "raw"}, "latents of taew2.1 are scaled"),
        ({"flux2": "raw", "taef2@tile=256": "scaled"}, "latents of taef2@tile=256 are scaled"),
        ({"lighttae-w2.1": "raw", "wan-2.1": "raw"}, ""),
        ({"taehv1.5": "scaled", "taehv1.5-super": "scaled"}, ""),
    ],
)
def test_latents_are_exchanged_in_one_form(forms: dict[str, str], says: str) -> None:
    assert {name: MODELS[name.partition("@")[0]].latents for name in forms} == forms
    assert other_form(forms).startswith(says)
    assert bool(other_form(forms)) == bool(says)


def test_noise_costs_more_the_more_there_is(footage: Path) -> None:
    records = compat.run(request(["pool-8x8", "pool-4x8x8"], footage))
    for model, data in (("pool-8x8", "images"), ("pool-4x8x8", "clips-4")):
        values = [found(records, model, data).scores["psnr"].value]
        values += [
            found(records, f"{model}+{level}σ", data).scores["psnr"].value for level in ("0.05", "0.1", "0.2", "0.4")
        ]
        assert all(more < less + 0.01 for less, more in pairwise(values))  # a little noise may even help a floor
        assert values[0] - values[-1] > 0.03


def test_rows_are_made_once(own: dict[str, str], footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request(["pool-8x8", "pool-4x8x8"], footage)
    before = compat.run(asked)
    monkeypatch.setattr("cvbench.tasks.crossdecoding.task.measure_pairs", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr("cvbench.models.floors.Pool8x8.encode", lambda *_: pytest.fail("encoded again"))
    after = compat.run(asked)
    assert [r.scores for r in after] == [r.scores for r in before]
    assert [r.crossing for r in after] == [r.crossing for r in before]


def test_a_network_that_fails_on_a_clip_is_named_and_the_rest_goes_on(tmp_path: Path, footage: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text(
        MODULE + "class Bad(Still):\n    def decode(self, z, frames):\n        raise RuntimeError('no memory')\n"
    )
    records = compat.run(request([f"{file}:Bad", f"{file}:Still"], footage))
    bad = found(records, f"{file}:Still>{file}:Bad", "images")
    assert bad.error is not None
    assert "no memory" in bad.error
    assert found(records, f"{file}:Bad>{file}:Still", "images").scores["psnr"].n == 2


def test_a_model_that_gives_no_picture_of_its_own_latents_has_no_score(tmp_path: Path, footage: Path) -> None:
    """As in plain reconstruction; of another model's latents a flat picture is what the crossing costs."""
    file = tmp_path / "flat.py"
    file.write_text(
        MODULE + "class Flat(Still):\n    def decode(self, z, frames):\n        return 0 * super().decode(z, frames)\n"
    )
    records = compat.run(request([f"{file}:Flat", f"{file}:Still"], footage))
    flat = found(records, f"{file}:Flat", "images")
    assert "constant" in (flat.error or "")
    assert not flat.scores
    assert found(records, f"{file}:Still>{file}:Flat", "images").scores["psnr"].n == 2


def test_records_of_both_suites_stand_in_one_output(footage: Path) -> None:
    asked = request(["pool-8x8", "pool-4x8x8"], footage)
    text = markdown(lay_out([*compat.run(asked), *bench.run(asked)]))
    assert "Compatibility of latent spaces" in text
    assert "bpp" in text  # a column of plain reconstruction alone


def test_psnr_lost_is_averaged_as_the_protocol_says(own: dict[str, str], footage: Path) -> None:
    asked = replace(request([own["Still"], own["Other"]], footage), protocol=protocol_of_clips())
    records = compat.run(asked)
    loss = next(
        loss
        for view, loss in Crossings(records).losses((own["Still"], own["Other"])).items()
        if view.endswith(":clips")
    )
    difference = loss.of("psnr")
    assert difference is not None
    scores = (found(records, own["Other"], "clips-1"), found(records, f"{own['Still']}>{own['Other']}", "clips-1"))
    expected = scores[0].scores["psnr"].value - scores[1].scores["psnr"].value
    assert difference.mean == pytest.approx(expected, abs=1e-9)


def test_latents_that_cannot_be_described_are_named(footage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: np.ndarray) -> np.ndarray:
        raise ValueError("no sums")

    monkeypatch.setattr("cvbench.metrics.latents.sums", broken)
    records = compat.run(request(["pool-8x8", "pool-4x8x8"], footage))
    assert "no sums" in str(found(records, "pool-8x8", "images").error)


def test_one_model_alone_is_a_usage_error(footage: Path) -> None:
    with pytest.raises(UsageError, match="name two or more"):
        compat.run(request(["pool-8x8"], footage))


def test_codes_are_counted(tmp_path: Path, footage: Path) -> None:
    file = tmp_path / "codes.py"
    file.write_text(
        "import torch\nfrom cvbench.core.types import Traits\n"
        "class Codes:\n"
        "    traits = Traits(1, 8, 0, codebook=16)\n"
        "    def encode(self, x):\n"
        "        return (x[:, 0, :, ::8, ::8] * 15).round().long()\n"
        "    def decode(self, z, frames):\n"
        "        wide = z.repeat_interleave(8, 2).repeat_interleave(8, 3) / 15\n"
        "        return wide[:, None].repeat(1, 3, 1, 1, 1).float()\n"
        "class Twin(Codes):\n    pass\n"
    )
    records = compat.run(request([f"{file}:Codes", f"{file}:Twin"], footage))
    crossing = found(records, f"{file}:Codes", "images").crossing
    assert crossing is not None
    known = crossing["latents"]
    assert known["n"] == 2 * 4 * 4  # 32×32 pixels in cells of 8×8, two images
    assert 1 < known["codes_seen"] <= 16
    assert 0 < known["entropy_bits"] <= 4
    assert "Use of the codebook" in markdown(build_compat(records))


def test_the_command_line_runs_it_and_table_prints_it_again(
    footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "compat"
    line = ["run", "--suite", "compat", "--models", "pool-8x8,pool-4x8x8", "--data", str(footage), "--metrics", "psnr"]
    line += ["--set", "size=48", "--set", "frames=9", "--set", "stride=1", "--out", str(out)]
    assert run_program(line) == 0
    printed = capsys.readouterr().out
    assert "Compatibility of latent spaces" in printed
    assert run_program(["table", str(out)]) == 0
    assert capsys.readouterr().out.strip() == printed.strip()
    for path in (out / "records").glob("*.json"):
        json.loads(path.read_text(), parse_constant=pytest.fail)  # NaN and Infinity are no JSON


def test_the_default_pair_is_image_and_video_of_one_shape() -> None:
    assert compat.mismatch(MODELS["tiny-image"].traits, MODELS["tiny-video"].traits) == ""
    assert compat.mismatch(MODELS["vae-sd21"].traits, MODELS["cvvae"].traits) == ""
    assert compat.mismatch(MODELS["vae-sd3"].traits, MODELS["cvvae-sd3"].traits) == ""
    assert compat.mismatch(MODELS["vae-sd21"].traits, MODELS["cvvae-sd3"].traits)


@pytest.mark.parametrize("change", ["window=17", "through=mp4v", "eight_nets=none", "padding=black"])
def test_fields_that_cross_decodings_do_not_heed_are_refused(change: str) -> None:
    chosen = protocol("cvvae-2405", [change])
    request = Request(("identity", "jpeg"), ("sample",), ("psnr",), chosen, device="cpu")
    with pytest.raises(UsageError, match=change.partition("=")[0]):
        compat.run(request)
