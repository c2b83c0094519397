"""The published tables: one TOML each in `benchmarks/`, printed in the paper's layout from records. No torch."""

from cvbench.paper.fill import build
from cvbench.paper.read import Block, PaperColumn, PaperRow, PaperTable, load_table, table_names

__all__ = ["Block", "PaperColumn", "PaperRow", "PaperTable", "build", "load_table", "table_names"]
