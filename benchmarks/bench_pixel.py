"""Speed of the pixel and perceptual probes against the packages they agree with.

    python benchmarks/bench_pixel.py [--rounds 7] [--skip-vgg]

One process, one thread, random weights. Every round times all variants in turn; printed are medians over rounds of
process CPU time, and of the ratios within a round, so that other work on the machine weighs on all alike.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Mapping

import lpips
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from cvbench.nets.backbones import Net
from cvbench.probes import PairProbe
from cvbench.probes.perceptual import Lpips
from cvbench.probes.pixel import Psnr, Ssim

CLIP, SIDE, MODELS = 17, 256, 4
Work = Callable[[], object]
ALEX_FRAMES, VGG_FRAMES = 8, 2


def videos(models: int, frames: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return a random target and noisy reconstructions of it, (3, t, h, w) in [0, 1]."""
    torch.manual_seed(0)
    target = torch.rand(3, frames, SIDE, SIDE)
    return target, [(target + 0.05 * torch.randn_like(target)).clamp(0, 1) for _ in range(models)]


def ours(probe: PairProbe, target: torch.Tensor, recons: list[torch.Tensor]) -> Work:
    """Return the work of measuring all reconstructions of one target, its part done once."""

    def run() -> None:
        for start in range(0, target.shape[1], probe.frames_at_once):
            window = slice(start, start + probe.frames_at_once)
            prepared = probe.prepare(target[:, window])
            for recon in recons:
                probe.rows(recon[:, window], prepared)

    return run


def by_batch(
    measure: Callable[[torch.Tensor, torch.Tensor], object], size: int, models: int = 1, frames: int = 34
) -> Work:
    """Return the work of a peer that takes (n, 3, h, w), `size` frames in a call."""
    target, recons = videos(models, frames)
    flat = target.transpose(0, 1).contiguous()
    others = [recon.transpose(0, 1).contiguous() for recon in recons]

    def run() -> None:
        for other in others:
            for start in range(0, len(flat), size):
                measure(other[start : start + size], flat[start : start + size])

    return run


def package(net: Net) -> tuple[lpips.LPIPS, Lpips]:
    """Return the package's LPIPS with random backbone, and ours with the same weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package calls torchvision with arguments deprecated since 0.13
        theirs = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).requires_grad_(False)
    names = {name: name.split(".") for name in theirs.net.state_dict()}
    state = theirs.net.state_dict()
    return theirs, Lpips(net, {f"features.{parts[1]}.{parts[2]}": state[name] for name, parts in names.items()})


def compare(title: str, peers: Mapping[str, Work], own: Work, rounds: int) -> None:
    """Time all variants in turn and print medians and ratios."""
    works = {**peers, "cvbench": own}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            start = time.process_time()
            work()
            if turn:  # the first round warms up
                seconds[name].append(time.process_time() - start)
    print(title)
    for name, times in seconds.items():
        ratio = statistics.median(t / o for t, o in zip(times, seconds["cvbench"], strict=True))
        print(f"  {name:34} {1e3 * statistics.median(times):9.1f} ms   {ratio:6.2f}×")


def lpips_works(net: Net, frames: int, models: int) -> tuple[dict[str, Work], Work]:
    """Return the package frame by frame, and ours with shared target features, having checked that they agree."""
    theirs, probe = package(net)
    target, recons = videos(models, frames)
    first = theirs(2 * recons[0][:, 0][None] - 1, 2 * target[:, 0][None] - 1).item()
    mine = probe.rows(recons[0][:, :1], probe.prepare(target[:, :1]))[0]
    print(f"LPIPS-{net}: cvbench / package - 1 = {mine / first - 1:.1e}")
    peers = {"lpips, frame by frame": by_batch(lambda x, y: theirs(x, y, normalize=True), 1, models, frames)}
    return peers, ours(probe, target, recons)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--skip-vgg", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    frames = 2 * CLIP
    peers = {
        "torchmetrics, clip by clip": by_batch(
            lambda x, y: structural_similarity_index_measure(x, y, data_range=1.0), CLIP
        ),
        "torchmetrics, frame by frame": by_batch(
            lambda x, y: structural_similarity_index_measure(x, y, data_range=1.0), 1
        ),
    }
    compare(f"SSIM, {frames} frames {SIDE}², 1 model", peers, ours(Ssim(), *videos(1, frames)), given.rounds)
    peer = by_batch(lambda x, y: structural_similarity_index_measure(x, y, data_range=1.0), 1, MODELS)
    compare(
        f"SSIM, {MODELS} models",
        {"torchmetrics, frame by frame": peer},
        ours(Ssim(), *videos(MODELS, frames)),
        given.rounds,
    )
    peer = by_batch(lambda x, y: peak_signal_noise_ratio(x, y, data_range=1.0, dim=(1, 2, 3), reduction="none"), CLIP)
    compare(
        f"PSNR, {frames} frames, 1 model",
        {"torchmetrics, clip by clip": peer},
        ours(Psnr(), *videos(1, frames)),
        given.rounds,
    )
    compare(f"LPIPS-alex, {ALEX_FRAMES} frames, 1 model", *lpips_works("alex", ALEX_FRAMES, 1), given.rounds)
    compare(
        f"LPIPS-alex, {ALEX_FRAMES} frames, {MODELS} models", *lpips_works("alex", ALEX_FRAMES, MODELS), given.rounds
    )
    if not given.skip_vgg:
        compare(
            f"LPIPS-vgg, {VGG_FRAMES} frames, {MODELS} models", *lpips_works("vgg", VGG_FRAMES, MODELS), given.rounds
        )


if __name__ == "__main__":
    main()
