"""What the harness costs beside a model: the time of a run over the model's own, model by model.

    python benchmarks/bench_gpu.py                                    # on a GPU where there is one, else on the CPU
    python benchmarks/bench_gpu.py --models vae-sd21,wan-2.1 --clips 32 --dtype bf16

Both code the same clips of the built-in sample's kind; the run reads, checks, rounds, measures and stores them too. One
warm-up each, then rounds in turn; the median of their ratios is printed, with the stages of the last run. Models are
drawn at random (`--init random`): their arithmetic is that of trained ones.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cvbench.core.protocol import protocol
from cvbench.engine import clock
from cvbench.engine.coding import code
from cvbench.engine.device import device_name, pick_device
from cvbench.engine.loop import read_prepared
from cvbench.engine.memory import settle_threads
from cvbench.engine.subject import subject_of
from cvbench.store import FileStore
from cvbench.tasks import reconstruction
from cvbench.tasks.request import Request


def film(folder: Path, clips: int, frames: int, height: int, width: int) -> Path:
    """Make clips of a picture that moves, as numbered frames."""
    rng = np.random.default_rng(0)
    for number in range(clips):
        (folder / f"{number:03}").mkdir(parents=True)
        noise = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
        whole = Image.fromarray(noise).resize((width + frames, height + frames), Image.Resampling.BICUBIC)
        for frame in range(frames):
            part = whole.crop((frame, frame, frame + width, frame + height))
            part.save(folder / f"{number:03}" / f"{frame:05}.png", compress_level=1)
    return folder


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def alone(request: Request) -> float:
    """Return the seconds that the model takes for all clips: encode and decode, nothing else but checks."""
    subject = subject_of(request.models[0], request.setting)
    items = request.datasets()[0].items
    samples = [read_prepared(index, item, request.protocol) for index, item in enumerate(items)]
    clips = [torch.from_numpy(sample.pixels[None]).to(subject.setting.device) for sample in samples]
    code(subject, clips[0], [0], round8=True)
    wait(subject.setting.device)
    begun = time.perf_counter()
    for clip in clips:
        code(subject, clip, [0], round8=True)
    wait(subject.setting.device)
    return time.perf_counter() - begun


def whole(request: Request) -> tuple[float, str]:
    """Return the seconds that a run takes once everything is loaded, and where they went."""
    with tempfile.TemporaryDirectory() as folder:
        store = FileStore(Path(folder))
        dataset = request.datasets()[0]
        subject = subject_of(request.models[0], request.setting)
        probes = reconstruction.Probes(list(request.metrics), request.setting.device, {})
        code(subject, torch.zeros(1, 3, request.protocol.frames, 64, 64, device=request.setting.device), [0])
        task = reconstruction.Reconstruction(request, dataset, [subject], probes, store)
        begun = time.perf_counter()
        with clock.running() as times:
            list(task.records())
            stages = times.total()
        return time.perf_counter() - begun, clock.summary(stages)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="tiny-image,tiny-video")
    parser.add_argument("--metrics", default="psnr,ssim")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    settle_threads()
    device = pick_device(given.device)
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    if device.type != "cuda":
        print("no GPU here: these are ratios of a CPU, where the model waits for nothing; of a GPU nothing is said")
    with tempfile.TemporaryDirectory() as folder:
        data = film(Path(folder), given.clips, given.frames, given.size + 32, given.size + 32)
        fields = [f"frames={given.frames}", "stride=1", f"size={given.size}", f"dtype={given.dtype}"]
        for name in given.models.split(","):
            request = Request(
                (name,), (str(data),), tuple(given.metrics.split(",")), protocol("cvbench-1", fields),
                device=str(device), init="random",
            )  # fmt: skip
            pairs = [(alone(request), *whole(request)) for _ in range(given.rounds)]
            model = statistics.median(pair[0] for pair in pairs) / given.clips
            ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
            stages = pairs[-1][2] or "too quick to split"
            print(f"{name}: model {model * 1000:.0f} ms a clip, run over model {ratio:.2f}; {stages}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
