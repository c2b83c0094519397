"""The data sets of published tables, as their distributors lay them out. Opening one decodes nothing."""

import hashlib
import os
import re
from collections.abc import Container, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from cvbench.core.errors import UsageError
from cvbench.core.types import Sample, Sampling
from cvbench.data.dataset import Dataset, DatasetEntry, Item, file_item, numbered_item
from cvbench.data.files import Reader
from cvbench.data.folder import IMAGES, VIDEOS, hidden, in_order, walk
from cvbench.data.lists import load_csv as load_csv
from cvbench.data.lists import load_json, load_text, records
from cvbench.data.sampling import BLACK, plan

COCO_IMAGES = 5000
WEBVID_CLIPS = 1024
DAVIS_FPS = 24.0
MCL_JCV_CLIPS = 30
UCF101_CLIPS = 13320
BUILT_IN = "built in, needs no folder"


def open_coco_val(root: Path, reader: Reader) -> Dataset:
    """COCO 2017 val: 5,000 photos by ascending id, with the first of each one's captions where they are there."""
    folder = first_folder(root, "val2017", "images/val2017") or root
    pictures = [p for p in files_in(folder, IMAGES) if re.fullmatch(r"\d{12}", p.stem)]
    places = [base / "annotations/captions_val2017.json" for base in (root, root.parent, folder.parent)]
    captions = coco_captions(next((p for p in places if p.is_file()), None))
    found = by_stem(pictures)
    items = [file_item(path, name, reader, captions.get(int(name))) for name, path in found.items()]
    return filled("coco-val", root, items, COCO_IMAGES, "images", len(pictures) - len(found))


def coco_captions(file: Path | None) -> dict[int, str]:
    """Return the caption of lowest id of each image."""
    rows = records(file, load_json(file), "annotations") if file else ()
    found: dict[int, str] = {}
    for _, image, caption in sorted((row.number("id"), row.number("image_id"), row.text("caption")) for row in rows):
        found.setdefault(image, caption.strip())
    return found


def open_webvid_val(root: Path, reader: Reader) -> Dataset:
    """WebVid-2M val: the 1,024 ids of the CSV with the smallest SHA-256, in that order, as far as the clips are there.

    Which 1,024 the paper took is not stated; this draw depends on the list of ids alone, not on what was downloaded.
    """
    rows = {row["videoid"]: row for row in load_csv(only_file(root, "*val*.csv"), "videoid", "page_dir", "name")}
    drawn = sorted(rows, key=drawing)[:WEBVID_CLIPS]
    items = []
    for name in drawn:
        places = (
            f"{base}{name}.mp4"
            for base in (f"videos/{rows[name]['page_dir']}/", f"{rows[name]['page_dir']}/", "videos/", "")
        )
        path = next((root / place for place in places if os.path.isfile(root / place)), None)  # noqa: PTH113 - as `there`
        if path:
            items.append(file_item(path, name, reader, rows[name]["name"]))
    return filled("webvid-val", root, items, len(drawn), "clips")


def open_davis(root: Path, reader: Reader) -> Dataset:
    """DAVIS: each sequence's frames are a clip; the val list of 2017 where it is there, or else all sequences."""
    places = ("JPEGImages/480p", "JPEGImages/Full-Resolution", "480p", "Full-Resolution", "JPEGImages")
    folder = first_folder(root, *places) or root
    folders = {path.name: path for path in folder.iterdir() if path.is_dir() and not hidden(path.name)}
    lists = [base / "ImageSets/2017/val.txt" for base in (root, folder.parent, folder.parent.parent)]
    listing = next((p for p in lists if p.is_file()), None)
    names = load_text(listing).split() if listing else sorted(folders)
    clips = {name: in_order(files_in(folders[name], IMAGES)) for name in names if name in folders}
    items = [numbered_item(frames, name, DAVIS_FPS) for name, frames in clips.items() if frames]
    dataset = filled("davis", root, items, len(names), "sequences")
    kind = f"{folder.name}, {'val of 2017' if listing else 'all sequences'}"
    return Dataset(dataset.name, dataset.items, f"{kind}; {dataset.note}" if dataset.note else kind)


def open_mcl_jcv(root: Path, reader: Reader) -> Dataset:
    """MCL-JCV: the source clips videoSRC01 to videoSRC30, raw 4:2:0 (.yuv, size and rate in the name) or packed."""
    found: dict[str, list[Path]] = {}
    for path in files_below(root, VIDEOS):
        match = re.fullmatch(r"(videoSRC\d\d)(?:_\d+x\d+_\d+(?:_\d+bit)?)?", path.stem)
        if match:
            found.setdefault(match[1], []).append(path)
    items = [
        file_item(min(paths, key=lambda p: (p.suffix != ".yuv", p)), name, reader)
        for name, paths in sorted(found.items())
    ]
    return filled("mcl-jcv", root, items, MCL_JCV_CLIPS, "clips")


def open_ucf101(root: Path, reader: Reader) -> Dataset:
    """UCF-101: all clips, ordered by the SHA-256 of their names, so that a limit draws from all classes."""
    clips = [p for p in files_below(root, VIDEOS) if re.fullmatch(r"v_\w+_g\d\d_c\d\d", p.stem)]
    found = by_stem(clips)
    items = [file_item(found[name], name, reader, action(name)) for name in sorted(found, key=drawing)]
    return filled("ucf101", root, items, UCF101_CLIPS, "clips", len(clips) - len(found))


def action(stem: str) -> str:
    """Return the class of a UCF-101 clip in words: v_ApplyEyeMakeup_g01_c01 is "apply eye makeup"."""
    return " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", stem.split("_")[1])).lower()


def open_msrvtt(name: str, split: str, root: Path, reader: Reader) -> Dataset:
    """MSR-VTT: the clips of a split, ordered by the SHA-256 of their ids, each with its first caption."""
    captions = msrvtt_captions(root, split)
    clips = files_below(root, VIDEOS)
    paths = by_stem(clips)
    drawn = sorted(captions, key=drawing)
    items = [file_item(paths[v], v, reader, captions[v]) for v in drawn if v in paths]
    doubled = sum(path.stem in captions for path in clips) - len(items)
    return filled(name, root, items, len(drawn), "clips", doubled)


def msrvtt_captions(root: Path, split: str) -> dict[str, str]:
    """Return the caption of lowest id of each clip of a split, from the JSON files, or the CSV of the 1k-A test."""
    clips: set[str] = set()
    sentences: list[tuple[int, str, str]] = []
    for file in in_order(files_below(root, {".json"})):
        tables = load_json(file)
        if "videos" in tables and "sentences" in tables:
            videos = records(file, tables, "videos")
            clips |= {video.text("video_id") for video in videos if video.fields.get("split") == split}
            rows = records(file, tables, "sentences")
            sentences += [(row.number("sen_id"), row.text("video_id"), row.text("caption")) for row in rows]
    if not clips and split == "test":
        files = [p for p in files_below(root, {".csv"}) if "jsfusion_test" in p.name.lower()]
        return {row["video_id"]: row["sentence"] for p in files[:1] for row in load_csv(p, "video_id", "sentence")}
    found = dict.fromkeys(clips, "")
    for _, clip, caption in sorted(sentences, reverse=True):
        if clip in found:
            found[clip] = caption
    return found


def open_sample(name: str, kinds: Container[str], root: Path, reader: Reader) -> Dataset:
    """Return the built-in scenes of some kinds; a scene is the same item in each data set that has it."""
    from cvbench.data.sample import PINNED, SCENES

    scenes = [s for s in SCENES if s.kind in kinds]
    return Dataset(name, tuple(map(scene_item, scenes, (PINNED[s.id] for s in scenes))))


def scene_item(scene: Any, sha256: str) -> Item:
    """Return a scene as an item; its pixels are pinned, so its stamp is constant."""
    size = (scene.frames, scene.height, scene.width)
    return Item(scene.id, partial(str, f"sample|{scene.id}|{sha256}"), partial(read_scene, scene), look=lambda: size)


def read_scene(scene: Any, sampling: Sampling) -> Sample:
    """Compute the wanted frames of a scene, by the rule that holds for files."""
    from cvbench.data.sample import render

    if scene.frames == 1:
        return Sample(scene.id, render(scene, [0]), None)
    chosen = plan(scene.frames, sampling, scene.fps, scene.id)
    shown = [max(index, 0) for index in chosen.indices]
    facts: dict[str, object] = {
        "stride": chosen.stride,
        "pts": [round(i / scene.fps, 6) for i in shown],
        **chosen.facts,
    }
    pixels = render(scene, shown)
    pixels[:, [index == BLACK for index in chosen.indices]] = 0
    return Sample(scene.id, pixels, scene.fps, facts)


def drawing(name: str) -> str:
    """Return the number a clip draws: the SHA-256 of its name."""
    return hashlib.sha256(name.encode()).hexdigest()


def filled(name: str, root: Path, items: Iterable[Item], expected: int, what: str, doubled: int = 0) -> Dataset:
    """Return the data set, its note telling how much of it is there. Raises UsageError when nothing is."""
    items = tuple(items)
    if not items:
        raise UsageError(f"found no {what} of {name} in {root}; expected: {DATASETS[name].layout}")
    said = [] if len(items) == expected else [f"{len(items):,} of {expected:,} {what} found"]
    said += [f"{doubled:,} more files of the same names left out"] if doubled else []
    return Dataset(name, items, "; ".join(said))


def by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Return files in natural order by their names without ending; of equal names the first file."""
    found: dict[str, Path] = {}
    for path in in_order(paths):
        found.setdefault(path.stem, path)
    return found


def first_folder(root: Path, *names: str) -> Path | None:
    """Return the first of the subfolders that is there."""
    return next((root / name for name in names if (root / name).is_dir()), None)


def files_in(folder: Path, endings: Iterable[str]) -> list[Path]:
    """Return the files in a folder that have one of the endings."""
    endings = frozenset(endings)
    return [p for p in folder.iterdir() if p.suffix.lower() in endings and not hidden(p.name)]


def files_below(root: Path, endings: Iterable[str]) -> list[Path]:
    """Return the files in a folder and below that have one of the endings."""
    endings = frozenset(endings)
    return [p for _, files in walk(root) for p in files if p.suffix.lower() in endings]


def only_file(root: Path, pattern: str) -> Path:
    """Return the one file that matches. Raises UsageError."""
    found = in_order(root.glob(pattern))
    if len(found) != 1:
        raise UsageError(f"{len(found)} files match {root / pattern}; put exactly one there")
    return found[0]


DATASETS: dict[str, DatasetEntry] = {
    "sample": DatasetEntry(
        "8 pictures and 8 clips computed from seeds", BUILT_IN, partial(open_sample, "sample", ("image", "clip")), ""
    ),
    "sample-images": DatasetEntry(
        "the 8 pictures of sample", BUILT_IN, partial(open_sample, "sample-images", ("image",)), ""
    ),
    "sample-clips": DatasetEntry(
        "the 8 clips of sample", BUILT_IN, partial(open_sample, "sample-clips", ("clip",)), ""
    ),
    "coco-val": DatasetEntry(
        "COCO 2017 val, 5,000 photos", "val2017/*.jpg [annotations/captions_val2017.json]", open_coco_val
    ),
    "webvid-val": DatasetEntry(
        "WebVid-2M val, the 1,024 clips whose ids have the smallest SHA-256",
        "results_2M_val.csv videos/PAGE_DIR/VIDEOID.mp4 (or videos/VIDEOID.mp4)",
        open_webvid_val,
    ),
    "davis": DatasetEntry(
        "DAVIS, val of 2017 where listed, else all sequences",
        "JPEGImages/480p (or Full-Resolution)/SEQUENCE/00000.jpg … [ImageSets/2017/val.txt]",
        open_davis,
    ),
    "mcl-jcv": DatasetEntry("MCL-JCV, 30 source clips", "videoSRC01_1920x1080_30.yuv (or .mp4, …) …", open_mcl_jcv),
    "ucf101": DatasetEntry(
        "UCF-101, 13,320 clips in the order of their SHA-256", "UCF-101/CLASS/v_CLASS_g01_c01.avi …", open_ucf101
    ),
    "msrvtt": DatasetEntry(
        "MSR-VTT test, 2,990 clips in the order of their SHA-256",
        "video….mp4 at any depth, test_videodatainfo.json (or MSRVTT_JSFUSION_test.csv: its 1,000)",
        partial(open_msrvtt, "msrvtt", "test"),
    ),
    "msrvtt-val": DatasetEntry(
        "MSR-VTT validation, 497 clips in the order of their SHA-256",
        "as msrvtt, with train_val_videodatainfo.json",
        partial(open_msrvtt, "msrvtt-val", "validate"),
        "msrvtt",
    ),
}
