"""Small files of every kind that cvbench reads, what reads them, and what their own checksums say: for `mutate.py`."""

import contextlib
import io
import json
import shutil
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from cvbench.cli import run_program
from cvbench.core.errors import CvbenchError
from cvbench.core.records import read_records
from cvbench.core.suites import folder as benchmark_files
from cvbench.core.types import Sampling
from cvbench.data import open_dataset
from cvbench.data.frames import read_file
from cvbench.store import FileStore
from cvbench.store.entries import heads
from cvbench.store.shards import shards_in as shards_of_cache
from cvbench.tasks.scoring.pairs import read_prompts
from cvbench.tasks.scoring.sets import open_csv
from cvbench.weights import config_in, path_digest, read_tensors, shards_in
from cvbench.weights.checkpoints import check_whole

Reader = Callable[[Path], bool]
"""Reads a file and tells whether it was taken; what is refused is False or a CvbenchError."""
FAST = ("--metrics", "psnr", "--protocol", "cvbench-1", "--set", "frames=3", "--set", "size=32")
RUN = ("run", "-m", "identity,jpeg", "-d", "media", "--no-speed", "--device", "cpu", "--out", "out", *FAST)
PICTURES = ("png", "jpg", "webp", "gif", "bmp", "tif", "ppm", "avif", "jp2")
ANIMATIONS = ("png", "gif", "webp")
CLIPS = {"mp4": "libx264", "mkv": "ffv1", "avi": "mjpeg", "mov": "mpeg4", "ts": "mpeg2video", "webm": "libvpx",
         "flv": "flv", "y4m": "rawvideo"}  # fmt: skip


class Finding(Exception):
    """Something that must not happen."""


@dataclass(frozen=True)
class Kind:
    """A file: `make` writes it, and what goes with it, into a folder; `form` is the structure that mutations keep.

    `damaged` tells by the file's own checksum that it is not as it was written: such a file gives no number.
    """

    make: Callable[[Path], Path]
    readers: Sequence[Reader]
    form: str = ""
    damaged: Callable[[Path], bool] = lambda _: False


def program(*arguments: str, allowed: Sequence[int] = (0, 2, 3)) -> Reader:
    """Return what runs the program; FILE in its arguments is the file."""

    def read(file: Path) -> bool:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            code = run_program([str(file) if a == "FILE" else a for a in arguments])
        said = out.getvalue() + err.getvalue()
        if code not in allowed or "Traceback" in said:
            raise Finding(f"{' '.join(arguments)[:60]}: exit code {code}: {said[-200:]}")
        return code == 0

    return read


def taken(function: Callable[[Path], object]) -> Reader:
    """Return a reader of a function that raises where it refuses."""
    return lambda file: (function(file), True)[1]


# pictures and clips


def frames(count: int = 4, seed: int = 0) -> list[np.ndarray]:
    """Return moving textures of 56×40 pixels."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (10, 14, 3)).repeat(4, 0).repeat(4, 1)
    noise = rng.integers(-20, 21, (40, 56, 3))
    return [np.clip(np.roll(base, 3 * i, 1) + noise, 0, 255).astype(np.uint8) for i in range(count)]


def picture(ending: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        file = folder / "media" / f"picture.{ending}"
        file.parent.mkdir()
        Image.fromarray(frames()[0]).save(file)
        return file

    return make


def animation(ending: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        file = folder / "media" / f"animation.{ending}"
        file.parent.mkdir()
        first, *others = map(Image.fromarray, frames())
        first.save(file, save_all=True, append_images=others, duration=40)
        return file

    return make


def clip(ending: str, codec: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        file = folder / "media" / f"clip.{ending}"
        file.parent.mkdir()
        options = {"level": "3", "slices": "4", "slicecrc": "1"} if codec == "ffv1" else {}
        with av.open(str(file), "w") as box:
            stream = box.add_stream(codec, rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = 56, 40, "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for frame in frames():
                box.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            box.mux(stream.encode())
        return file

    return make


def read_media(file: Path) -> bool:
    return bool(read_file(file, Sampling(9, 2)).pixels.size)


MEDIA = (read_media, read_media, read_media, program(*RUN))
MOVING = (*MEDIA, program("interpolate", "media", "--model", "interp-linear", "--out", "smooth", "--factor", "2"))


def png_is_damaged(file: Path) -> bool:
    """Tell whether a chunk of a PNG that decides pixels has another CRC than is written behind it."""
    data, at = file.read_bytes(), 8
    while data.startswith(b"\x89PNG\r\n\x1a\n") and at + 12 <= len(data) and data[at + 4 : at + 8] != b"IEND":
        end = at + 8 + int.from_bytes(data[at : at + 4])
        drawn = data[at + 4 : at + 8] in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT")
        if drawn and zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4]):
            return True
        at = end + 4
    return False


def crc_of_ffv1(data: bytes) -> int:
    """CRC-32 of RFC 9043, section 4.9.3: most significant bit first, from 0; over a slice with its own CRC, 0."""
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ TABLE[crc >> 24 ^ byte]
    return crc


def _entry(value: int) -> int:
    value <<= 24
    for _ in range(8):
        value = (value << 1) ^ (0x104C11DB7 if value >> 31 else 0)
    return value


TABLE = [_entry(i) for i in range(256)]


def ffv1_is_damaged(file: Path) -> bool:
    """Tell whether a slice of a frame, as the container holds it, has a wrong CRC."""
    try:
        with av.open(str(file)) as box:
            if not box.streams.video or box.streams.video[0].codec_context.name != "ffv1":
                return False
            return not all(all(map(_slice_is_whole, _slices(bytes(p)))) for p in box.demux(video=0) if p.size)
    except av.FFmpegError:
        return False


def _slices(packet: bytes) -> list[bytes]:
    found, end = [], len(packet)
    while end > 8:
        start = max(0, end - 8 - int.from_bytes(packet[end - 8 : end - 5]))
        found.append(packet[start:end])
        end = start
    return found


def _slice_is_whole(data: bytes) -> bool:
    return crc_of_ffv1(data) == 0


# what runs write


def run_into(folder: Path) -> None:
    """Make a finished run `out`, with a baseline `base` and a cache, of pictures in `media`."""
    (folder / "media").mkdir()
    for i, frame in enumerate(frames(3)):
        Image.fromarray(frame).save(folder / "media" / f"{'abc'[i]}.png")
    if not (program(*RUN)(folder) and program("baseline", "save", "out", "--to", "base")(folder)):
        raise Finding("the run that makes the files ended badly")
    shutil.copytree(folder / "out", folder / "before")


def in_run(pattern: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        run_into(folder)
        return sorted(path for path in folder.glob(pattern) if path.is_file() and path.name != ".lock")[-1]

    return make


def run_again(file: Path) -> bool:
    """Run again over what is there, and compare with what an undisturbed run had found."""
    program(*RUN)(file)
    scores = [{r.model.name: {m: s.value for m, s in r.scores.items()} for r in read_records([p])}
              for p in (Path("out"), Path("before"))]  # fmt: skip
    if scores[0] != scores[1]:
        raise Finding(f"another number from a damaged {file.name}: {scores[0]} for {scores[1]}")
    return True


def read_cache(file: Path) -> bool:
    """Read what stands under each key of the cache: nothing, or what was written there."""
    shards_of_cache.cache_clear()
    store, whole = FileStore(Path("cache")), FileStore(Path("whole"))
    (shard,) = Path("whole/store").glob("*.shard")
    with shard.open("rb") as opened:
        keys = {head.key.hex() for _, head in heads(opened.fileno(), 0, lambda _: None)}
    rows = [(store.rows(key), whole.rows(key)) for key in keys]
    facts = [(store.facts(key), whole.facts(key)) for key in keys]
    other = [read for read, kept in rows if any(not np.array_equal(read[name], kept[name]) for name in read)]
    if other or any(read is not None and read != kept for read, kept in facts):
        raise Finding(f"other rows or facts from a damaged {file.name} of the cache")
    return any(read for read, _ in rows)


def cached(folder: Path) -> Path:
    file = in_run("cache/store/*.shard")(folder)
    shutil.copytree(folder / "cache", folder / "whole")
    return file


RECORDS = (
    *(program("table", "out", "--format", form) for form in ("md", "html", "csv", "latex", "json")),
    program("table", "out", "--allow-mixed", "--intervals"),
    program("table", "out", "--temporal", "--allow-mixed"),
    program("table", "1", "--from", "out", "--published", "--allow-mixed"),
    program("compare", "out"),
    program("compare", "before", "out"),
    program("compare", "out", "before", "--format", "json"),
    program("check", "out", "--against", "base", "--junit", "j.xml", "--github", allowed=(0, 1, 2, 3)),
    program("check", "before", "--against", "out", "--tolerance", "speed=2", allowed=(0, 1, 2, 3)),
    program("baseline", "save", "out", "--to", "base"),
    program("baseline", "save", "before", "--to", "out/records"),
    program("report", "out"),
    program("report", "out", "--markdown", "--out", "md"),
    program(*RUN),
)
REPORTS = (
    program("report", "out"),
    program("report", "out", "--markdown", "--out", "md"),
    program("report", "out", "before"),
    run_again,
)


def interpolated(folder: Path) -> Path:
    clip("mkv", "ffv1")(folder)
    MOVING[-1](folder)
    return folder / "smooth" / "interpolated.json"


# what a person writes


def text(name: str, content: str) -> Callable[[Path], Path]:
    """Return what writes a text beside pictures and clips."""

    def make(folder: Path) -> Path:
        made = clip("mp4", "libx264")(folder)
        for other in ("7.mp4", "video7.mp4"):
            shutil.copy(made, made.with_name(other))
        for picture_name in ("a.png", "b.png", "000000000139.png"):
            Image.fromarray(frames()[0]).save(folder / "media" / picture_name)
        shutil.copytree(folder / "media", folder / "val2017")
        shutil.copytree(folder / "media", folder / "480p" / "bear")
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        return file

    return make


def table_file(number: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        run_into(folder)
        return Path(shutil.copy(benchmark_files() / f"table-{number}.toml", folder / "table.toml"))

    return make


def read_named(name: str) -> Reader:
    return lambda _: bool(open_dataset(f"{name}=.", {}, None, "pyav").items)


CONFIG = '[data]\ncoco-val = "media"\n"webvid-val" = \'clips\'\n[weights]\nvae-sd21 = "weights/x.safetensors"\n'
PROMPTS = "name,prompt\na,a red house\nb,\"a dog, and 'a cat'\"\n"
SAMPLES = "path,prompt,first_frame\nmedia/a.png,a red house,media/b.png\nmedia/b.png,a dog,media/a.png\n"
SCORE = ("score", "-g", "media", "--metrics", "text-alignment", "--out", "s", "--set", "frames=1", "--device", "cpu")
COCO = {"annotations": [{"id": 3, "image_id": 139, "caption": "a room"}, {"id": 5, "image_id": 139, "caption": "b"}]}
MSRVTT = {
    "videos": [{"video_id": "video7", "split": "test"}],
    "sentences": [{"sen_id": 1, "video_id": "video7", "caption": "a man"}],
}
DATA_RUN = ("run", "-m", "identity", "--no-speed", "--pictures", "0", "--device", "cpu", "--out", "o", *FAST)
CONFIGURED = (program("list", "data"), program("list", "models"), program("weights", "list", "vae-sd21"),
              program(*DATA_RUN, "-d", "media"), program("weights", "path", "vae-sd21"))  # fmt: skip


# checkpoints

STATE = {"encoder.weight": torch.arange(64.0).reshape(8, 8), "encoder.bias": torch.ones(8), "step": torch.tensor(3)}


def checkpoint(name: str, legacy: bool = False) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        file = folder / name
        torch.save({"state_dict": STATE, "epoch": 3}, file, _use_new_zipfile_serialization=not legacy)
        return file

    return make


def tensors(folder: Path) -> Path:
    from safetensors.torch import save_file

    save_file(STATE, folder / "model.safetensors", {"format": "pt"})
    return folder / "model.safetensors"


def archive(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "model.zip", "w", zipfile.ZIP_DEFLATED) as box:
        box.write(tensors(folder), "weights/model.safetensors")
        box.writestr("weights/model.py", "print(1)\n")
    (folder / "model.safetensors").unlink()
    return folder / "model.zip"


def read_weights(file: Path) -> bool:
    read_tensors(file)
    path_digest(file)
    return True


def zip_is_damaged(file: Path) -> bool:
    """Tell whether a zip's own checksums, or its lists, show damage."""
    try:
        with zipfile.ZipFile(file) as box:
            return box.testzip() is not None
    except Exception:
        return file.read_bytes().startswith(b"PK")


WEIGHTS = (read_weights, read_weights, taken(check_whole))
JSON_TEXT = {"config.json": {"latent_channels": 4, "block_out_channels": [32, 64], "act_fn": "silu", "scale": 0.18}}
SHARDS = {"metadata": {"total_size": 9}, "weight_map": {"a.weight": "m-1.safetensors", "b.weight": "m-2.safetensors"}}

KINDS: dict[str, Kind] = {
    **{f"picture.{e}": Kind(picture(e), MEDIA) for e in PICTURES if e != "png"},
    "picture.png": Kind(picture("png"), MEDIA, damaged=png_is_damaged),
    **{f"animation.{e}": Kind(animation(e), MOVING) for e in ANIMATIONS if e != "png"},
    "animation.png": Kind(animation("png"), MOVING, damaged=png_is_damaged),
    **{f"clip.{e}": Kind(clip(e, codec), MOVING) for e, codec in CLIPS.items() if e != "mkv"},
    "clip.mkv": Kind(clip("mkv", "ffv1"), MOVING, damaged=ffv1_is_damaged),
    "record": Kind(in_run("out/records/*.json"), RECORDS, "json"),
    "baseline": Kind(in_run("base/**/*.json"), (program("check", "out", "--against", "base", allowed=(0, 1, 2, 3)),
                     program("baseline", "save", "out", "--to", "base")), "json"),
    "origins": Kind(in_run("out/records/.origins"), (run_again,), "json"),
    "index of pictures": Kind(in_run("out/pictures/*.json"), REPORTS, "json"),
    "stored picture": Kind(in_run("out/pictures/**/*.webp"), REPORTS),
    "interpolated.json": Kind(interpolated, MOVING[-1:], "json"),
    "cache": Kind(cached, (read_cache, read_cache, run_again)),
    "cvbench.toml": Kind(text("cvbench.toml", CONFIG), CONFIGURED, "toml"),
    **{f"table-{n}.toml": Kind(table_file(n), (program("table", "FILE"), program("table", "FILE", "--published",
       "--from", "out", "--allow-mixed")), "toml") for n in (1, 3, 4, 6)},
    "prompts.csv": Kind(text("prompts.csv", PROMPTS), (taken(read_prompts),
                        program(*SCORE, "--prompts", "FILE")), "csv"),
    "prompts.json": Kind(text("prompts.json", json.dumps({"a": "a red house", "b": "a dog"})),
                         (taken(read_prompts), program(*SCORE, "--prompts", "FILE")), "json"),
    "prompts.jsonl": Kind(text("prompts.jsonl", '{"name": "a", "prompt": "x"}\n{"name": "b", "prompt": "y"}\n'),
                          (taken(read_prompts),), "csv"),
    "prompts.txt": Kind(text("prompts.txt", "a,a red house\nb\ta dog, and a cat\n"), (taken(read_prompts),), "csv"),
    "samples.csv": Kind(text("samples.csv", SAMPLES), (taken(lambda f: open_csv(f, "pyav")),
                        program("score", "-g", "FILE", *SCORE[3:])), "csv"),
    "coco captions": Kind(text("annotations/captions_val2017.json", json.dumps(COCO)),
                          (read_named("coco-val"), program(*DATA_RUN, "-d", "coco-val=.")), "json"),
    "msrvtt list": Kind(text("test_videodatainfo.json", json.dumps(MSRVTT)), (read_named("msrvtt"),), "json"),
    "webvid list": Kind(text("results_2M_val.csv", "videoid,page_dir,name\n7,media,a man\n8,media,b\n"),
                        (read_named("webvid-val"), program(*DATA_RUN, "-d", "webvid-val=.")), "csv"),
    "davis list": Kind(text("ImageSets/2017/val.txt", "bear\nblackswan\n"), (read_named("davis"),), "csv"),
    "torch zip": Kind(checkpoint("model.pt"), WEIGHTS, "zip", zip_is_damaged),
    "torch pickle": Kind(checkpoint("model.pth", legacy=True), WEIGHTS),
    "safetensors": Kind(tensors, WEIGHTS, "safetensors"),
    "archive": Kind(archive, WEIGHTS, "zip", zip_is_damaged),
    "config.json": Kind(text("config.json", json.dumps(JSON_TEXT["config.json"])), (taken(config_in),), "json"),
    "index of shards": Kind(text("model.safetensors.index.json", json.dumps(SHARDS)), (taken(shards_in),), "json"),
}  # fmt: skip
"""Every kind of file that cvbench reads."""


def outcome(kind: Kind, file: Path, reader: Reader) -> str:
    """Read a file: "read" or "refused". Raises Finding for what must not be, and whatever a reader lets through."""
    try:
        read = reader(file)
    except CvbenchError:
        read = False
    if read and kind.damaged(file):
        raise Finding(f"a number from a {file.suffix} file whose own checksum shows damage")
    return "read" if read else "refused"
