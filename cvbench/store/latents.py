"""Latents by key: one safetensors file each, its hash and what made it in the header."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cvbench.store.files import atomic
from cvbench.store.rows import FileStore, cache_root

LATENTS = "latents"
"""The name of the array."""


class LatentStore(FileStore):
    """Keeps the latents of generated samples in the cache's folder `latents`, apart from rows and facts.

    A file whose content is not what its header says counts as missing.
    """

    def __init__(self, root: Path | None = None) -> None:
        super().__init__(root or cache_root())

    def path(self, key: str) -> Path:
        """Return where the latents under `key` lie, or would."""
        return self.root / LATENTS / key[:2] / f"{key}.safetensors"

    def rows(self, key: str) -> dict[str, np.ndarray]:
        """Return the latents under `key`, nothing when there are none."""
        held = self._unwritten.rows(key)
        if held:
            return held
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path(key), "np") as file:
                latents, stated = file.get_tensor(LATENTS), file.metadata() or {}
        except (OSError, SafetensorError, ValueError):
            return {}
        whole = stated.get("sha256") == content(latents)
        return {LATENTS: latents, "environment": np.array(stated.get("environment", ""))} if whole else {}

    def add(self, key: str, rows: Mapping[str, np.ndarray]) -> None:
        """Keep the latents under `key`."""
        from safetensors.numpy import save

        latents = np.ascontiguousarray(rows[LATENTS])
        stated = {"sha256": content(latents), "environment": str(rows.get("environment", ""))}
        with self._keeping(lambda: self._unwritten.add(key, rows)), atomic(self.path(key)) as file:
            file.write(save({LATENTS: latents}, stated))

    def sha256(self, key: str) -> str:
        """Return the hash of the latents under `key`, "" when there are none."""
        held = self.rows(key)
        return content(held[LATENTS]) if held else ""


def content(latents: np.ndarray) -> str:
    """SHA-256 of an array, its shape and dtype."""
    head = f"{latents.dtype.str}{latents.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(latents).tobytes()).hexdigest()
