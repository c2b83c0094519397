"""Reconstructions kept for a while, so that another way of measuring needs no model.

They are kept before they are rounded, without a loss, at most MOST bytes of them; those that were used longest ago go
first. A file holds the digest of its content: one that is damaged or cut short counts as missing.
"""

import contextlib
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import torch

from cvbench.engine.coding import Coded
from cvbench.nets.tensors import Video
from cvbench.store import atomic, cache_root

MOST = 4 << 30
"""Bytes that all kept reconstructions may take; the environment variable CVBENCH_RECONSTRUCTIONS says otherwise."""


class Recons:
    """A folder of reconstructions by the key of all that made them."""

    def __init__(self, root: Path | None = None, most: int | None = None) -> None:
        self.root = root or cache_root() / "reconstructions"
        self.most = int(os.environ.get("CVBENCH_RECONSTRUCTIONS", MOST)) if most is None else most

    def find(self, key: str, device: torch.device) -> Coded | None:
        """Return a reconstruction, without its latents; None where there is none that is whole."""
        path = self.root / key
        try:
            head, _, content = path.read_bytes().partition(b"\n")
            if head.decode("ascii", "replace") != hashlib.sha256(key.encode() + content).hexdigest():
                return None
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                videos = {name: _video(arrays[name]).to(device) for name in arrays.files}
            os.utime(path)
        except (OSError, ValueError):
            return None
        return Coded(videos["recon"], None, raw=videos.get("raw"))

    def keep(self, key: str, coded: Coded) -> None:
        """Keep a reconstruction; where the folder cannot be written, nothing is kept."""
        arrays = {"recon": _small(coded.recon)} | ({} if coded.raw is None else {"raw": _small(coded.raw)})
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        content = file.getvalue()
        with contextlib.suppress(OSError):
            self._prune(len(content))
            with atomic(self.root / key) as out:
                out.write(hashlib.sha256(key.encode() + content).hexdigest().encode() + b"\n" + content)

    def _prune(self, more: int) -> None:
        """Remove what was used longest ago, so that `more` bytes fit."""
        if not self.root.is_dir():
            return
        files = [(path.stat().st_mtime, path.stat().st_size, path) for path in self.root.iterdir() if path.is_file()]
        taken = sum(size for _, size, _ in files) + more
        for _, size, path in sorted(files, key=lambda file: file[0]):
            if taken <= self.most:
                break
            path.unlink(missing_ok=True)
            taken -= size


def _small(video: Video) -> np.ndarray:
    """Return pixels in the fewest bytes that lose nothing: bytes, half precision, or as they are."""
    levels = (255 * video).round().clamp(0, 255).to(torch.uint8)
    if torch.equal(levels.float().div_(255), video):
        return np.asarray(levels.cpu().numpy())
    half = video.half()
    return np.asarray((half if torch.equal(half.float(), video) else video).cpu().numpy())


def _video(kept: np.ndarray) -> Video:
    pixels = torch.from_numpy(kept)
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float()
