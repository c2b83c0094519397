"""Time cvbench.integrations.torchmetrics against torchmetrics' own classes on the same clips; prints the ratios.

python benchmarks/against_torchmetrics.py [THREADS]
"""

import sys
import time
from collections.abc import Callable

import torch
import torchmetrics.image as theirs
from torchmetrics import Metric

from cvbench.integrations import torchmetrics as ours

CLIPS, FRAMES, SIDE, BATCHES = 1, 17, 256, 3


def seconds(make: Callable[[], Metric], preds: torch.Tensor, target: torch.Tensor) -> float:
    """Seconds of CPU of the fastest of three: build, update with every batch, compute."""
    times = []
    for _ in range(3):
        metric, start = make(), time.process_time()
        for _ in range(BATCHES):
            metric.update(preds, target)
        metric.compute()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(CLIPS, 3, FRAMES, SIDE, SIDE, generator=generator)
    preds = (target + 0.05 * torch.randn(target.shape, generator=generator)).clamp(0, 1)
    frames = [x.transpose(1, 2).flatten(0, 1) for x in (preds, target)]
    pairs = {
        "PSNR": (
            ours.PSNR,
            lambda: theirs.PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3), reduction="elementwise_mean"),
        ),
        "SSIM": (ours.SSIM, lambda: theirs.StructuralSimilarityIndexMeasure(data_range=1.0)),
        "MS-SSIM": (ours.MSSSIM, lambda: theirs.MultiScaleStructuralSimilarityIndexMeasure(data_range=1.0)),
    }
    print(f"{BATCHES} batches of {CLIPS}×{FRAMES} frames of {SIDE}×{SIDE}, {torch.get_num_threads()} threads")
    for name, (mine, other) in pairs.items():
        a, b = seconds(mine, preds, target), seconds(other, *frames)
        print(f"{name}: cvbench {a:.2f} s, torchmetrics {b:.2f} s, ratio {b / a:.1f}")


if __name__ == "__main__":
    main()
