"""Peak memory of a run on a CPU over one clip in uint8 and in float32, model by model.

    python benchmarks/bench_memory.py                          # 65 and 97 frames of 720p
    python benchmarks/bench_memory.py --models identity,pool-8x8,tiny-video --frames 33 97

Each run is a process of its own, so its peak is the system's figure. What a frame more costs, over what it takes in
both forms (15 bytes a pixel), is printed with the peak that follows for 257 frames. A model's own activations are in
it: of `identity` there are none, so its number is the harness's.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_gpu import film

WHOLE = 257
BYTES = 3 * (1 + 4)
"""Of a pixel, in uint8 and float32."""
MEASURED = """
import resource, sys
from cvbench.cli import run_program
code = run_program(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
raise SystemExit(code)
"""


def peak(model: str, data: Path, cache: Path, frames: int) -> int:
    """Return the bytes that a run takes at its peak."""
    line = ["run", "-m", model, "-d", str(data), "--metrics", "psnr,ssim", "--device", "cpu", "--no-speed", "-q"]
    line += [part for field in (f"frames={frames}", "stride=1", "size=none") for part in ("--set", field)]
    environ = {"CVBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *line], env=environ, capture_output=True, text=True, cwd=cache, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return int(done.stderr.split()[-1]) * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="identity,pool-8x8")
    parser.add_argument("--frames", type=int, nargs=2, default=(65, 97))
    parser.add_argument("--size", type=int, nargs=2, default=(720, 1280))
    given = parser.parse_args()
    few, many = given.frames
    height, width = given.size
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = film(root / "clips", 1, many, height, width)
        for model in given.models.split(","):
            peaks = []
            for frames in (few, many):
                cache = root / f"{model}-{frames}"
                cache.mkdir()
                peaks.append(peak(model, data, cache, frames))
            frame = (peaks[1] - peaks[0]) / (many - few)
            whole = peaks[1] + frame * (WHOLE - many)
            ratio = frame / (BYTES * height * width)
            print(
                f"{model}: a frame more takes {ratio:.2f} of its uint8 and float32; {WHOLE} frames {whole / 1e9:.1f} GB"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
