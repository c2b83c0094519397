"""A toy training whose weights must not depend on whether it is measured meanwhile; also run on two ranks."""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


class ToyVAE(nn.Module):
    """A convolutional autoencoder with a frozen encoder that holds batch normalisation and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv3d(3, 8, 1), nn.BatchNorm3d(8), nn.SiLU(), nn.Conv3d(8, 4, 1))
        self.decoder = nn.Sequential(nn.Conv3d(4, 8, 1), nn.BatchNorm3d(8), nn.Dropout(0.1), nn.Conv3d(8, 3, 1))

    def encode(self, videos: torch.Tensor) -> torch.Tensor:
        return self.encoder(videos)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.decoder(latents).sigmoid()

    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        latents = self.encode(videos)
        return self.decode(latents + 0.1 * torch.randn_like(latents))


def trained(
    monitor: Any = None, *, steps: int = 100, dtype: torch.dtype = torch.float32, autocast: bool = False,
    compiled: bool = False, ranks: int = 1, rank: int = 0,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Train, measured by `monitor` after each step where one is given, and return the weights."""
    torch.manual_seed(0)
    net = ToyVAE().to(dtype).train()
    net.encoder.requires_grad_(False).eval()
    model: nn.Module = DistributedDataParallel(net) if ranks > 1 else net
    model = torch.compile(model, backend="aot_eager") if compiled else model  # type: ignore[assignment]
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], 1e-2)
    data = torch.Generator().manual_seed(rank)
    for step in range(1, steps + 1):
        batch = torch.rand(2, 3, 2, 8, 8, generator=data).to(dtype)
        with torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext():
            loss = (model(batch) - batch).square().mean()
            if monitor:
                monitor(step, model)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def main(data: str, out: str, rank: int, ranks: int, port: str) -> None:
    """Train with and without a monitor as one rank of several; write what was found."""
    from cvbench.integrations.training import EveryN

    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    settings: dict[str, Any] = {"autocast": True, "compiled": True, "ranks": ranks, "rank": rank}
    monitor = EveryN(20, data, ["psnr", "ssim"], "cvbench-1", changes={"size": 32, "frames": 1}, budget=16, strict=True)
    alone, watched = trained(**settings), trained(monitor, **settings)
    found = [{k: [e.value, e.low, e.high, e.n] for k, e in m.scores.items()} for m in monitor.history]
    result = {"equal": all(torch.equal(alone[k], watched[k]) for k in alone), "found": found, **collected(rank, ranks)}
    Path(out, f"{rank}.json").write_text(json.dumps(result))
    dist.destroy_process_group()


def collected(rank: int, ranks: int) -> dict[str, float]:
    """Measure a fixed set of images with torchmetrics, this rank its contiguous share."""
    from torchmetrics import MetricCollection

    from cvbench.integrations.torchmetrics import PSNR, SSIM

    images = (torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 255).round() / 255
    noisy = (images + 0.1 * torch.rand(images.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    metrics = MetricCollection([PSNR(), SSIM()])
    share = slice(rank * 8 // ranks, (rank + 1) * 8 // ranks)
    metrics.update(noisy[share], images[share])
    return {name: float(value) for name, value in metrics.compute().items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
