"""Prepared clips kept in memory between calls, so that measuring a model again reads and decodes no file."""

import threading
from collections import OrderedDict
from dataclasses import replace

from cvbench.core.protocol import EvalProtocol
from cvbench.data import Item
from cvbench.engine.loop import Prepared, prepared_key, read_prepared
from cvbench.store import Store

MOST = 1 << 30
"""Bytes of prepared pixels that are kept."""


class KeptClips:
    """Reads and prepares samples as the loop does, and keeps up to `most` bytes of them; the oldest in use leave first.

    A file that has changed is read again: what is kept stands under the fingerprint it had.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most, self.size = most, 0
        self._clips: OrderedDict[str, Prepared] = OrderedDict()
        self._alone = threading.Lock()  # samples are read ahead in a thread

    def __call__(self, index: int, item: Item, protocol: EvalProtocol, store: Store | None = None) -> Prepared:
        """Return a prepared sample. Raises UnreadableSample."""
        key = prepared_key(item, protocol)
        with self._alone:
            if kept := self._clips.get(key):
                self._clips.move_to_end(key)
                return replace(kept, index=index, item=item)
        read = read_prepared(index, item, protocol, store)
        if prepared_key(item, protocol) == key:
            self._keep(key, read)
        return read

    def _keep(self, key: str, read: Prepared) -> None:
        with self._alone:
            if key in self._clips or _bytes(read) > self.most:
                return
            self._clips[key], self.size = read, self.size + _bytes(read)
            while self.size > self.most:
                self.size -= _bytes(self._clips.popitem(last=False)[1])


def _bytes(sample: Prepared) -> int:
    return 0 if sample.pixels is None else sample.pixels.nbytes
