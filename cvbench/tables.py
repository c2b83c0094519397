"""Records to tables: Markdown, CSV, LaTeX, JSON. No torch."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tabulate import tabulate

from cvbench.errors import UsageError
from cvbench.metrics import METRICS
from cvbench.records import RunRecord, Score

NOTHING = "–"


class SignatureMismatch(UsageError):
    """Scores that may not share a column."""


@dataclass(frozen=True)
class Cell:
    """One cell: what it says, the number behind it, and the footnotes it refers to (from 1)."""

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rank: int = 0
    notes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column: the heading in two lines (data set, then metric), and which way is better."""

    group: str
    label: str
    better: str = ""

    @property
    def title(self) -> str:
        """The heading in one line."""
        return f"{self.group} {self.label}".strip()


@dataclass
class Table:
    """A table ready to print: rows of cells, footnotes, and the signature of each data set's scores."""

    columns: list[Column]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)


def build(records: Sequence[RunRecord], *, intervals: bool = False, allow_mixed: bool = False) -> Table:
    """Lay records out as the paper's Table 1: a row a model, columns Params, FCR, Comp., then the metrics of each data set.

    Raises SignatureMismatch naming the fields that differ when scores of one column were not made alike, unless
    `allow_mixed`, which makes footnotes of them.
    """
    if not records:
        raise UsageError("there are no records to tabulate")
    builder = _Builder(records, intervals, allow_mixed)
    return builder.table()


class _Builder:
    """Gathers cells and footnotes; footnotes are numbered in the order in which they are first needed."""

    def __init__(self, records: Sequence[RunRecord], intervals: bool, allow_mixed: bool) -> None:
        self.records, self.intervals, self.allow_mixed = records, intervals, allow_mixed
        self.models = list(dict.fromkeys(r.model.name for r in records))
        self.data = list(dict.fromkeys(r.data.name for r in records))
        self.at = {(r.model.name, r.data.name): r for r in records}
        used = {name for r in records for name in (*r.scores, *r.unavailable)}
        self.metrics = [name for name in METRICS if name in used]
        self.notes: list[str] = []
        self.standard = {
            (d, m): _standard([r.scores[m] for r in records if r.data.name == d and m in r.scores and not r.failures])
            for d in self.data
            for m in self.metrics
        }

    def table(self) -> Table:
        columns = [Column("", "Model"), Column("", "Params"), Column("", "FCR"), Column("", "Comp.")]
        bodies: list[list[Cell]] = [[self._name(m), *self._facts(m)] for m in self.models]
        for data in self.data:
            for metric in self.metrics:
                info = METRICS[metric]
                label = f"{info.label} {info.arrow}" if metric != "bpp" else info.label
                columns.append(Column(data if len(self.data) > 1 else "", label, info.better))
                cells = [self._score(m, data, metric) for m in self.models]
                for body, cell in zip(
                    bodies, self._ranked(cells, info.better) if metric != "bpp" else cells, strict=True
                ):
                    body.append(cell)
        for label, key, better in SPEED:
            if any(r.speed for r in self.records):
                columns.append(Column("", label, better))
                for body, model in zip(bodies, self.models, strict=True):
                    body.append(self._speed(model, key))
        table = Table(columns, bodies, self.notes)
        table.signatures = self._signatures()
        self._data_notes()
        return table

    def _note(self, text: str) -> tuple[int, ...]:
        if text not in self.notes:
            self.notes.append(text)
        return (self.notes.index(text) + 1,)

    def _records_of(self, model: str) -> list[RunRecord]:
        return [r for r in self.records if r.model.name == model]

    def _name(self, model: str) -> Cell:
        facts = self._records_of(model)[0].model
        notes = self._note("untrained: random weights, for shape and speed only") if facts.init == "random" else ()
        return Cell(model, notes=notes)

    def _facts(self, model: str) -> list[Cell]:
        facts = self._records_of(model)[0].model
        params = (
            f"{facts.params[0] / 1e6:.0f}M + {facts.params[1] / 1e6:.0f}M"
            if facts.params and sum(facts.params)
            else NOTHING
        )
        if facts.params and 0 < sum(facts.params) < 2_000_000:
            params = f"{facts.params[0] / 1e6:.2f}M + {facts.params[1] / 1e6:.2f}M"
        comp = {"yes": "✓", "no": "×"}.get(facts.compatible, facts.compatible) or NOTHING
        total = float(sum(facts.params)) if facts.params else None
        return [Cell(params, total), Cell(str(facts.temporal or NOTHING), float(facts.temporal) if facts.temporal else None), Cell(comp)]

    def _score(self, model: str, data: str, metric: str) -> Cell:
        record = self.at.get((model, data))
        if record is None:
            return Cell("not run")
        if record.error:
            return Cell(NOTHING, notes=self._note(f"{model}: {record.error}"))
        score = record.scores.get(metric)
        notes: tuple[int, ...] = ()
        if metric in record.unavailable:
            notes += self._note(f"{METRICS[metric].label}: {record.unavailable[metric]}")
        if score is None:
            return Cell(NOTHING, notes=notes)
        notes += self._own_failures(record, metric)
        notes += self._mixed(record, metric, score)
        return Cell(
            show(score, METRICS[metric].digits, self.intervals), score.value, score.low, score.high, notes=notes
        )

    def _own_failures(self, record: RunRecord, metric: str) -> tuple[int, ...]:
        """Footnote the samples that only this model failed on; unreadable ones are the data set's."""
        shared = _shared_failures(self.records, record.data.name)
        own = [f for f in record.failures if (f.id, f.error) not in shared]
        if not own or metric == "bpp":
            return ()
        shown = "; ".join(f"{f.id}: {f.error}" for f in own[:3]) + ("; …" if len(own) > 3 else "")
        return self._note(
            f"{record.model.name} on {record.data.name}: scored on {record.data.n} samples, failed on {len(own)}: {shown}"
        )

    def _mixed(self, record: RunRecord, metric: str, score: Score) -> tuple[int, ...]:
        standard = self.standard[record.data.name, metric]
        if standard is None or score.signature == standard or record.failures:
            return ()
        differing = differences(standard, score.signature)
        text = f"{record.model.name}, {METRICS[metric].label} on {record.data.name}: {differing}"
        if not self.allow_mixed:
            raise SignatureMismatch(
                f"these scores may not share a column. {text}. Tabulate one protocol at a time, or pass --allow-mixed"
            )
        return self._note(f"not comparable: {text}")

    def _ranked(self, cells: list[Cell], better: str) -> list[Cell]:
        """Mark the best and the second of the models that compete (the identity and untrained ones do not)."""
        competing = [
            cell.value
            for model, cell in zip(self.models, cells, strict=True)
            if cell.value is not None and self._competes(model)
        ]
        order = sorted(set(competing), reverse=better == "higher")[:2]
        if len(competing) < 2:
            return cells
        return [
            replace(cell, rank=order.index(cell.value) + 1) if cell.value in order and self._competes(model) else cell
            for model, cell in zip(self.models, cells, strict=True)
        ]

    def _competes(self, model: str) -> bool:
        facts = self._records_of(model)[0].model
        return facts.role != "reference" and facts.init != "random"

    def _speed(self, model: str, key: str) -> Cell:
        speeds = [r.speed for r in self._records_of(model) if r.speed]
        value = speeds[0].get(key) if speeds else None
        return Cell(NOTHING) if value is None else Cell(f"{value:.0f}" if value >= 10 else f"{value:.2g}", value)

    def _data_notes(self) -> None:
        """Footnote what concerns a data set whatever the model: notes, unreadable files, shortened strides."""
        for data in self.data:
            records = [r for r in self.records if r.data.name == data and not r.error]
            if not records:
                continue
            first = records[0]
            failed = [f"{i}: {e}" for i, e in _shared_failures(self.records, data)]
            short = sum("available" in s.facts for s in first.samples)
            for text in (
                first.data.note,
                f"{len(failed)} samples not scored: {'; '.join(failed[:5])}{'; …' if len(failed) > 5 else ''}"
                if failed
                else "",
                f"{short} clips shorter than asked, their stride or length reduced by the protocol's rule"
                if short
                else "",
            ):
                if text:
                    self._note(f"{data}: {text}")
        if any(r.speed for r in self.records):
            speed = next(r.speed for r in self.records if r.speed)
            self._note(
                f"speed on {speed['device']}, {speed['threads']} threads, clip {speed['shape']}; peak memory beyond the weights"
            )

    def _signatures(self) -> list[str]:
        lines = []
        for data in self.data:
            found = [s for (d, m), s in self.standard.items() if d == data and s and m != "bpp"]
            if found:
                probes = ", ".join(s.split(" ", 1)[0] for s in found)
                n = max(r.data.n for r in self.records if r.data.name == data)
                lines.append(f"{probes} {found[0].split(' ', 1)[1]} n={n}")
        return lines


SPEED = (("enc. fps", "encode_fps", "higher"), ("dec. fps", "decode_fps", "higher"), ("peak MiB", "peak_mib", "lower"))


def _shared_failures(records: Sequence[RunRecord], data: str) -> list[tuple[str, str]]:
    """Return the failures that all models have on a data set, in order: its unreadable samples."""
    of_data = [[(f.id, f.error) for f in r.failures] for r in records if r.data.name == data and r.samples]
    return [f for f in of_data[0] if all(f in others for others in of_data[1:])] if of_data else []


def _standard(scores: Sequence[Score]) -> str | None:
    """Return the signature most scores have, the first of equals."""
    signatures = [score.signature for score in scores]
    return max(signatures, key=signatures.count) if signatures else None


def differences(first: str, second: str) -> str:
    """Say which fields of two signatures differ."""
    fields = [dict(_pair(token) for token in text.split()) for text in (first, second)]
    keys = [k for k in {**fields[0], **fields[1]} if fields[0].get(k) != fields[1].get(k)]
    return ", ".join(f"{k} is {fields[1].get(k)} instead of {fields[0].get(k)}" for k in keys)


def _pair(token: str) -> tuple[str, str]:
    key, equals, value = token.partition("=")
    return (key, value) if equals else ("metric", token)


def show(score: Score, digits: int, intervals: bool) -> str:
    """Return a score as text, with its interval when asked."""
    text = f"{score.value:.{digits}f}"
    if intervals and score.low is not None and score.high is not None:
        text += f" [{score.low:.{digits}f}, {score.high:.{digits}f}]"
    return text


def markdown(table: Table) -> str:
    """Return the table in Markdown: best bold, second underlined, footnotes and signatures under it."""
    marks = {0: "{}", 1: "**{}**", 2: "<u>{}</u>"}
    rows = [
        [marks[c.rank].format(_md(c.text)) + "".join(f"<sup>{n}</sup>" for n in c.notes) for c in row]
        for row in table.rows
    ]
    align = ["left"] + ["right"] * (len(table.columns) - 1)
    body = tabulate(rows, [_md(c.title) for c in table.columns], "pipe", colalign=align, disable_numparse=True)
    notes = [f"<sup>{i}</sup> {_md(note)}" for i, note in enumerate(table.notes, 1)]
    signatures = [f"Signature: `{s}`" for s in table.signatures]
    return "\n\n".join([body, *notes, *signatures]) + "\n"


def _md(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def to_csv(table: Table) -> str:
    """Return the table as CSV: plain numbers, a low and a high column beside each score, notes in the last column."""
    scored = [any(row[i].low is not None for row in table.rows) for i in range(len(table.columns))]
    header = [name for c, has in zip(table.columns, scored, strict=True) for name in _csv_names(c.title, has)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*header, "notes"])
    for row in table.rows:
        cells = [value for cell, has in zip(row, scored, strict=True) for value in _csv_values(cell, has)]
        notes = dict.fromkeys(table.notes[n - 1] for cell in row for n in cell.notes)
        writer.writerow([*cells, " | ".join(notes)])
    return out.getvalue()


def _csv_names(title: str, scored: bool) -> list[str]:
    plain = title.rstrip(" ↑↓")
    return [plain, f"{plain} low", f"{plain} high"] if scored else [plain]


def _csv_values(cell: Cell, scored: bool) -> list[object]:
    if not scored:
        return [cell.text if cell.value is None or " + " in cell.text else cell.value]
    return [cell.text if cell.value is None else cell.value, cell.low, cell.high]


def latex(table: Table) -> str:
    """Return a booktabs table."""
    marks = {0: "{}", 1: r"\textbf{{{}}}", 2: r"\underline{{{}}}"}
    lines = [
        " & ".join(marks[c.rank].format(_tex(c.text)) + "".join(f"$^{{{n}}}$" for n in c.notes) for c in row) + r" \\"
        for row in table.rows
    ]
    head = " & ".join(_tex(c.title) for c in table.columns) + r" \\"
    notes = [f"% {i}: {' '.join(note.split())}" for i, note in enumerate(table.notes, 1)]
    signatures = [f"% signature: {s}" for s in table.signatures]
    spec = "l" + "r" * (len(table.columns) - 1)
    body = [r"\begin{tabular}{" + spec + "}", r"\toprule", head, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*body, *notes, *signatures]) + "\n"


TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "✓": r"$\checkmark$",
    "×": r"$\times$", "–": "--", "<": "$<$", ">": "$>$",
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(TEX.get(c, c) for c in text)


def to_json(table: Table) -> str:
    """Return the table as JSON: one object a row, by column title."""
    rows: list[dict[str, Any]] = [
        {c.title: _json_cell(cell) for c, cell in zip(table.columns, row, strict=True)} for row in table.rows
    ]
    value = {"rows": rows, "notes": table.notes, "signatures": table.signatures}
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _json_cell(cell: Cell) -> dict[str, Any]:
    return {"text": cell.text, "value": cell.value, "low": cell.low, "high": cell.high, "notes": list(cell.notes)}


FORMATS: dict[str, Callable[[Table], str]] = {"md": markdown, "csv": to_csv, "latex": latex, "json": to_json}


def samples_csv(records: Sequence[RunRecord]) -> str:
    """Return one line a model and sample: what was scored, each metric's mean over the sample's frames, or the error."""
    names = [m for m in METRICS if any(m in r.scores for r in records)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["model", "data", "protocol", "sample", "frames", "height", "width", "stride", *names, "error"])
    for record in records:
        where = [record.model.name, record.data.name, record.protocol["name"]]
        for s in record.samples:
            rows = [s.rows.get(METRICS[m].probe) for m in names]
            means = ["" if not row else repr(sum(row) / len(row)) for row in rows]
            writer.writerow([*where, s.id, s.frames, s.height, s.width, s.facts.get("stride", ""), *means, ""])
        for failure in record.failures:
            writer.writerow([*where, failure.id, *[""] * (4 + len(names)), failure.error])
    return out.getvalue()
