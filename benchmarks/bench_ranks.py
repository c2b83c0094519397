"""Many processes, one record: 1, 2 and 4 ranks, shares of a job array, and ranks that are killed at random.

    python benchmarks/bench_ranks.py                     # records of 1, 2, 4 ranks and of two shares are equal
    python benchmarks/bench_ranks.py --kills 30          # and so they are when single ranks are killed
    python benchmarks/bench_ranks.py --data clips/       # wall and CPU time of 2 ranks over those of 1, one thread each

Prints a line a run: seconds of wall and of CPU, kills, and whether the records are those of one process, byte for byte
but for times. Ends with 1 when one is not.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

TIMES = ("created", "environment", "speed")
SIZE = ("--set", "frames=9", "--set", "size=128", "--device", "cpu")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "1000")


def film(folder: Path, clips: int, seed: int) -> Path:
    """Make clips of nine noisy frames and as many pictures."""
    rng = np.random.default_rng(seed)
    for number in range(clips):
        (folder / f"clip{number:02}").mkdir(parents=True)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize(
            (224, 168), Image.Resampling.BICUBIC
        )
        coarse.save(folder / f"picture{number:02}.png")
        for frame in range(9):
            coarse.crop((frame, frame, frame + 200, frame + 150)).save(folder / f"clip{number:02}" / f"{frame:05}.png")
    return folder


def tasks(root: Path, clips: int) -> dict[str, list[str]]:
    """Return a command line of each kind, which nothing fails in."""
    data, other = film(root / "data", clips, 1), film(root / "other", clips, 2)
    models = ["-m", "tiny-image,tiny-video,pool-8x8"]
    return {
        "recon": ["run", *models, "-d", str(data), "--metrics", "psnr,ssim", "--no-speed", "--pictures", "0", *SIZE],
        "compat": [
            "run",
            "-s",
            "compat",
            *models[:1],
            "tiny-image,tiny-video",
            "-d",
            str(data),
            "--metrics",
            "psnr",
            *SIZE,
        ],
        "score": ["score", "-g", str(data), "-r", str(other), "--metrics", "fid", "--init", "random", *SIZE[2:]],
    }


def records(out: Path) -> dict[str, str]:
    """Return the records of a folder by name, without what may differ."""
    found = {path.name: json.loads(path.read_text()) for path in (out / "records").glob("*.json")}
    return {n: json.dumps({k: v for k, v in r.items() if k not in TIMES}, sort_keys=True) for n, r in found.items()}


def workers_of(agent: int) -> list[int]:
    """Return the processes that an agent has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == agent:
                found.append(int(stat.parent.name))
    return found


def stored(cache: Path) -> int:
    """Return how many bytes a cache holds."""
    return sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) if cache.exists() else 0


@contextmanager
def killing(agent: int, cache: Path, kills: int, seed: int) -> Iterator[list[int]]:
    """Kill single workers, each some time after something new was stored, until `kills` are dead."""
    dead: list[int] = []
    over = threading.Event()
    rng = random.Random(seed)

    def kill() -> None:
        before = stored(cache)
        while len(dead) < kills and not over.wait(0.05):
            if stored(cache) == before or not (workers := workers_of(agent)):
                continue
            over.wait(rng.random() / 2)
            with suppress(ProcessLookupError):
                victim = rng.choice(workers)
                os.kill(victim, signal.SIGKILL)
                dead.append(victim)
            over.wait(1.0)  # the agent stops the others, and starts all anew
            before = stored(cache)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield dead
    finally:
        over.set()
        thread.join()


def carried_out(command: Sequence[str], cache: Path, kills: int = 0, seed: int = 0) -> tuple[float, float, int]:
    """Run a command; return seconds of wall and of CPU, and how many workers were killed."""
    environ = {**os.environ, "CVBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    begun, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environ, stdout=said, stderr=said)
        with killing(process.pid, cache, kills, seed) as dead:
            code = process.wait()
        if code:
            said.seek(0)
            sys.exit(f"{' '.join(command)} ended with {code}:\n{said.read().decode(errors='replace')[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return time.perf_counter() - begun, spent, len(dead)


def ranked(line: Sequence[str], ranks: int) -> list[str]:
    """Return the line as torchrun starts it in that many processes; of one alone, as a user types it."""
    start = [*TORCHRUN, "--nproc-per-node", str(ranks)] if ranks > 1 else [sys.executable]
    return [*start, "-m", "cvbench", *line]


def sharded(line: Sequence[str], root: Path, cache: Path) -> tuple[float, float, int]:
    """Do two shares, each in a cache of its own, and put them together."""
    parts = [str(root / f"share{number}") for number in (1, 2)]
    spent = []
    for number, part in enumerate(parts, start=1):
        share = ranked([*line, "--shard", f"{number}/2", "--out", part], 1)
        spent.append(carried_out(share, cache / str(number)))
    spent.append(carried_out(ranked(["merge", *parts, "--out", str(root / "out")], 1), cache / "merged"))
    return sum(each[0] for each in spent), sum(each[1] for each in spent), 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--kills", type=int, default=0, help="in all, spread over the tasks")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--tasks", nargs="+", default=["recon", "compat", "score"])
    parser.add_argument("--data", help="clips of your own: time of 1 and 2 ranks over these, and no kills")
    given = parser.parse_args()
    equal = True
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lines = tasks(root, given.clips)
        if given.data:
            own = ["run", "-m", "tiny-image,tiny-video,pool-8x8", "-d", given.data, "--metrics", "psnr,ssim"]
            lines, given.tasks = {"own": [*own, "--no-speed", "--pictures", "0", "--device", "cpu"]}, ["own"]
        for number, name in enumerate(given.tasks):
            line, home = lines[name], root / name
            alone = carried_out([*ranked(line, 1), "--out", str(home / "1")], home / "cache1")
            print(f"{name}: 1 rank {alone[0]:.1f} s, CPU {alone[1]:.1f} s", flush=True)
            for ranks in given.ranks:
                kills = given.kills // len(given.tasks) // len(given.ranks)
                out, cache = home / str(ranks), home / f"cache{ranks}"
                took = carried_out([*ranked(line, ranks), "--out", str(out)], cache, kills, seed=number * 100 + ranks)
                same = records(out) == records(home / "1") != {}
                equal &= same
                print(
                    f"{name}: {ranks} ranks {took[0]:.1f} s ({took[0] / alone[0]:.2f} of 1), CPU {took[1]:.1f} s, "
                    f"{took[2]} killed, records {'equal' if same else 'DIFFER'}", flush=True,
                )  # fmt: skip
            if not given.kills and not given.data:
                took = sharded(line, home / "shares", home / "caches")
                same = records(home / "shares" / "out") == records(home / "1")
                equal &= same
                print(
                    f"{name}: 2 shares and merge {took[0]:.1f} s, records {'equal' if same else 'DIFFER'}", flush=True
                )
            shutil.rmtree(home)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
