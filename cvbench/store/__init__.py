"""Where rows, facts and records are kept: every write is atomic."""

from cvbench.store.files import RowStore, atomic, cache_root, file_name, prepared_key, row_key, write_record, write_text

__all__ = [
    "RowStore",
    "atomic",
    "cache_root",
    "file_name",
    "prepared_key",
    "row_key",
    "write_record",
    "write_text",
]
