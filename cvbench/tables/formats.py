"""Tables to text: Markdown, HTML, CSV, LaTeX, JSON."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

from tabulate import tabulate

from cvbench.core.records import RunRecord
from cvbench.core.text import one_line, visible
from cvbench.metrics import METRICS
from cvbench.tables.table import NOTHING, Cell, Column, Table

BOLD = re.compile(r"\*\*(\w[\w -]*)\*\*")
"""Words that a footnote sets in bold, in Markdown's way."""
SPACES = re.compile(r"\s+")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
FORMULA = tuple("=+-@\t\r＝＋－＠")
"""What a spreadsheet takes for the beginning of a formula."""


def _plain(text: str) -> str:
    """Return text in one line, without anything that a terminal or browser would obey."""
    return visible(SPACES.sub(" ", text))


def markdown(table: Table) -> str:
    """Return the table in Markdown: best bold, second underlined, footnotes and signatures under it."""
    rows = [[_md_cell(cell) for cell in row] for row in table.rows]
    align = ["left"] + ["right"] * (len(table.columns) - 1)
    body = tabulate(rows, [_md(c.title) for c in table.columns], "pipe", colalign=align, disable_numparse=True)
    parts = [
        *([f"**{_md(table.caption)}**"] if table.caption else []),
        body,
        *(f"<sup>{i}</sup> {_md(note)}" for i, note in enumerate(table.notes, 1)),
        *(_md(remark) for remark in table.remarks),
        *(f"Signature: `{_plain(s).replace('`', '')}`" for s in table.signatures),
        *(markdown(other).rstrip("\n") for other in table.below),
    ]
    return "\n\n".join(parts) + "\n"


def _md_cell(cell: Cell) -> str:
    marked = ("{}", "**{}**", "<u>{}</u>")[cell.rank].format(_md(cell.text))
    notes = "".join(f"<sup>{n}</sup>" for n in cell.notes)
    return f"{marked}{notes} {_md(cell.aside)}".rstrip()


def _md(text: str) -> str:
    return _plain(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def html(table: Table) -> str:
    """Return the table as an HTML fragment, everything escaped: no style, no script, classes `best` and `second`.

    Published cells stand in <small>, footnotes, remarks and signatures in the table's foot. A table that has others
    below it is followed by them.
    """
    parts = [
        '<table class="cvbench">',
        *([f"<caption>{_escape(table.caption)}</caption>"] if table.caption else []),
        *_html_head(table),
        "<tbody>",
        *(f"<tr>{''.join(_html_cell(i, cell) for i, cell in enumerate(row))}</tr>" for row in table.rows),
        "</tbody>",
        *_html_foot(table),
        "</table>",
    ]
    return "\n".join(parts) + "\n" + "".join(html(other) for other in table.below)


def _html_head(table: Table) -> Iterator[str]:
    yield "<thead>"
    if any(group for group, _ in table.groups):
        spans = (
            f'<th scope="colgroup" colspan="{n}">{_escape(g)}</th>' if g else f'<td colspan="{n}"></td>'
            for g, n in table.groups
        )
        yield f"<tr>{''.join(spans)}</tr>"
    heads = (f'<th scope="col">{_escape(c.label)}</th>' for c in table.columns)
    yield f"<tr>{''.join(heads)}</tr>"
    yield "</thead>"


def _html_cell(position: int, cell: Cell) -> str:
    name = ("", ' class="best"', ' class="second"')[cell.rank]
    marked = ("{}", "<strong>{}</strong>", "<u>{}</u>")[cell.rank].format(_escape(cell.text))
    notes = "".join(f"<sup>{n}</sup>" for n in cell.notes)
    aside = f" <small>{_escape(cell.aside)}</small>" if cell.aside else ""
    return f"<td{name}>{marked}{notes}{aside}</td>" if position else f'<th scope="row">{marked}{notes}{aside}</th>'


def _html_foot(table: Table) -> Iterator[str]:
    lines = [
        *(f"<sup>{i}</sup> {_html_note(note)}" for i, note in enumerate(table.notes, 1)),
        *(_escape(remark) for remark in table.remarks),
        *(f"Signature: <code>{_escape(s)}</code>" for s in table.signatures),
    ]
    if lines:
        yield "<tfoot>"
        yield from (f'<tr><td colspan="{len(table.columns)}">{line}</td></tr>' for line in lines)
        yield "</tfoot>"


def _html_note(note: str) -> str:
    return BOLD.sub(r"<strong>\1</strong>", _escape(note))


def _escape(text: str) -> str:
    return escape(_plain(text))


def to_csv(table: Table) -> str:
    """Return the table as CSV: numbers as numbers, what is missing empty, notes in the last column.

    A low and a high column stand beside each metric; parameters have a column for the encoder and one for the decoder.
    Beside published tables two more columns: the published cell and the difference. A table below follows after an
    empty line, with a header of its own.
    """
    asides = [_csv_asides(table, i) for i in range(len(table.columns))]
    header = [name for c, more in zip(table.columns, asides, strict=True) for name in _csv_names(c, more)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_csv_cell, [*header, "notes"]))
    for row in table.rows:
        triples = zip(table.columns, row, asides, strict=True)
        cells = [value for column, cell, more in triples for value in _csv_values(column, cell, more)]
        notes = dict.fromkeys(table.notes[n - 1] for cell in row for n in cell.notes)
        writer.writerow(map(_csv_cell, [*cells, " | ".join(notes)]))
    return out.getvalue() + "".join(f"\n{to_csv(other)}" for other in table.below)


def _csv_cell(value: object) -> object:
    """Return a cell in one line that no spreadsheet takes for a formula; numbers stay what they are."""
    if not isinstance(value, str):
        return value
    harmless = not value.startswith(FORMULA) or value == "-" or NUMBER.fullmatch(value)
    return one_line(value) if harmless else f"'{one_line(value)}"


def _csv_asides(table: Table, position: int) -> list[str]:
    """Return what a column needs further columns for."""
    cells, column = [row[position] for row in table.rows], table.columns[position]
    found = ["low", "high"] if column.key in METRICS or any(c.low is not None for c in cells) else []
    found += ["published"] if any(c.published for c in cells) else []
    return found + (["difference"] if any(c.published for c in cells) and column.better else [])


def _csv_names(column: Column, asides: Sequence[str]) -> list[str]:
    plain = column.title.rstrip(" ↑↓")
    return [*(column.plain or [plain]), *(f"{plain} {aside}" for aside in asides)]


def _csv_values(column: Column, cell: Cell, asides: Sequence[str]) -> list[object]:
    aside = [getattr(cell, aside) for aside in asides]
    if column.plain:
        return [*(cell.plain or [None] * len(column.plain)), *aside]
    text = "" if cell.text == NOTHING or (column.key and column.better) else cell.text
    return [cell.value if column.better and cell.value is not None else text, *aside]


def latex(table: Table) -> str:
    """Return a booktabs table in a table environment, its footnotes as text under it, no wider than the text.

    Needs the packages booktabs, amssymb and graphicx; signatures are comments.
    """
    parts = [
        r"% needs \usepackage{booktabs,amssymb,graphicx}",
        r"\begin{table}",
        r"\centering\footnotesize",
        *([rf"\caption{{{_tex(table.caption)}}}"] if table.caption else []),
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\toprule",
        *_tex_groups(table),
        " & ".join(_tex(c.label) for c in table.columns) + r" \\",
        r"\midrule",
        *(" & ".join(_tex_cell(cell) for cell in row) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        *(rf"\par{{\footnotesize $^{{{i}}}$ {_tex_note(note)}\par}}" for i, note in enumerate(table.notes, 1)),
        *(rf"\par{{\footnotesize {_tex(remark)}\par}}" for remark in table.remarks),
        r"\end{table}",
        *(f"% signature: {_plain(s)}" for s in table.signatures),
    ]
    return "\n".join(parts) + "\n" + "".join(latex(other) for other in table.below)


def _tex_groups(table: Table) -> Iterator[str]:
    """Yield the line of data sets above the metrics, with a rule under each."""
    if not any(group for group, _ in table.groups):
        return
    yield " & ".join(rf"\multicolumn{{{n}}}{{c}}{{{_tex(group)}}}" for group, n in table.groups) + r" \\"
    start = 1
    for group, n in table.groups:
        if group:
            yield rf"\cmidrule(lr){{{start}-{start + n - 1}}}"
        start += n


def _tex_cell(cell: Cell) -> str:
    marked = ("{}", r"\textbf{{{}}}", r"\underline{{{}}}")[cell.rank].format(_tex(cell.text))
    notes = "".join(f"$^{{{n}}}$" for n in cell.notes)
    return f"{marked}{notes} {_tex(cell.aside)}".rstrip()


TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "✓": r"$\checkmark$", "×": r"$\times$", "–": "--", "−": "$-$", "±": r"$\pm$", "·": r"$\cdot$", "…": r"\ldots{}",
    "<": "$<$", ">": "$>$", "|": r"\textbar{}", "[": "{[}", "]": "{]}", "*": "{*}",  # [ and * would belong to \\
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(TEX.get(c, c) for c in _plain(text))


def _tex_note(note: str) -> str:
    plain_and_bold = BOLD.split(note)
    return "".join(rf"\textbf{{{_tex(part)}}}" if i % 2 else _tex(part) for i, part in enumerate(plain_and_bold))


def to_json(table: Table) -> str:
    """Return the table as JSON: one object a row, by column title; published cells as they were printed."""
    return visible(json.dumps(_json_table(table), indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def _json_table(table: Table) -> dict[str, Any]:
    titles = [c.title for c in table.columns]
    return {
        "caption": table.caption,
        "columns": [{"title": c.title, "group": c.group, "label": c.label, "better": c.better} for c in table.columns],
        "rows": [dict(zip(titles, map(_json_cell, row), strict=True)) for row in table.rows],
        "notes": table.notes,
        "remarks": table.remarks,
        "signatures": table.signatures,
        "below": [_json_table(other) for other in table.below],
    }


def _json_cell(cell: Cell) -> dict[str, Any]:
    fields = ("text", "value", "low", "high", "rank", "published", "difference")
    return {**{name: getattr(cell, name) for name in fields}, "notes": list(cell.notes)}


FORMATS: dict[str, Callable[[Table], str]] = {
    "md": markdown,
    "html": html,
    "csv": to_csv,
    "latex": latex,
    "json": to_json,
}


def samples_csv(records: Sequence[RunRecord]) -> str:
    """Return one line a model and sample: what was scored, each metric's mean over its frames, or the error."""
    names = [m for m in METRICS if any(m in r.scores for r in records)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["model", "data", "protocol", "sample", "frames", "height", "width", "stride", *names, "error"])
    for line in _sample_lines(records, names):
        writer.writerow(map(_csv_cell, line))
    return out.getvalue()


def _sample_lines(records: Sequence[RunRecord], names: Sequence[str]) -> Iterator[list[object]]:
    for record in records:
        where = [record.model.name, record.data.name, record.protocol.name]
        for s in record.samples:
            rows = [s.rows.get(METRICS[m].probe) for m in names]
            means = ["" if not row else sum(row) / len(row) for row in rows]
            yield [*where, s.id, s.frames, s.height, s.width, s.facts.get("stride", ""), *means, ""]
        for failure in record.failures:
            yield [*where, failure.id, *[""] * (4 + len(names)), failure.error]
