"""Caches as cvbench kept them before it had shards, a file a key: what is asked for is taken over, once."""

import contextlib
import hashlib
import io
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from cvbench.store.entries import FACTS, LARGEST, ROWS

HEAD = b"cvbench 1 "
FOLDERS = {ROWS: "rows", FACTS: "facts"}
Take = Callable[[int, bytes, bytes, int], None]
"""Called with kind, key, content and time in ns of what is taken over."""


class Earlier:
    """The files of an old cache at `root`, none in most."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kinds = {kind for kind, name in FOLDERS.items() if (root / name).is_dir()}

    def hand_over(self, kind: int, key: str, take: Take) -> None:
        """Give what stands under a key to `take` and remove the file; one that is damaged is removed only."""
        if kind in self.kinds:
            _hand_over(self._folder(kind) / key[:2] / key, kind, take)

    def hand_all_over(self, take: Take) -> int:
        """Give everything to `take`, remove the folders, and return how many files there were."""
        count = 0
        for kind, path in self.files():
            _hand_over(path, kind, take)
            count += 1
        for kind in tuple(self.kinds):
            shutil.rmtree(self._folder(kind), ignore_errors=True)
            self.kinds.discard(kind)
        return count

    def files(self) -> Iterator[tuple[int, Path]]:
        """Yield every file with its kind."""
        for kind in sorted(self.kinds):
            yield from ((kind, path) for path in self._folder(kind).glob("??/*") if len(path.name) == 64)

    def _folder(self, kind: int) -> Path:
        return self.root / FOLDERS[kind]


def _hand_over(path: Path, kind: int, take: Take) -> None:
    with contextlib.suppress(OSError, ValueError):
        state = path.stat()
        if state.st_size <= LARGEST:
            head, _, content = path.read_bytes().partition(b"\n")
            if head == HEAD + hashlib.sha256(path.name.encode() + b"\n" + content).hexdigest().encode():
                take(kind, bytes.fromhex(path.name), content, state.st_mtime_ns)
        path.unlink()


def arrays(content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of an old file, none of what numpy does not read."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}
