"""Opening data sets: order, ids, what is found and what is missing. Folders are laid out here as distributors do."""

import csv
import hashlib
import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import scene
from PIL import Image

from cvbench.core.errors import Unavailable, UnknownName, UnreadableSample, UsageError
from cvbench.core.types import Sample, Sampling
from cvbench.data import DATASETS, Dataset, open_dataset
from cvbench.data.folder import natural

FIRST = Sampling(1, 1)


def save_picture(file: Path, level: int = 0, size: tuple[int, int] = (32, 24)) -> Path:
    """One flat picture of gray `level`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(file)
    return file


def save_clip(file: Path, luma: int = 100, frames: int = 3, codec: str = "libx264") -> Path:
    """One flat clip of 64×48."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as out:
        stream = out.add_stream(codec, rate=25, options={"qp": "0"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(frames):
            planes = np.full((72, 64), 128, np.uint8)
            planes[:48] = luma
            out.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        out.mux(stream.encode())
    return file


def ids(dataset: Dataset) -> list[str]:
    return [item.id for item in dataset.items]


def pixel_hash(sample: Sample) -> str:
    return hashlib.sha256(np.ascontiguousarray(sample.pixels).tobytes()).hexdigest()


def gray_hash(level: int, size: tuple[int, int] = (32, 24)) -> str:
    """The hash of a flat picture, by arithmetic."""
    return hashlib.sha256(bytes([level]) * (3 * size[0] * size[1])).hexdigest()


def open_in(name: str, root: Path, limit: int | None = None) -> Dataset:
    return open_dataset(f"{name}={root}", {}, limit)


# folders, globs, files


def test_a_folder_is_read_in_natural_order_whatever_order_the_disk_has(tmp_path: Path) -> None:
    names = ["clip10.png", "clip2.png", "B.png", "a.png", "sub/9.png", "sub/11.png", "sub/deep/x.png", "sub b/1.png"]
    for level, name in enumerate(names):
        save_picture(tmp_path / name, level)
    dataset = open_dataset(str(tmp_path), {})
    assert ids(dataset) == [
        *("a.png", "B.png", "clip2.png", "clip10.png"),
        *("sub/9.png", "sub/11.png", "sub/deep/x.png", "sub b/1.png"),
    ]
    assert [item.read(FIRST).id for item in dataset.items] == ids(dataset)
    assert pixel_hash(dataset.items[2].read(FIRST)) == gray_hash(1)
    assert dataset.note == ""


def test_natural_order_is_total() -> None:
    texts = ["a1", "A1", "a01", "a", "1", "01", "é", "a/b", "a b", ""]
    assert len({natural(text) for text in texts}) == len(texts)
    sorted(texts, key=natural)  # numbers and words never meet


def test_hidden_files_are_no_part_and_other_files_are_counted(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png")
    for name in (".DS_Store", "._a.png", ".thumbs/a.png", "__MACOSX/._a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0")
    for name in ("README.md", "labels.csv", "sub/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    dataset = open_dataset(str(tmp_path), {})
    assert ids(dataset) == ["a.png"]
    assert dataset.note == "3 other files ignored"


def test_blanks_and_umlauts_give_the_same_id_however_the_disk_composes_them(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "späte süße.png")
    save_picture(tmp_path / "a folder" / decomposed, 7)
    dataset = open_dataset(str(tmp_path), {})
    assert ids(dataset) == ["a folder/späte süße.png"]
    assert pixel_hash(dataset.items[0].read(FIRST)) == gray_hash(7)


def test_a_name_that_is_no_utf8_gives_an_id_that_is(tmp_path: Path) -> None:
    try:
        save_picture(tmp_path / "a.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    dataset = open_dataset(str(tmp_path), {})
    assert ids(dataset) == ["\\xff.png"]
    assert dataset.items[0].read(FIRST).pixels.max() == 0


def test_what_does_not_decode_is_a_sample_that_refuses(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png")
    (tmp_path / "b.mp4").write_text("no clip")
    (tmp_path / "c.jpg").touch()
    (tmp_path / "d.png").symlink_to(tmp_path / "gone.png")
    dataset = open_dataset(str(tmp_path), {})
    assert ids(dataset) == ["a.png", "b.mp4", "c.jpg", "d.png"]
    for item in dataset.items[1:]:
        with pytest.raises(UnreadableSample, match=item.id):
            item.read(FIRST)


def test_opening_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_clip(tmp_path / "a.mp4")
    save_picture(tmp_path / "b.png")
    for k in range(3):
        save_picture(tmp_path / "walk" / f"{k:05}.png")

    def decoded(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(av, "open", decoded)
    monkeypatch.setattr(Image.Image, "load", decoded)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    assert ids(open_dataset(str(tmp_path), {})) == ["a.mp4", "b.png", "walk"]


@pytest.mark.parametrize("name", ["{:05}.png", "frame_{}.png", "IMG_{:04}.png", "{}.png", "{:02}.jpg", "im{}.png"])
def test_a_subfolder_of_numbered_pictures_of_one_size_is_a_clip(tmp_path: Path, name: str) -> None:
    for k in range(8, 12):
        save_picture(tmp_path / "walk" / name.format(k), k)
    dataset = open_dataset(str(tmp_path), {})
    assert ids(dataset) == ["walk"]
    assert dataset.note == "1 folders of numbered frames read as clips"
    assert dataset.items[0].read(Sampling(9, 1)).pixels[0, :, 0, 0].tolist() == [8, 9, 10, 11]


def test_pictures_with_gaps_other_sizes_other_names_or_in_the_folder_itself_stay_pictures(tmp_path: Path) -> None:
    for k in (1, 2, 4):
        save_picture(tmp_path / "gaps" / f"{k:05}.png")
    for k in range(3):
        save_picture(tmp_path / "sizes" / f"{k:05}.png", 0, (32, 24 + k))
        save_picture(tmp_path / "kodak" / f"kodim{k:02}.png")
        save_picture(tmp_path / "photos" / f"{k}.png", 0, (32, 24 + 8 * (k == 1)))
        save_picture(tmp_path / f"{k:05}.png")
    assert len(open_dataset(str(tmp_path), {}).items) == 15
    assert len(open_dataset(str(tmp_path / "gaps"), {}).items) == 3


def test_a_glob_takes_what_it_matches_with_ids_from_its_fixed_part(tmp_path: Path) -> None:
    for name in ("x/a1.png", "x/a2.png", "x/b1.png", "y/a1.png", "y/a1.txt", ".h/a1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_picture(tmp_path / name) if name.endswith("png") else (tmp_path / name).write_text("x")
    assert ids(open_dataset(f"{tmp_path}/x/a*.png", {})) == ["a1.png", "a2.png"]
    assert ids(open_dataset(f"{tmp_path}/**/a1.*", {})) == ["x/a1.png", "y/a1.png"]
    assert open_dataset(f"{tmp_path}/**/a1.*", {}).note == "1 other files ignored"
    assert ids(open_dataset(f"{tmp_path}/[x]", {})) == ["x/a1.png", "x/a2.png", "x/b1.png"]
    with pytest.raises(UsageError, match="matches no images or videos"):
        open_dataset(f"{tmp_path}/*.png", {})


def test_a_glob_of_folders_reads_frame_folders_as_clips(tmp_path: Path) -> None:
    for sequence in ("bear", "camel"):
        for k in range(3):
            save_picture(tmp_path / sequence / f"{k:05}.png", k)
    assert ids(open_dataset(f"{tmp_path}/c*", {})) == ["camel"]


def test_one_file_is_read_whatever_its_ending(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png", 9).rename(tmp_path / "[a]=b.dat")
    dataset = open_dataset(str(tmp_path / "[a]=b.dat"), {})
    assert (dataset.name, ids(dataset)) == ("[a]=b.dat", ["[a]=b.dat"])
    assert pixel_hash(dataset.items[0].read(FIRST)) == gray_hash(9)


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    save_picture(tmp_path / "real" / "a.png")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(root)
    assert ids(open_dataset(str(root), {})) == ["link/a.png"]


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("davsi", UnknownName, "davis"),
        ("mine=davsi", UnknownName, "davis"),
        ("mine=./gone", UsageError, "no file or folder './gone'"),
        ("a\x1bb=/tmp", UsageError, "control characters"),
        ("a\u202eb=/tmp", UsageError, "control characters"),
        (" =/tmp", UsageError, "no file or folder"),
        ("sample=/tmp", UsageError, "built in and has no folder"),
        ("~nobody-of-this-name", UsageError, "home folder of nobody"),
        ("a\0b/*", UsageError, "no file or folder"),
        ("a/" * 3000, UsageError, "no file or folder"),
        ("./gone", UsageError, "no file or folder './gone'"),
        ("gone.mp4", UsageError, "no file or folder"),
        ("", UsageError, "empty name"),
        ("davis", UsageError, r"JPEGImages/480p.*--data davis=PATH.*cvbench\.toml.*CVBENCH_DATA"),
        ("msrvtt-val", UsageError, r"msrvtt = \"PATH\""),
        ("davis=./gone", UsageError, "gone is no folder"),
    ],
)
def test_wrong_names_and_places_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        open_dataset(spec, {})


def test_a_folder_without_media_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match=r"no images or videos in .*1 other files"):
        open_dataset(str(tmp_path), {})


def test_a_limit_keeps_the_first_and_says_so(tmp_path: Path) -> None:
    for k in range(5):
        save_picture(tmp_path / f"{k}.png")
    dataset = open_dataset(str(tmp_path), {}, 2)
    assert (ids(dataset), dataset.note) == (["0.png", "1.png"], "first 2 of 5")
    assert open_dataset(str(tmp_path), {}, 9).note == ""
    with pytest.raises(UsageError, match="at least 1"):
        open_dataset(str(tmp_path), {}, 0)


def test_a_fingerprint_tells_place_content_and_reader_apart(tmp_path: Path) -> None:
    pytest.importorskip("decord")
    file = save_picture(tmp_path / "a.png")
    for k in range(3):
        save_picture(tmp_path / "walk" / f"{k:05}.png")

    def stamps(reader: str = "pyav") -> list[str]:
        return [item.fingerprint for item in open_dataset(str(tmp_path), {}, None, reader).items]  # type: ignore[arg-type]

    before = stamps()
    assert stamps() == before
    assert stamps("decord")[0] != before[0]
    os.utime(file, ns=(0, 1))
    os.utime(tmp_path / "walk" / "00001.png", ns=(0, 1))
    assert not set(stamps()) & set(before)


def test_decord_is_missed_when_the_data_set_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    save_picture(tmp_path / "a.png")
    with pytest.raises(Unavailable, match="pip install"):
        open_dataset(str(tmp_path), {}, None, "decord")


def test_opening_loads_neither_torch_nor_the_decoders() -> None:
    look = "sys.exit(bool({'torch', 'av', 'PIL'} & set(sys.modules)))"
    code = f"import sys, cvbench.data; cvbench.data.open_dataset('sample', {{}}); {look}"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# named data sets


def test_the_sample_is_built_in_and_follows_the_rule_for_short_clips() -> None:
    dataset = open_dataset("sample", {})
    assert len(dataset.items) == 16
    picture, clip = dataset.items[0], next(item for item in dataset.items if item.id.startswith("clip"))
    assert picture.read(Sampling(33, 3)).is_image
    two = clip.read(Sampling(2, 96))
    assert (two.pixels.shape[1], two.facts["stride"], two.facts["pts"]) == (2, 96, [0.0, 3.2])
    assert np.array_equal(clip.read(Sampling(1, 1, 96)).pixels[:, 0], two.pixels[:, 1])
    assert clip.read(Sampling(2, 97)).facts["stride"] == 97 // 2
    assert clip.id in clip.fingerprint


@pytest.mark.parametrize(
    ("name", "kind", "places"), [("sample-images", "image", (0, 8)), ("sample-clips", "clip", (8, 16))]
)
def test_the_pictures_and_the_clips_of_the_sample_are_data_sets_with_the_same_items(
    name: str, kind: str, places: tuple[int, int]
) -> None:
    dataset, whole = open_dataset(name, {}), open_dataset("sample", {})
    assert (dataset.name, len(dataset.items), dataset.note) == (name, 8, "")
    assert all(item.id.startswith(f"{kind}-") for item in dataset.items)
    same = whole.items[slice(*places)]
    assert [(i.id, i.fingerprint) for i in dataset.items] == [(i.id, i.fingerprint) for i in same]
    first, again = dataset.items[0].read(Sampling(2, 3)), same[0].read(Sampling(2, 3))
    assert first.is_image == (kind == "image")
    assert np.array_equal(first.pixels, again.pixels)


def coco(root: Path, n: int = 12) -> list[int]:
    """COCO's layout: ids of twelve digits, captions in no order."""
    numbers = [139 + 146 * k for k in range(n)]
    for level, number in enumerate(numbers):
        save_picture(root / "val2017" / f"{number:012}.jpg", 10 * level)
    rows = [{"id": 7 - i, "image_id": 139, "caption": f" caption {7 - i} "} for i in range(5)]
    (root / "annotations").mkdir()
    (root / "annotations/captions_val2017.json").write_text(json.dumps({"annotations": rows}))
    return numbers


@pytest.mark.parametrize("inner", ["", "val2017"])
def test_coco_val_by_ascending_id_with_first_captions(tmp_path: Path, inner: str) -> None:
    numbers = coco(tmp_path)
    dataset = open_in("coco-val", tmp_path / inner)
    assert ids(dataset) == [f"{number:012}" for number in numbers]
    assert [dataset.items[k].id for k in (0, 9, -1)] == ["000000000139", "000000001453", "000000001745"]
    assert [pixel_hash(dataset.items[k].read(FIRST)) for k in (0, 9, -1)] == [gray_hash(v) for v in (0, 90, 110)]
    assert (dataset.items[0].caption, dataset.items[1].caption) == ("caption 3", None)
    assert dataset.note == "12 of 5,000 images found"


def webvid(root: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    with (root / "results_2M_val.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("videoid", "contentUrl", "duration", "page_dir", "name")])
        csv.writer(file).writerows([(video, "", "PT00H00M10S", page, name) for video, page, name in rows])


def test_webvid_val_draws_the_same_1024_whatever_is_there(tmp_path: Path) -> None:
    rows = [(str(1000 + k), f"{k // 50:06}_{k // 50 + 50:06}", f"a film, number {k}") for k in range(3000)]
    drawn = sorted((v for v, _, _ in rows), key=lambda v: hashlib.sha256(v.encode()).digest())[:1024]
    webvid(tmp_path, rows)
    pages = {video: page for video, page, _ in rows}
    for rank in (0, 9, 500, 1023):
        save_clip(tmp_path / "videos" / pages[drawn[rank]] / f"{drawn[rank]}.mp4", 16 + rank // 10)
    left_out = next(v for v, _, _ in rows if v not in drawn)
    save_clip(tmp_path / "videos" / pages[left_out] / f"{left_out}.mp4")
    dataset = open_in("webvid-val", tmp_path)
    assert ids(dataset) == [drawn[rank] for rank in (0, 9, 500, 1023)]
    assert dataset.note == "4 of 1,024 clips found"
    assert dataset.items[0].caption == f"a film, number {int(drawn[0]) - 1000}"
    assert dataset.items[3].read(FIRST).pixels.mean() == pytest.approx((118 - 16) * 255 / 219, abs=1)


def test_webvid_val_without_its_list_or_its_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"0 files match .*\*val\*\.csv"):
        open_in("webvid-val", tmp_path)
    webvid(tmp_path, [("1", "p", "n")])
    with pytest.raises(UsageError, match=r"found no clips of webvid-val.*results_2M_val\.csv"):
        open_in("webvid-val", tmp_path)
    (tmp_path / "results_2M_val.csv").write_text("id,name\n1,x\n")
    with pytest.raises(UsageError, match="no column videoid, page_dir"):
        open_in("webvid-val", tmp_path)


def davis(root: Path, sequences: Mapping[str, int], resolution: str = "480p") -> None:
    for level, (name, frames) in enumerate(sequences.items()):
        for k in range(frames):
            save_picture(root / "JPEGImages" / resolution / name / f"{k:05}.jpg", 40 * level + k)


@pytest.mark.parametrize("inner", ["", "JPEGImages", "JPEGImages/480p"])
def test_davis_sequences_are_clips_of_the_val_list(tmp_path: Path, inner: str) -> None:
    davis(tmp_path, {"bear": 3, "blackswan": 4, "camel": 5})
    assert open_in("davis", tmp_path).note == "480p, all sequences"
    (tmp_path / "ImageSets/2017").mkdir(parents=True)
    (tmp_path / "ImageSets/2017/val.txt").write_text("blackswan\ncamel\ngoat\n")
    dataset = open_in("davis", tmp_path / inner)
    assert ids(dataset) == ["blackswan", "camel"]
    assert dataset.note == "480p, val of 2017; 2 of 3 sequences found"
    sample = dataset.items[1].read(Sampling(5, 1))
    assert sample.pixels[0, :, 5, 5].tolist() == [80, 81, 82, 83, 84]
    assert (sample.fps, sample.id) == (24.0, "camel")


def test_davis_in_full_resolution_says_so(tmp_path: Path) -> None:
    davis(tmp_path, {"bear": 2}, "Full-Resolution")
    assert open_in("davis", tmp_path).note == "Full-Resolution, all sequences"


def test_mcl_jcv_prefers_the_raw_sources_and_leaves_coded_versions_out(tmp_path: Path) -> None:
    for k in (1, 2, 10):
        frame = bytes([10 * k + 16]) * (64 * 48) + bytes([128]) * (64 * 24)
        (tmp_path / f"videoSRC{k:02}_64x48_30.yuv").write_bytes(frame * 2)
    save_clip(tmp_path / "videoSRC01_64x48_30.mp4")
    save_clip(tmp_path / "videoSRC03.mp4")
    save_clip(tmp_path / "videoSRC03_05.mp4")
    dataset = open_in("mcl-jcv", tmp_path)
    assert ids(dataset) == ["videoSRC01", "videoSRC02", "videoSRC03", "videoSRC10"]
    assert dataset.note == "4 of 30 clips found"
    first = dataset.items[0].read(FIRST)
    assert (first.pixels.mean(), first.fps) == (pytest.approx(10 * 255 / 219, abs=1), 30)


def test_ucf101_is_drawn_from_all_classes_in_a_fixed_order(tmp_path: Path) -> None:
    names = [f"v_{kind}_g{g:02}_c01" for kind in ("ApplyEyeMakeup", "YoYo", "HandstandPushups") for g in range(1, 6)]
    for name in names:
        save_clip(tmp_path / name.split("_")[1] / f"{name}.avi", codec="mpeg4")
    dataset = open_in("ucf101", tmp_path)
    assert ids(dataset) == sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    captions = {item.id.split("_")[1]: item.caption for item in dataset.items}
    assert captions == {
        "ApplyEyeMakeup": "apply eye makeup",
        "YoYo": "yo yo",
        "HandstandPushups": "handstand pushups",
    }
    assert [dataset.items[k].read(FIRST).pixels.shape for k in (0, 9, -1)] == [(3, 1, 48, 64)] * 3
    assert dataset.note == "15 of 13,320 clips found"


def msrvtt(root: Path, file: str, split: str, numbers: Sequence[int]) -> None:
    videos = [{"video_id": f"video{n}", "split": split} for n in numbers]
    sentences = [
        {"sen_id": 100 * n + k, "video_id": f"video{n}", "caption": f"{n}, said {k} times"}
        for n in numbers
        for k in (2, 1)
    ]
    (root / file).write_text(json.dumps({"info": {}, "videos": videos, "sentences": sentences}))


def test_msrvtt_splits_are_told_apart_and_share_a_folder(tmp_path: Path) -> None:
    msrvtt(tmp_path, "train_val_videodatainfo.json", "validate", [3, 4])
    msrvtt(tmp_path, "test_videodatainfo.json", "test", range(10, 22))
    for n in (0, 3, *range(10, 21)):
        save_clip(tmp_path / "videos/all" / f"video{n}.mp4", 16 + n)
    roots = {"msrvtt": tmp_path}
    test, val = open_dataset("msrvtt", roots), open_dataset("msrvtt-val", roots)
    wanted = sorted((f"video{n}" for n in range(10, 21)), key=lambda v: hashlib.sha256(v.encode()).hexdigest())
    assert ids(test) == wanted
    assert (test.note, val.note) == ("11 of 12 clips found", "1 of 2 clips found")
    assert (ids(val), val.items[0].caption) == (["video3"], "3, said 1 times")
    for k in (0, 9, -1):
        level = (int(wanted[k].removeprefix("video"))) * 255 / 219
        assert test.items[k].read(FIRST).pixels.mean() == pytest.approx(level, abs=1)


def test_a_clip_that_is_there_twice_is_one_sample_and_the_note_says_so(tmp_path: Path) -> None:
    """The same clips below two folders, as after scaling them, or of two endings: the first in natural order counts."""
    msrvtt(tmp_path, "test_videodatainfo.json", "test", [1, 2])
    for folder, luma in (("b", 50), ("a", 100)):
        save_clip(tmp_path / folder / "video1.mp4", luma)
        save_clip(tmp_path / "ucf" / folder / "v_YoYo_g01_c01.avi", luma, codec="mpeg4")
    dataset = open_in("msrvtt", tmp_path)
    assert (ids(dataset), dataset.note) == (["video1"], "1 of 2 clips found; 1 more files of the same names left out")
    assert dataset.items[0].read(FIRST).pixels.mean() == pytest.approx((100 - 16) * 255 / 219, abs=1)
    ucf = open_in("ucf101", tmp_path / "ucf")
    assert (ids(ucf), ucf.note[-40:]) == (["v_YoYo_g01_c01"], "; 1 more files of the same names left out"[-40:])


def test_msrvtt_falls_back_on_the_list_of_the_1k_test(tmp_path: Path) -> None:
    (tmp_path / "MSRVTT_JSFUSION_test.csv").write_text("key,vid_key,video_id,sentence\nret0,msr7,video7,a man sings\n")
    save_clip(tmp_path / "video7.mp4")
    dataset = open_in("msrvtt", tmp_path)
    assert (ids(dataset), dataset.items[0].caption, dataset.note) == (["video7"], "a man sings", "")


def test_a_broken_list_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_videodatainfo.json").write_text("{")
    with pytest.raises(UsageError, match=r"test_videodatainfo\.json is no JSON"):
        open_in("msrvtt", tmp_path)


@pytest.mark.parametrize("name", [n for n, entry in DATASETS.items() if entry.folder != "" and n != "webvid-val"])
def test_an_empty_folder_is_refused_with_the_layout_expected(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_in(name, tmp_path)
    assert DATASETS[name].layout in str(caught.value)


def test_a_configured_folder_is_found_by_name_and_an_explicit_one_goes_before(tmp_path: Path) -> None:
    davis(tmp_path / "one", {"bear": 2})
    davis(tmp_path / "two", {"camel": 2})
    roots = {"davis": tmp_path / "one"}
    assert ids(open_dataset("davis", roots)) == ["bear"]
    assert ids(open_dataset(f"davis={tmp_path / 'two'}", roots)) == ["camel"]


def test_real_pixels_come_back_unchanged_from_a_folder(tmp_path: Path) -> None:
    frames = scene(3, 40, 56, 5)
    for k, frame in enumerate(frames.transpose(1, 2, 3, 0)):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.fromarray(np.ascontiguousarray(frame)).save(tmp_path / "a" / f"{k:03}.png")
    assert np.array_equal(open_dataset(str(tmp_path), {}).items[0].read(Sampling(3, 1)).pixels, frames)
