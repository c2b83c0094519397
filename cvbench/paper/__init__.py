"""The published tables: one TOML each in `benchmarks/`, printed in the paper's layout from records. No torch."""

from cvbench.paper.fill import build
from cvbench.paper.read import Block, PaperColumn, PaperRow, PaperTable, Question, load_table, table_names
from cvbench.paper.stored import stored_records

__all__ = [
    "Block",
    "PaperColumn",
    "PaperRow",
    "PaperTable",
    "Question",
    "build",
    "load_table",
    "stored_records",
    "table_names",
]
