"""Runs that are killed at any moment, and runs at once into one folder: the same records as when nobody disturbs.

    python benchmarks/kills.py                          # 200 kills, spread over all tasks, then ten crowded rounds
    python benchmarks/kills.py --kills 20 --rounds 1 --tasks run score

A command is killed (SIGKILL) some time after its start, typed again, killed again, until it ends by itself; then its
records, or the files that it is asked for, must be those of a command that nobody killed, but for times. In a crowded
round four runs of other models, metrics and pictures begin together, in one folder and one cache: what stands there
afterwards must be what the four leave one after the other. Ends with 1 when something differs.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench_ranks import SIZE, TIMES, film

MODELS = "tiny-image,tiny-video,pool-8x8"
DRAWN = "gaussian-t2i,gaussian-t2i+tiny-video"
CROWD = [
    ["-m", "tiny-image,pool-8x8", "--metrics", "psnr", "--pictures", "0"],
    ["-m", "tiny-video", "--metrics", "psnr,ssim", "--pictures", "2"],
    ["-m", "tiny-image", "--metrics", "ssim,flicker", "--pictures", "2"],
    ["-m", "pool-4x8x8,jpeg", "--metrics", "psnr,ssim", "--pictures", "1"],
]


@dataclass(frozen=True)
class Task:
    """A command line, without where it writes, and what it leaves there."""

    line: list[str]
    option: str
    left: Callable[[Path], dict[str, str]]


def records(out: Path) -> dict[str, str]:
    """Return the records of a folder by name, without what may differ."""
    found = {path.name: json.loads(path.read_text()) for path in sorted(out.rglob("records/*.json"))}
    return {name: without_times(record) for name, record in found.items()}


def without_times(record: dict[str, object]) -> str:
    return json.dumps({key: value for key, value in record.items() if key not in TIMES}, sort_keys=True)


def files(out: Path) -> dict[str, str]:
    """Return the content of every file, of records without times."""
    found = [path for path in sorted(out.rglob("*")) if path.is_file()]
    return {str(path.relative_to(out)): content(path) for path in found}


def content(path: Path) -> str:
    return without_times(json.loads(path.read_text())) if path.suffix == ".json" else path.read_bytes().hex()


def page(out: Path) -> dict[str, str]:
    """Return the reports in a folder of results."""
    return {path.name: path.read_text() for path in out.glob("*.html")}


def tasks(root: Path) -> dict[str, Task]:
    """Return a command line of each kind, which nothing fails in."""
    data, other = film(root / "data", 4, 1), film(root / "other", 4, 2)
    ready, clips = root / "ready", film(root / "clips", 4, 3)
    for picture in clips.glob("*.png"):
        picture.unlink()
    asked = ["-d", str(data), "--no-speed", *SIZE]
    carry_out([*["run", "-m", "pool-8x8,jpeg", "--metrics", "psnr,ssim"], *asked, "--out", str(ready)], root / "cache")
    return {
        "run": Task(["run", "-m", MODELS, "--metrics", "psnr,ssim", "--pictures", "2", *asked], "--out", records),
        "compat": Task(
            ["run", "-s", "compat", "-m", "tiny-image,tiny-video", "--metrics", "psnr", "-d", str(data), *SIZE],
            "--out", records,
        ),
        "score": Task(
            ["score", "-g", str(data), "-r", str(other), "--metrics", "fid", "--init", "random", *SIZE[2:]],
            "--out", records,
        ),
        "generate": Task(
            ["run", "-s", "t2i", "-m", DRAWN, "--metrics", "psnr,ssim", "--limit", "6"], "--out", records,
        ),
        "interpolate": Task(
            ["interpolate", str(clips), "--model", "interp-linear", "--device", "cpu"], "--out", films_of,
        ),
        "baseline": Task(["baseline", "save", str(ready)], "--to", files),
        "report": Task(["report", str(ready)], "--out", reported),
    }  # fmt: skip


def films_of(out: Path) -> dict[str, str]:
    """Return what interpolation leaves, but its record of how long it took."""
    return {name: text for name, text in files(out).items() if not name.startswith("records") and ".log" not in name}


def reported(out: Path) -> dict[str, str]:
    """Return a report, which is one file or a folder."""
    return {"report": out.read_text()} if out.is_file() else page(out)


def carry_out(line: Sequence[str], cache: Path, patience: float | None = None) -> bool:
    """Carry out a command; kill it after `patience` seconds, and tell whether it ended by itself."""
    command = [sys.executable, "-m", "cvbench", *line]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment(cache), stdout=said, stderr=said)
        try:
            code = process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False
        if code:
            said.seek(0)
            sys.exit(f"{' '.join(line)} ended with {code}:\n{said.read().decode(errors='replace')[-3000:]}")
    return True


def environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "CVBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def killed_often(name: str, task: Task, root: Path, kills: int, rng: random.Random) -> bool:
    """Kill a task so often, at moments drawn from its whole length; tell whether it always left what it should."""
    begun = time.perf_counter()
    place = root / name
    carry_out([*task.line, task.option, str(place / "alone")], place / "cache")
    length, wanted = time.perf_counter() - begun, task.left(place / "alone")
    dead, ends, same = 0, 0, bool(wanted)
    while dead < kills:
        out, cache = place / str(ends), place / f"cache{ends}"
        # The last one of all goes on to its end.
        while not carry_out(
            [*task.line, task.option, str(out)], cache, rng.random() * length if dead < kills else None
        ):
            dead += 1
        ends += 1
        equal, parts = task.left(out) == wanted, [*out.rglob("*.part")] if out.is_dir() else []
        same &= equal and not parts
        if not equal or parts:
            print(f"{name}: after {dead} kills: {'DIFFERS' if not equal else f'left {parts}'}", flush=True)
        shutil.rmtree(cache, ignore_errors=True)
    print(
        f"{name}: {length:.1f} s alone, {dead} kills, ended {ends} times, {'equal' if same else 'DIFFERENT'}",
        flush=True,
    )
    shutil.rmtree(place)
    return same


def crowded(root: Path, rounds: int) -> bool:
    """Start four runs at once, again and again; tell whether nothing was lost and nothing mixed."""
    lines = [["run", *line, "-d", str(root / "data"), "--no-speed", *SIZE] for line in CROWD]
    for line in lines:
        carry_out([*line, "--out", str(root / "queue")], root / "cache-queue")
    wanted, same = records(root / "queue"), True
    pictures = sorted(path.name for path in (root / "queue" / "pictures").rglob("*") if path.suffix != ".json")
    for number in range(rounds):
        out, cache = root / f"crowd{number}", root / f"cache-crowd{number}"
        commands = [[sys.executable, "-m", "cvbench", *line, "--out", str(out)] for line in lines]
        started = [
            subprocess.Popen(c, env=environment(cache), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for c in commands
        ]
        codes = [process.wait() for process in started]
        found = records(out)
        shown = sorted(path.name for path in (out / "pictures").rglob("*") if path.suffix != ".json")
        good = codes == [0] * 4 and found == wanted and shown == pictures
        same &= good
        lost = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))
        print(
            f"crowd {number + 1}: codes {codes}, {'equal' if good else f'DIFFERENT: {lost}, {shown}, {pictures}'}",
            flush=True,
        )
        shutil.rmtree(out)
        shutil.rmtree(cache)
    return same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="in all, spread over the tasks")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="+")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        known = tasks(root)
        chosen = given.tasks or list(known)
        rng = random.Random(given.seed)
        share = -(-given.kills // len(chosen))
        same = [killed_often(name, known[name], root, share, rng) for name in chosen]
        return 0 if all(same) & crowded(root, given.rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
