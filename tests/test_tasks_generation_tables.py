"""Generated samples to the numbers of published tables: against the scoring of their files, and in the tables."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import scene
from PIL import Image
from tiny_pipelines import save_stable_diffusion

from cvbench.cli import run_program
from cvbench.core.records import RunRecord, read_records
from cvbench.engine import measuring
from cvbench.probes import FeatureLoading

pytestmark = pytest.mark.usefixtures("textures")
GENERATOR = np.random.default_rng(0)
WEIGHTS = torch.from_numpy(GENERATOR.standard_normal((3, 5)).astype(np.float32))
FAST = ("--set", "size=32", "--set", "steps=3", "--device", "cpu")


class Network:
    """A network of random weights in place of Inception, I3D, CLIP and DreamSim: of colours, by frame or by clip."""

    version = "random"

    def __init__(self, name: str) -> None:
        self.by_clip = name.startswith("i3d")

    def rows(self, video: torch.Tensor) -> np.ndarray:
        found = torch.tanh(video - 0.4).mean((2, 3)).T @ WEIGHTS
        moved = (video[:, 1:] - video[:, :-1]).abs().mean() if video.shape[1] > 1 else video.new_zeros(())
        made: np.ndarray = (found.mean(0, keepdim=True) + moved if self.by_clip else found).numpy()
        return made

    def text_rows(self, prompts: Sequence[str]) -> np.ndarray:
        return np.array([[len(text), 1, -2, 3, 1] for text in prompts], np.float32)


@pytest.fixture(autouse=True)
def _networks(monkeypatch: pytest.MonkeyPatch) -> None:
    def loading(name: str, device: torch.device, *_: object) -> FeatureLoading:
        return FeatureLoading("random", name, device)

    monkeypatch.setattr(measuring, "feature_loading", loading)
    monkeypatch.setattr(measuring, "load_feature_probe", lambda name, *_: Network(name))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Seven captioned pictures, laid out as COCO has them."""
    root = tmp_path / "coco"
    (root / "val2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    for i in range(7):
        Image.fromarray(scene(1, 48, 64, i)[:, 0].transpose(1, 2, 0)).save(root / "val2017" / f"{i:012d}.jpg")
    captions = [{"id": 9 * i, "image_id": i, "caption": f"a picture {'of red ' * i}"} for i in range(7)]
    (root / "annotations" / "captions_val2017.json").write_text(json.dumps({"annotations": captions}))
    return root


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Seven clips of 17 numbered frames."""
    folder = tmp_path / "clips"
    for i in range(7):
        (folder / f"clip{i}").mkdir(parents=True)
        for k, frame in enumerate(scene(17, 48, 64, i).transpose(1, 2, 3, 0)):
            Image.fromarray(frame).save(folder / f"clip{i}" / f"{k:05d}.png")
    return folder


def record(folder: Path, model: str = "") -> RunRecord:
    (found,) = (each for each in read_records([folder]) if not model or each.model.name == model)
    return found


def means(found: RunRecord, probe: str) -> np.ndarray:
    return np.array([np.mean(sample.rows[probe]) for sample in sorted(found.samples, key=lambda s: s.id)])


def test_pictures_score_in_memory_as_their_files_do(coco: Path, tmp_path: Path) -> None:
    row, base, data = "gaussian-t2i+tiny-image@decode=each", "gaussian-t2i", f"coco-val={coco}"
    line = ["run", "--suite", "t2i", "--models", f"{base},{row}", "--data", data, "--no-speed", "--pictures", "0"]
    line += ["--metrics", "fid,clip,pic,clip-change,pic-change,psnr", *FAST]
    assert run_program([*line, "--out", str(tmp_path / "run")]) == 0
    drawn = ["generate", row, "--data", data, "--out", str(tmp_path / "drawn"), "--frames", *FAST]
    assert run_program(drawn) == 0
    score = ["score", "-g", str(tmp_path / "drawn"), "-r", data, "--protocol", "cvbench-gen-1", "--device", "cpu"]
    score += ["--set", "size=32", "--set", "frames=1", "--metrics", "fid,clip,pic", "--out", str(tmp_path / "score")]
    assert run_program([*score, "--first-frames", str(coco / "val2017")]) == 0
    mine, plain, scored = (record(tmp_path / "run", row), record(tmp_path / "run", base), record(tmp_path / "score"))
    assert set(scored.scores) == {"fid", "clip", "pic"}
    for name, score_of_files in scored.scores.items():
        assert mine.scores[name].value == pytest.approx(score_of_files.value, rel=1e-5)
        assert mine.scores[name].n == score_of_files.n == 7
    assert mine.scores["fid"].value == pytest.approx(plain.scores["fid"].value)  # one VAE, in two ways
    assert abs(mine.scores["clip-change"].value) < 1e-6


def test_videos_score_in_memory_as_their_files_do_and_at_equal_frames(clips: Path, tmp_path: Path) -> None:
    base, row, smooth = "gaussian-i2v", "gaussian-i2v+tiny-video-none", "gaussian-i2v+interp-linear@4x"
    line = ["run", "--suite", "i2v", "--models", f"{base},{row},{smooth}", "--data", str(clips), "--no-speed"]
    line += ["--metrics", "fvd,kvd,pic,fvd-aligned,kvd-aligned,pic-change", "--set", "frames=17", *FAST]
    assert run_program([*line, "--pictures", "0", "--out", str(tmp_path / "run")]) == 0
    found = {name: record(tmp_path / "run", name) for name in (base, row, smooth)}
    for name, frames, stride in ((base, 5, 4), (row, 17, 1)):
        drawn = tmp_path / f"drawn{frames}"
        assert run_program(["generate", name, "--data", str(clips), "--set", "frames=17", "--out", str(drawn),
                            "--frames", *FAST]) == 0  # fmt: skip
        reference = tmp_path / f"every{stride}"
        for clip in clips.iterdir():
            (reference / clip.name).mkdir(parents=True)
            for place, frame in enumerate(sorted(clip.iterdir())[::stride]):
                (reference / clip.name / f"{place:05d}.png").write_bytes(frame.read_bytes())
        score = ["score", "-g", str(drawn), "-r", str(reference), "--device", "cpu", "--set", "size=32"]
        score += ["--set", f"frames={frames}", "--set", "stride=1", "--metrics", "fvd,kvd,pic"]
        assert run_program([*score, "--first-frames", str(clips), "--out", str(tmp_path / f"score{frames}")]) == 0
        for metric, of_files in record(tmp_path / f"score{frames}").scores.items():
            assert found[name].scores[metric].value == pytest.approx(of_files.value, rel=1e-4), (name, metric)
    for metric in ("fvd", "kvd"):  # of the base every frame is at its own positions; interpolation keeps them as bytes
        assert found[base].scores[f"{metric}-aligned"].value == pytest.approx(found[base].scores[metric].value)
        aligned = found[smooth].scores[f"{metric}-aligned"].value
        assert aligned == pytest.approx(found[base].scores[metric].value, rel=1e-5)
        assert "5 frames against 5" in found[row].scores[f"{metric}-aligned"].note
    paired = means(found[row], "pic") - means(found[base], "pic")
    assert found[row].scores["pic-change"].value == pytest.approx(paired.mean(), rel=1e-6)
    assert found[row].scores["pic-change"].low is not None


@pytest.mark.parametrize(
    ("number", "suite", "columns"),
    [
        (3, "i2v", ["FVD aligned", "Frames"]),
        pytest.param(2, "t2i", ["FID", "CLIP", "PIC"], marks=pytest.mark.large),
        pytest.param(4, "i2v", ["SVD + RIFE"], marks=pytest.mark.large),
        pytest.param(5, "t2v", ["F.C.", "T.A.", "Frames"], marks=pytest.mark.large),
    ],
)  # fmt: skip
def test_published_tables_have_stand_ins_below_their_cells(
    number: int, suite: str, columns: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / suite)
    assert run_program(["table", str(number), "--published"]) == 0
    empty = capsys.readouterr().out
    (command,) = (text.split("`")[1] for text in empty.splitlines() if "makes the records" in text)
    assert f"cvbench run --suite {suite} --models gaussian-{suite}" in command
    names = command.split()[command.split().index("--models") + 1]
    plain = ",".join(name for name in names.split(",") if "tiny-video" not in name)
    asked = ["--models", plain, "--no-speed", "--pictures", "0", "--limit", "3", "--metrics", "psnr", *FAST]
    assert run_program(["run", "--suite", suite, *asked, "--out", out]) == 0
    capsys.readouterr()
    assert run_program(["table", str(number), "--from", out, "--published"]) == 0
    table = capsys.readouterr().out
    assert "textures, not pictures" in table
    assert all(word in table for word in columns)
    assert "under-sampled" in table
    assert run_program(["check", out, "--against", out]) == 0


@pytest.mark.filterwarnings("ignore")
def test_a_pipeline_of_other_weights_is_told_from_the_published_one(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    folder = save_stable_diffusion(tmp_path / "pipe")
    line: list[Any] = ["run", "--suite", "t2i", "--models", "sd21", "--data", f"coco-val={coco}", "--limit", "2"]
    line += ["--metrics", "fid,clip,pic", "--no-speed", "--weights", f"sd21-pipeline={folder}", *FAST]
    assert run_program([*line, "--out", str(tmp_path / "out")]) == 0
    err = capsys.readouterr().err
    assert "Loading" not in err
    assert "float16" not in err
    assert run_program(["table", "2", "--from", str(tmp_path / "out"), "--published"]) == 0
    table = capsys.readouterr().out
    cells = next(text for text in table.splitlines() if text.startswith("| SD2.1  "))
    assert "(57.3; " in cells
    assert "not the published network: it has 52,004 parameters" in table
    assert "measured on 2 samples, not 2,048" in table
