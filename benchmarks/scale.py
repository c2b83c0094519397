"""How a run grows with samples and models: time, memory, files; and what the harness adds to a model's time.

    python benchmarks/scale.py                                # 100, 1,000 and 10,000 samples × 1, 10 and 40 models
    python benchmarks/scale.py --samples 100 1000 --models 1 10

Pictures of 32 pixels and models that do nothing: what is left is the harness. A line a size: seconds of CPU of a first
run and of one with nothing to do, MiB at its peak, files and MB of the cache. `grows` is the exponent between
neighbours: 1.00 is linear. Then a model of half a second a picture: what a picture more costs over its own time.
Ends with 1 when a curve is steeper than linear by more than a tenth, or the harness takes more than a hundredth.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

MODELS = """
import time

class Same:
    '''Gives back what it is given.'''
    cache_key = ""
    def encode(self, videos):
        if self.seconds:
            time.sleep(self.seconds)
        return videos
    def decode(self, z, frames):
        return z * 0.999

def make(number, seconds=0.0):
    model = Same()
    model.cache_key, model.seconds = str(number), seconds
    return model

slow = lambda: make("slow", 0.5)
"""
STEEPEST, HARNESS = 1.1, 0.01


def folder_of(root: Path, count: int) -> Path:
    """Make pictures that differ."""
    folder = root / f"{count}"
    folder.mkdir()
    rng = np.random.default_rng(count)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{number:06}.png", compress_level=1)
    return folder


def run(root: Path, name: str, data: Path, models: list[str], *more: str) -> tuple[float, float, float]:
    """Run once; return seconds of CPU and of wall, and MiB at the peak."""
    environ = {**os.environ, "CVBENCH_CACHE": str(root / f"cache-{name}"), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-c", TIMED, "run", "-m", ",".join(models), "-d", str(data), "--metrics", "psnr,ssim"]
    line += ["--no-speed", "--pictures", "0", "--device", "cpu", "--set", "size=32", "--out", str(root / f"out-{name}")]
    done = subprocess.run([*line, *more], env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    cpu, wall, peak = done.stderr.splitlines()[-1].split()
    return float(cpu), float(wall), float(peak) / 1024


TIMED = """
import resource, sys, time
begun = time.perf_counter()
from cvbench.cli import run_program
code = run_program(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, time.perf_counter() - begun, used.ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def kept(root: Path) -> tuple[int, float]:
    """Return the files of a cache, and their MB."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files) / 1e6


def growth(samples: list[int], values: list[float]) -> float:
    """Return the steepest exponent between neighbours."""
    pairs = zip(samples, values, strict=True)
    points = [(math.log(count), math.log(max(value, 1e-9))) for count, value in pairs]
    return max(((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(points)), default=0.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--models", type=int, nargs="+", default=[1, 10, 40])
    parser.add_argument("--clips", type=int, nargs=2, default=[10, 50], help="of the model of half a second")
    given = parser.parse_args()
    held = True
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = "".join(f"m{number} = lambda: make({number})\n" for number in range(max(given.models)))
        (root / "models.py").write_text(MODELS + names)
        for count in given.models:
            models = [f"{root / 'models.py'}:m{number}" for number in range(count)]
            firsts, agains = [], []
            for samples in given.samples:
                data = root / f"{samples}" if (root / f"{samples}").exists() else folder_of(root, samples)
                name = f"{samples}x{count}"
                first, again = run(root, name, data, models), run(root, name, data, models)
                files, size = kept(root / f"cache-{name}")
                firsts.append(first[0])
                agains.append(again[0])
                cost = f"first {first[0]:6.1f} s CPU, again {again[0]:5.1f} s, peak {first[2]:.0f} MiB"
                print(f"{samples:6} × {count:2}: {cost}, {files} files, {size:.1f} MB", flush=True)
            steepest = growth(given.samples, firsts), growth(given.samples, agains)
            held &= max(steepest) <= STEEPEST
            print(
                f"   × {count:2} models grows by {steepest[0]:.2f}, with nothing to do by {steepest[1]:.2f}", flush=True
            )
        few, many = given.clips
        slow = [f"{root / 'models.py'}:slow"]
        walls = [run(root, f"slow{count}", folder_of(root, count), slow)[1] for count in (few, many)]
        more = (walls[1] - walls[0]) / (many - few) / 0.5 - 1
        held &= more <= HARNESS
        print(f"beside a model of 0.5 s a clip: {more:+.2%} of its time")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
