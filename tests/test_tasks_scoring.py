"""Scores of generated samples, mostly with networks that see nothing but colours, so that values can be worked out."""

import csv
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
import pytest
import torch
from conftest import scene
from PIL import Image

import cvbench
from cvbench import metrics
from cvbench.cli import run_program
from cvbench.core.errors import Unavailable, UnknownName, UnsuitableInput, UsageError
from cvbench.core.protocol import derive, protocol
from cvbench.core.records import RunRecord
from cvbench.engine import loop, measuring
from cvbench.metrics import frame_consistency, frechet_infinite, frechet_of_sets
from cvbench.metrics.statistics import bootstrap_mean
from cvbench.probes import FeatureLoading, feature_loading, features
from cvbench.store import FileStore
from cvbench.tasks.scoring import score
from cvbench.tasks.scoring.pairs import Partners, read_prompts

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
HALF = 2**-0.5  # cosine of red and yellow
SMALL = protocol("cvbench-1", ["frames=9", "size=32"])
VOLATILE = ("environment", "created")
Colour = tuple[int, int, int]


class Colours:
    """A network whose features of a frame are its mean colour, and of a text the colour that it names."""

    measured: ClassVar[Counter[str]] = Counter()
    version = "colours"

    def __init__(self, name: str) -> None:
        self.name = name

    def rows(self, video: torch.Tensor) -> np.ndarray:
        if self.name.startswith("i3d") and video.shape[1] < 9:
            raise UnsuitableInput("too short for I3D")
        self.measured[self.name] += 1
        frames = video.mean((2, 3)).T.numpy()
        return frames.mean(0, keepdims=True) if self.name.startswith("i3d") else frames

    def text_rows(self, prompts: Sequence[str]) -> np.ndarray:
        self.measured["texts"] += len(prompts)
        return np.array([[float(word in text) for word in ("red", "green", "blue")] for text in prompts], np.float32)


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Put colours in the place of all feature networks; what is returned counts what they are asked."""

    def loading(name: str, device: torch.device, *_: object) -> FeatureLoading:
        return FeatureLoading(f"{name}-{Colours.version}", "", device)

    monkeypatch.setattr(measuring, "feature_loading", loading)
    monkeypatch.setattr(measuring, "load_feature_probe", lambda name, *_: Colours(name))
    monkeypatch.setattr(Colours, "measured", Counter())
    return Colours.measured


def paint(path: Path, colour: Colour) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 32), colour).save(path)


def film(folder: Path, colours: Sequence[Colour]) -> None:
    for k, colour in enumerate(colours):
        paint(folder / f"{k:05d}.png", colour)


def shoot(folder: Path, seed: int, frames: int = 9) -> None:
    folder.mkdir(parents=True)
    for k, frame in enumerate(scene(frames, 32, 40, seed).transpose(1, 2, 3, 0)):
        Image.fromarray(frame).save(folder / f"{k:05d}.png")


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """Five generated and four real clips of nine frames."""
    for i in range(5):
        shoot(tmp_path / "made" / f"clip{i}", i)
    for i in range(4):
        shoot(tmp_path / "real" / f"clip{i}", 10 + i)
    return tmp_path / "made", tmp_path / "real"


def stable(record: RunRecord) -> dict[str, Any]:
    return {k: v for k, v in json.loads(record.to_json()).items() if k not in VOLATILE}


def measure(*given: Any, **more: Any) -> RunRecord:
    return score(*given, **{"protocol": SMALL, "device": "cpu", **more})


# Values


@pytest.mark.usefixtures("colours")
def test_clip_score_is_the_mean_cosine_of_pictures_and_their_prompts(tmp_path: Path) -> None:
    paint(tmp_path / "made" / "a.png", RED)
    paint(tmp_path / "made" / "b.png", YELLOW)
    prompts = {"a": "a red ball", "b": "a red, red rose"}
    record = measure(tmp_path / "made", metrics=["clip"], prompts=prompts)
    assert record.scores["clip"].value == pytest.approx((1 + HALF) / 2, abs=1e-6)
    assert [s.rows["clip-text"] for s in record.samples] == [pytest.approx([1.0]), pytest.approx([HALF])]
    assert record.complete


@pytest.mark.usefixtures("colours")
def test_text_alignment_averages_frames_then_clips(tmp_path: Path) -> None:
    film(tmp_path / "made" / "long", [RED, RED, YELLOW, GREEN])
    film(tmp_path / "made" / "short", [GREEN, GREEN])
    record = measure(tmp_path / "made", metrics=["text-alignment"], prompts={"long": "red", "short": "red"})
    assert record.scores["text-alignment"].value == pytest.approx((2 + HALF) / 4 / 2, abs=1e-6)


@pytest.mark.usefixtures("colours")
def test_frame_consistency_averages_all_pairs_of_frames(tmp_path: Path) -> None:
    film(tmp_path / "made" / "a", [RED, RED, GREEN])
    film(tmp_path / "made" / "b", [BLUE, BLUE, BLUE, BLUE])
    record = measure(tmp_path / "made", metrics=["frame-consistency"])
    assert [s.rows["clip-frames"] for s in record.samples] == [pytest.approx([1 / 3]), pytest.approx([1.0])]
    assert record.scores["frame-consistency"].value == pytest.approx(2 / 3, abs=1e-6)
    assert record.data.name == "no reference"


def test_frame_consistency_equals_the_sum_over_pairs() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    pairs = [rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j]) for i in range(6) for j in range(i)]
    assert frame_consistency(rows, None) == pytest.approx([np.mean(pairs)], abs=1e-6)


@pytest.mark.usefixtures("colours")
def test_pic_holds_every_frame_against_the_picture_the_clip_was_made_from(tmp_path: Path) -> None:
    film(tmp_path / "made" / "a", [RED, YELLOW, GREEN])
    paint(tmp_path / "first" / "a.png", RED)
    record = measure(tmp_path / "made", metrics=["pic"], first_frames=tmp_path / "first")
    assert record.scores["pic"].value == pytest.approx((1 + HALF + 0) / 3, abs=1e-6)
    assert record.samples[0].rows["pic"] == pytest.approx([1, HALF, 0], abs=1e-6)


@pytest.mark.usefixtures("colours")
def test_pic_without_first_frames_takes_the_reference_of_the_same_name(tmp_path: Path) -> None:
    paint(tmp_path / "made" / "photo.png", YELLOW)  # text to image: the picture of the caption
    paint(tmp_path / "real" / "photo.webp", RED)
    film(tmp_path / "made" / "clip", [BLUE, BLUE])  # image to video: the first frame of the real clip
    film(tmp_path / "real" / "clip", [BLUE, RED, RED])
    record = measure(tmp_path / "made", tmp_path / "real", ["pic"])
    assert {s.id: s.rows["pic"] for s in record.samples} == {
        "clip": pytest.approx([1, 1], abs=1e-6),
        "photo.png": pytest.approx([HALF], abs=1e-2),  # WebP is lossy
    }


@pytest.mark.usefixtures("colours")
def test_fid_of_two_sets_of_grays_is_that_of_two_gaussians(tmp_path: Path) -> None:
    made, real = [10, 60, 90, 120, 210], [80, 100, 140, 240]
    for side, grays in (("made", made), ("real", real)):
        for i, gray in enumerate(grays):
            paint(tmp_path / side / f"{i}.png", (gray, gray, gray))
    x, y = np.array(made) / 255, np.array(real) / 255
    expected = 3 * ((x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2)
    found = measure(tmp_path / "made", tmp_path / "real", ["fid"]).scores["fid"]
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.low is not None
    assert found.low <= found.value <= found.high  # type: ignore[operator]
    assert found.n == 5


@pytest.mark.usefixtures("colours")
def test_equal_sets_are_at_no_distance_and_kvd_is_not_clamped(sets: tuple[Path, Path]) -> None:
    record = measure(sets[0], f"again={sets[0]}", ["fvd", "kvd"])
    assert record.scores["fvd"].value == pytest.approx(0, abs=1e-9)
    assert record.scores["kvd"].value < 0
    assert (record.model.name, record.data.name) == ("made", "again")


def test_clips_of_many_frames_are_no_more_evidence_than_their_number() -> None:
    rng = np.random.default_rng(0)
    x, y, one = rng.normal(size=(40, 3)), rng.normal(0.3, 1, size=(30, 3)), np.arange(40)
    alone = frechet_of_sets(x, y, one, one[:30])
    five = frechet_of_sets(x.repeat(5, 0), y.repeat(5, 0), one.repeat(5), one[:30].repeat(5))
    wrong = frechet_of_sets(x.repeat(5, 0), y.repeat(5, 0), np.arange(200), np.arange(150))
    assert five.high - five.value == pytest.approx(alone.high - alone.value, rel=0.1)  # type: ignore[operator]
    assert wrong.high - wrong.value < 0.7 * (five.high - five.value)  # type: ignore[operator]
    many = rng.normal(size=(60, 2))
    assert frechet_infinite(many, many + 1, np.arange(60), np.arange(60)).low is not None
    assert frechet_infinite(many, many + 1, np.arange(60) // 2, np.arange(60)).low is None


# What decides a number, and what does not


@pytest.mark.usefixtures("colours")
def test_names_and_order_of_files_change_no_bit(sets: tuple[Path, Path], tmp_path: Path) -> None:
    names = ["fvd", "kvd", "fid", "kid", "fid-inf", "fvd-stylegan"]
    first = measure(*sets, names)
    for side in sets:
        for i, folder in enumerate(sorted(side.iterdir(), reverse=True)):
            folder.rename(side / f"renamed{i}")
    again = measure(*sets, names, store=FileStore(tmp_path / "other"))
    assert [s.id for s in again.samples] != [s.id for s in first.samples]
    assert again.scores == first.scores


def test_a_second_call_builds_no_network_and_reads_no_clip(
    sets: tuple[Path, Path], colours: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (sets[0] / "odd.png").write_bytes((sets[0] / "clip0" / "00000.png").read_bytes())  # too short for FVD: kept, too
    names = ["fvd", "kvd", "fid", "kid", "clip", "pic", "frame-consistency"]
    first = measure(*sets, names, {f"clip{i}": "red" for i in range(5)})

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("work was done twice")

    monkeypatch.setattr(measuring, "load_feature_probe", refuse)
    monkeypatch.setattr(loop, "read_prepared", refuse)
    again = measure(*sets, names, {f"clip{i}": "red" for i in range(5)})
    assert stable(again) == stable(first)
    assert set(first.scores) == set(names)
    assert colours["texts"] == 1
    assert colours["i3d-direct224"] == 9


def test_a_set_never_sees_the_rows_of_another(sets: tuple[Path, Path], colours: Counter[str]) -> None:
    first = measure(*sets, ["fvd"])
    shutil.rmtree(sets[1] / "clip3")
    shoot(sets[1] / "clip3", 77)
    changed = measure(*sets, ["fvd"])
    assert colours["i3d-direct224"] == 9 + 1
    assert changed.scores["fvd"].value != first.scores["fvd"].value
    assert changed.data.manifest != first.data.manifest
    assert changed.scores["fvd"].signature != first.scores["fvd"].signature
    shutil.rmtree(sets[1] / "clip3")
    fewer = measure(*sets, ["fvd"])
    assert (fewer.data.n, fewer.scores["fvd"].n) == (3, 5)
    assert fewer.scores["fvd"].value not in (first.scores["fvd"].value, changed.scores["fvd"].value)


def test_other_weights_or_another_preparation_measure_anew(
    sets: tuple[Path, Path], colours: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(*sets, ["fvd"])
    monkeypatch.setattr(Colours, "version", "other weights")
    record = measure(*sets, ["fvd"])
    assert colours["i3d-direct224"] == 18
    assert record.probes == {"i3d-direct224": "i3d-direct224-other weights"}
    measure(*sets, ["fvd"], protocol=protocol("cvbench-1", ["frames=9", "size=16"]))
    assert colours["i3d-direct224"] == 27


def test_a_call_that_was_stopped_continues(
    sets: tuple[Path, Path], colours: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Colours.rows

    def stop(self: Colours, video: torch.Tensor) -> np.ndarray:
        if colours["i3d-direct224"] == 3:
            raise KeyboardInterrupt
        return original(self, video)

    monkeypatch.setattr(Colours, "rows", stop)
    with pytest.raises(KeyboardInterrupt):
        measure(*sets, ["fvd"])
    monkeypatch.setattr(Colours, "rows", original)
    assert measure(*sets, ["fvd"]).complete
    assert colours["i3d-direct224"] == 9


@pytest.mark.large
def test_i3d_end_to_end_twice_without_a_network_and_anew_for_a_changed_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(4):
        shoot(tmp_path / ("made" if i < 2 else "real") / f"clip{i}", i)
    made, real, names = tmp_path / "made", tmp_path / "real", ["fvd", "kvd"]
    first = measure(made, real, names, init="random")
    assert first.complete
    assert first.model.init == "random"
    assert first.probes["i3d-direct224"].endswith("#random:0")
    assert first.scores["fvd"].note.startswith("**under-sampled**: 2 rows in 400 dimensions")

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a network was touched")

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.Module, "__init__", refuse)
        patch.setattr(torch.nn.Module, "__call__", refuse)
        assert stable(measure(made, real, names, init="random")) == stable(first)
    calls: list[int] = []
    original = features.I3d.rows
    monkeypatch.setattr(features.I3d, "rows", lambda probe, video: calls.append(1) or original(probe, video))
    shutil.rmtree(real / "clip3")
    shoot(real / "clip3", 9)
    anew = measure(made, real, names, init="random")
    assert len(calls) == 1
    assert anew.scores["fvd"].value != first.scores["fvd"].value
    seeded = protocol("cvbench-1", ["frames=9", "size=32", "seed=1"])
    other = measure(made, real, ["fvd"], init="random", protocol=seeded)
    assert len(calls) == 5
    assert other.probes["i3d-direct224"].endswith("#random:1")


# What is missing


@pytest.mark.usefixtures("colours")
def test_missing_weights_are_named_with_file_hash_and_source_and_stop_no_other_metric(
    sets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loading(name: str, device: torch.device, weights: Mapping[str, Path], *_: object) -> FeatureLoading:
        return FeatureLoading(name, "", device) if name == "inception" else feature_loading(name, device, weights)

    monkeypatch.setattr(measuring, "feature_loading", loading)
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    record = measure(*sets, ["fid", "fvd", "kvd", "clip"], {f"clip{i}": "red" for i in range(5)})
    assert set(record.scores) == {"fid"}
    assert set(record.unavailable) == {"fvd", "kvd", "clip"}
    for name in ("fvd", "kvd"):
        for word in ("i3d_pretrained_400.pt", "a867b87ac3a9097d200598b1d48a1b890d8ec744", "songweige/TATS"):
            assert word in record.unavailable[name]
    assert "e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31" in record.unavailable["clip"]
    assert not record.complete


def unreachable(*_: object, **__: object) -> NoReturn:
    raise OSError("no network here")


@pytest.mark.usefixtures("colours")
def test_samples_without_a_partner_are_named_and_the_others_scored(sets: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("clip0,red, or so\nclip1,green\nclip9,blue\n")
    record = measure(*sets, ["fvd", "clip", "pic"], tmp_path / "prompts.txt")
    assert record.scores["clip"].n == 2
    assert record.scores["pic"].n == 4
    assert record.scores["fvd"].n == 5
    assert [f.id for f in record.failures] == ["clip2", "clip3", "clip4", "clip4"]
    assert record.failures[0].error == "clip: no prompt is called clip2 in prompts.txt"
    assert record.failures[-1].error == "pic: no first frame is called clip4 in real"
    assert record.unavailable["clip"].startswith("3 of 5 generated samples: no prompt")
    assert record.unavailable["pic"] == "1 of 5 generated samples: no first frame is called clip4 in real"
    assert record.data.note.endswith("; prompts of prompts.txt that belong to no generated sample: 1 (clip9)")
    assert "fvd" not in record.unavailable


@pytest.mark.usefixtures("colours")
def test_what_cannot_be_read_is_named_on_either_side(sets: tuple[Path, Path], tmp_path: Path) -> None:
    for side in sets:
        (side / "broken.png").write_bytes(b"no picture")
    paint(tmp_path / "first" / "clip0.png", RED)
    (tmp_path / "first" / "clip1.png").write_bytes(b"")
    record = measure(*sets, ["fvd", "pic"], first_frames=tmp_path / "first")
    assert [f.id for f in record.failures if "pic: " not in f.error] == [
        "broken.png", "reference: broken.png", "first frame: clip1.png",
    ]  # fmt: skip
    assert record.scores["pic"].n == 1
    assert "its first frame clip1.png could not be read" in record.unavailable["pic"]
    assert record.scores["fvd"].n == 5
    assert not record.complete


@pytest.mark.usefixtures("colours")
def test_clips_that_a_network_cannot_take_or_fails_on_are_left_out_and_counted(
    sets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shoot(sets[0] / "short", 50, frames=4)
    record = measure(*sets, ["fvd"])
    assert record.scores["fvd"].n == 5
    assert record.unavailable["fvd"] == "1 of 6 generated samples: too short for I3D"
    original = Colours.rows

    def fail(self: Colours, video: torch.Tensor) -> np.ndarray:
        if self.name == "inception" and video.shape[1] == 4:
            raise RuntimeError("out of memory")
        return original(self, video)

    monkeypatch.setattr(Colours, "rows", fail)
    record = measure(*sets, ["fid"])
    assert record.scores["fid"].n == 45
    assert [f.error for f in record.failures] == ["inception: RuntimeError: out of memory"]
    monkeypatch.setattr(Colours, "rows", original)
    assert measure(*sets, ["fid"]).scores["fid"].n == 49  # a failure of the moment is not remembered


@pytest.mark.usefixtures("colours")
def test_a_set_of_one_or_none_gives_no_distance_but_a_record(tmp_path: Path) -> None:
    shoot(tmp_path / "made" / "clip0", 0)
    shoot(tmp_path / "real" / "clip0", 1)
    record = measure(tmp_path / "made", tmp_path / "real", ["fvd"])
    assert "1 row is none" in record.unavailable["fvd"]
    for side in ("made", "real"):
        shutil.rmtree(tmp_path / side / "clip0")
        (tmp_path / side / "broken.png").write_bytes(b"no picture")
    record = measure(tmp_path / "made", tmp_path / "real", ["fvd"])
    assert record.unavailable["fvd"] == "no generated sample could be read; no reference sample could be read"
    assert str(record.error).startswith("none of 1 samples of made could be read: broken.png")


@pytest.mark.usefixtures("colours")
def test_notes_tell_small_sets_and_sets_of_other_sizes(sets: tuple[Path, Path]) -> None:
    shutil.rmtree(sets[1] / "clip3")
    shoot(sets[1] / "clip3", 60, frames=12)
    record = measure(*sets, ["fvd", "kvd", "fid"], protocol=protocol("cvbench-1", ["frames=12", "size=32"]))
    sizes = "sizes differ: generated 9×32×32, reference 9×32×32, 12×32×32"
    assert record.scores["fvd"].note == f"n = 4 < 2048: biased upwards; compare only at equal n; {sizes}"
    assert record.scores["kvd"].note == sizes
    assert record.scores["fid"].note == "n = 39 < 2048: biased upwards; compare only at equal n"


# Opening and pairing


@pytest.mark.usefixtures("colours")
def test_a_csv_file_names_samples_prompts_and_first_frames(tmp_path: Path) -> None:
    film(tmp_path / "clips" / "a.v2", [RED, YELLOW])
    paint(tmp_path / "b.png", GREEN)
    paint(tmp_path / "start" / "x.png", RED)
    (tmp_path / "made.csv").write_text(
        'path,prompt,first_frame\nclips/a.v2,"red, of course",start/x.png\nb.png,red and green,\n'
    )
    record = measure(f"mine={tmp_path / 'made.csv'}", metrics=["clip", "pic"])
    assert record.model.name == "mine"
    assert [s.id for s in record.samples] == ["clips/a.v2", "b.png"]
    assert [s.rows["clip-text"] for s in record.samples] == [pytest.approx([1, HALF]), pytest.approx([HALF])]
    assert record.samples[0].rows["pic"] == pytest.approx([1, HALF])
    assert [(f.id, f.error) for f in record.failures] == [("b.png", "pic: no first frame is called b in the CSV file")]
    cut = measure(tmp_path / "made.csv", metrics=["clip"], limit=1)
    assert [s.id for s in cut.samples] == ["clips/a.v2"]
    assert cut.data.note == "generated: first 1 of 2"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path\na.png\na.png\n", "more than once"),
        ("path,prompt\n", "no samples"),
        ("file\na.png\n", "no column path"),
        ("path,prompt\n,red\n", "without a path"),
        ("path\nempty\n", "no folder of frames"),
    ],
)
def test_csv_files_that_make_no_sense_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "made.csv").write_text(text)
    with pytest.raises(UsageError, match=words):
        measure(tmp_path / "made.csv", metrics=["frame-consistency"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", 'name,prompt\na,"red, round"\nb,blue\n'),
        ("p.csv", '\ufeffa,"red, round"\n\nb,blue\n'),
        ("p.json", '{"a": "red, round", "b": "blue"}'),
        ("p.json", '[{"name": "a", "prompt": "red, round"}, {"name": "b", "prompt": "blue"}]'),
        ("p.txt", "a,red, round\nb, blue\n"),
        ("p.tsv", "a\tred, round\r\nb\tblue\r\n"),
    ],
)
def test_prompts_are_read_from_csv_json_and_text(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_prompts(tmp_path / name) == {"a": "red, round", "b": "blue"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.csv", "a,red\na,blue\n", "names a twice"),
        ("p.csv", "a,red,round\n", "3 columns"),
        ("p.csv", "name,prompt\n", "no prompts"),
        ("p.txt", "red\n", "has no name"),
        ("p.txt", "a,\n", "without a prompt"),
        ("p.json", "{", "no JSON"),
        ("p.json", '["a"]', "write"),
        ("p.json", '{"a": 1}', "write"),
    ],
)
def test_prompts_that_make_no_sense_are_refused(name: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=words):
        read_prompts(tmp_path / name)


def test_partners_are_found_by_name_and_never_guessed() -> None:
    partners = Partners([("a/1.png", 1), ("b/2.png", 2), ("3", 3), ("c/4.mp4", 4), ("c/4.png", 5)], "first frame", "x")
    assert partners.find("a/1.png") == partners.find("a/1.webm") == partners.find("1.mp4") == 1
    assert partners.find("deep/down/3.png") == 3
    assert partners.find("c/4.png") == 5  # the very name
    for name, words in (("c/4.webm", "could all be"), ("a/2.png", "is called a/2"), ("7.png", "is called 7")):
        with pytest.raises(Unavailable, match=words):
            partners.find(name)
    assert partners.unused() == ["b/2.png", "c/4.mp4"]


@pytest.mark.usefixtures("colours")
def test_scores_share_a_signature_only_when_they_are_comparable(sets: tuple[Path, Path], tmp_path: Path) -> None:
    names, prompts = ["fvd", "kvd", "clip"], {f"clip{i}": "red" for i in range(5)}
    first = measure(*sets, names, prompts)
    shutil.rmtree(sets[0] / "clip4")
    fewer = measure(*sets, names, prompts)
    same = {m: first.scores[m].signature == fewer.scores[m].signature for m in names}
    assert same == {"fvd": False, "kvd": True, "clip": False}  # biased by n; unbiased; another list of prompts
    assert first.scores["fvd"].signature.generated == 5
    assert f"data=real#{first.data.manifest[:12]}" in first.scores["fvd"].signature.text
    assert first.scores["clip"].signature.data == "prompts"


# Requests and the command


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"metrics": ["fvd"]}, UsageError, "--reference"),
        ({"metrics": ["clip"]}, UsageError, "--prompts"),
        ({"metrics": ["pic"]}, UsageError, "--first-frames"),
        ({"metrics": ["rfvd"]}, UsageError, "cvbench run.*fvd"),
        ({"metrics": ["psnr"]}, UsageError, "cvbench run"),
        ({"metrics": ["fdv"]}, UnknownName, "fvd"),
        ({"metrics": ["frame-consistency"], "limit": 0}, UsageError, "limit"),
        ({"metrics": ["frame-consistency"], "device": "cuda:9"}, UsageError, "cuda:9"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    more: dict[str, Any], error: type[Exception], words: str, sets: tuple[Path, Path]
) -> None:
    with pytest.raises(error, match=words):
        measure(sets[0], **more)


def test_run_refuses_metrics_of_generated_samples() -> None:
    with pytest.raises(UsageError, match=r"cvbench score.*rfvd"):
        metrics.resolve(["psnr", "fvd"], SMALL)


@pytest.mark.usefixtures("colours")
def test_the_command_prints_a_row_a_set_and_writes_it(
    sets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(sets[0], tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "clip4")
    with (tmp_path / "prompts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("name", "prompt"), *((f"clip{i}", "a red one") for i in range(5))])
    line = ["score", "-r", str(sets[1]), "--metrics", "fvd,clip", "--prompts", str(tmp_path / "prompts.csv")]
    line += ["--set", "frames=9", "--set", "size=32", "--device", "cpu", "--seed", "3", "--out", str(tmp_path / "out")]
    assert run_program([*line, "-g", str(sets[0]), "-g", f"b={tmp_path / 'other'}"]) == 0
    text = capsys.readouterr().out
    assert "| made" in text
    assert "| b " in text
    assert "not comparable: b, FVD on real" in text
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["records", "samples.csv", "table.csv", "table.md"]
    record = RunRecord.load(next((tmp_path / "out" / "records").glob("made--real--*.json")))
    assert (record.protocol.frames, record.protocol.seed) == (9, 3)
    assert run_program(["table", str(tmp_path / "out"), "--allow-mixed"]) == 0
    shoot(sets[0] / "clip7", 7)
    assert run_program([*line, "-g", str(sets[0])]) == 3
    assert "no prompt is called clip7" in capsys.readouterr().out
    assert run_program([*line, "-g", str(sets[0]), "-g", f"made={sets[0]}"]) == 2
    assert "two generated sets are called made" in capsys.readouterr().err


def test_importing_cvbench_or_asking_for_help_loads_no_torch() -> None:
    code = "import sys, cvbench.cli; cvbench.cli.run_program(['score', '--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
    assert cvbench.score is score  # type: ignore[attr-defined]


@pytest.mark.parametrize("change", [
    ["window=5"], ["padding=black"], ["remap=half"], ["through=png", "through_side=recon"], ["fvd_batch=2"],
    ["fid_resize=tf1"],
])  # fmt: skip
def test_a_field_that_is_not_done_is_not_signed(change: list[str], sets: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match=f"not measured with {change[-1]}; say --set"):
        measure(*sets, ["fvd", "fid"], protocol=derive(SMALL, change))


@pytest.mark.usefixtures("colours")
def test_windows_of_a_clip_are_averaged_and_resampled_as_that_clip(tmp_path: Path) -> None:
    """Nine frames of change in one clip, none in two windows of each of the others."""
    film(tmp_path / "made" / "a", [RED, YELLOW, RED])
    for name in "bc":
        film(tmp_path / "made" / name, [RED] * 6)
    found = {}
    for average in ("clips", "items"):
        chosen = derive(SMALL, ["frames=3", "windows=all", "short=skip", f"average={average}"])
        found[average] = measure(tmp_path / "made", metrics=["frame-consistency"], protocol=chosen)
    changing = (1 + 2 * HALF) / 3
    scores = {average: record.scores["frame-consistency"] for average, record in found.items()}
    assert scores["clips"].value == pytest.approx((changing + 2) / 3)
    assert scores["items"].value == pytest.approx((changing + 4) / 5)
    assert scores["clips"].n == 5
    low, high = bootstrap_mean([changing, 1.0, 1.0]) or (0, 0)
    assert (scores["clips"].low, scores["clips"].high) == pytest.approx((low, min(high, 1.0)), abs=1e-6)
