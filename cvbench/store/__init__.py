"""Where rows, facts and records are kept; every write is atomic. No torch."""

from cvbench.store.files import atomic, file_name, write_text
from cvbench.store.latents import LATENTS, LatentStore
from cvbench.store.records import Written, keep_order, record_path, write_record
from cvbench.store.rows import FileStore, MemoryStore, Store, cache_root

__all__ = [
    "LATENTS",
    "FileStore",
    "LatentStore",
    "MemoryStore",
    "Store",
    "Written",
    "atomic",
    "cache_root",
    "file_name",
    "keep_order",
    "record_path",
    "write_record",
    "write_text",
]
