"""Records to tables: Markdown, HTML, CSV, LaTeX, JSON. No torch.

`table` says what a table is, `cells` makes cells of scores, `ranking` marks the best, `build` lays records out,
`crossing` those of the compat suite, `beside` what was published, `formats` prints.
"""

from cvbench.tables.beside import Beside
from cvbench.tables.build import SPEED, build
from cvbench.tables.cells import Footnotes, Scores, SignatureMismatch, show
from cvbench.tables.choose import arranged, chosen, with_columns
from cvbench.tables.crossing import lay_out
from cvbench.tables.formats import FORMATS, html, latex, markdown, samples_csv, to_csv, to_json
from cvbench.tables.percentiles import checked
from cvbench.tables.ranking import ranks
from cvbench.tables.table import NOTHING, Cell, Column, Table

__all__ = [
    "FORMATS",
    "NOTHING",
    "SPEED",
    "Beside",
    "Cell",
    "Column",
    "Footnotes",
    "Scores",
    "SignatureMismatch",
    "Table",
    "arranged",
    "build",
    "checked",
    "chosen",
    "html",
    "latex",
    "lay_out",
    "markdown",
    "ranks",
    "samples_csv",
    "show",
    "to_csv",
    "to_json",
    "with_columns",
]
