"""Records laid out as the paper's Table 1: a row a model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cvbench.core.errors import UsageError
from cvbench.core.records import ModelFacts, RunRecord
from cvbench.metrics import METRICS
from cvbench.tables.beside import Beside
from cvbench.tables.cells import (
    Footnotes,
    Scores,
    SignatureMismatch,
    Style,
    compatibility,
    data_names,
    data_notes,
    decoded,
    parameters,
    untrained,
)
from cvbench.tables.percentiles import percentiles
from cvbench.tables.ranking import tie_remark
from cvbench.tables.table import NOTHING, Cell, Column, Table

SPEED = (("enc. fps", "encode_fps", "higher"), ("dec. fps", "decode_fps", "higher"), ("peak MiB", "peak_mib", "lower"))


@dataclass(frozen=True)
class TableRow:
    """A row of a table: a model of one init under one protocol, with its record on each data set."""

    model: str
    protocol: str
    records: Mapping[str, RunRecord]

    @property
    def facts(self) -> ModelFacts:
        """What is known of the model, from a record in which it ran where there is one."""
        return min(self.records.values(), key=lambda r: bool(r.error)).model


def build(
    records: Sequence[RunRecord],
    *,
    intervals: bool = False,
    allow_mixed: bool = False,
    beside: Beside | None = None,
    percentiles: Sequence[str] = (),
) -> Table:
    """Lay records out as the paper's Table 1: a row a model; Params, FCR, Comp., then each data set's metrics.

    A model under two protocols or two inits has two rows; of equal records the newest is taken. Best and second are
    marked with all that tie, on the samples that all ranked have (`cvbench.tables.ranking.ranks`). Behind each mean
    stand `percentiles` of the samples' values.
    Raises SignatureMismatch naming the fields that differ when scores of one column were not made alike, unless
    `allow_mixed`, which makes footnotes of them.
    """
    if not records:
        raise UsageError("there are no records to tabulate")
    footnotes, style = Footnotes(), Style(intervals, allow_mixed, beside, percentiles)
    rows = lineup(records, footnotes, style)
    taken = [record for row in rows for record in row.records.values()]
    used = {name for r in taken for name in (*r.scores, *r.unavailable)}
    scores = Scores(taken, {name: METRICS[name] for name in METRICS if name in used}, footnotes, style)
    columns = [*_facts(rows, footnotes), *_scores(rows, scores), *_speeds(rows, footnotes)]
    body = [list(cells) for cells in zip(*(cells for _, cells in columns), strict=True)]
    about = [note for data in data_names(records) for note in data_notes(data, scores.of_data[data])]
    drawn = [note for record in taken for note in decoded(record)]
    about += dict.fromkeys(filter(None, [*map(_precision_note, taken), *_speed_notes(rows), *drawn]))
    remarks = [*about, *tie_remark(cells for _, cells in columns), *scores.remarks]
    remarks += beside.remarks(taken) if beside else []
    return Table([column for column, _ in columns], body, footnotes.texts, scores.signatures(), remarks=remarks)


def lineup(records: Sequence[RunRecord], footnotes: Footnotes, style: Style) -> list[TableRow]:
    """Gather records to rows, in order. Raises SignatureMismatch for two records of one place that differ."""
    found: dict[tuple[str, str, str], dict[str, RunRecord]] = {}
    for record in records:
        places = found.setdefault((record.model.name, record.protocol.name, record.model.init), {})
        held = places.get(record.data.name)
        places[record.data.name] = _one(held, record, footnotes, style) if held else record
    return [TableRow(model, protocol, places) for (model, protocol, _), places in found.items()]


def labels(rows: Sequence[TableRow]) -> list[str]:
    """Name rows: by model, where one has several by protocol too, and untrained ones as such beside trained ones."""
    found = []
    for row in rows:
        same = [r for r in rows if r.model == row.model]
        told = [row.protocol] if len({r.protocol for r in same}) > 1 else []
        told += ["untrained"] if row.facts.init == "random" and len({r.facts.init for r in same}) > 1 else []
        found.append(f"{row.model} ({', '.join(told)})" if told else row.model)
    return found


def _one(held: RunRecord, other: RunRecord, footnotes: Footnotes, style: Style) -> RunRecord:
    """Return the newer of two records of one place, the one that ran where the other did not."""
    if held.error or other.error:
        return other if held.error else held
    differing = _differing(held, other)
    where = f"two records of {held.model.name} on {held.data.name} under {held.protocol.name}"
    if differing and not style.allow_mixed:
        raise SignatureMismatch(f"{where}: {differing}. Tabulate one folder at a time, or pass --allow-mixed")
    footnotes.refer(differing and f"{where}, the newer one shown: {differing}")
    older, newer = sorted((held, other), key=lambda r: r.created)
    return newer if differing else _merged(older, newer)


def _merged(older: RunRecord, newer: RunRecord) -> RunRecord:
    """Return the newer record with the metrics that only the older one has, and their rows."""
    scores = {**older.scores, **newer.scores}
    reasons = {**older.unavailable, **newer.unavailable}
    unavailable = {m: why for m, why in reasons.items() if m not in newer.scores}
    samples = {(s.id, s.sha256): s for s in older.samples}
    for sample in newer.samples:
        held = samples.get((sample.id, sample.sha256), sample)
        samples[sample.id, sample.sha256] = replace(sample, rows={**held.rows, **sample.rows})
    return replace(newer, scores=scores, unavailable=unavailable, samples=list(samples.values()))


def _differing(held: RunRecord, other: RunRecord) -> str:
    both = [(held.scores[m].signature, other.scores[m].signature) for m in held.scores if m in other.scores]
    weights = "weights or options differ" if held.model.digest != other.model.digest else ""
    return next((found for first, second in both if (found := first.difference(second))), weights)


Filled = tuple[Column, list[Cell]]


def _facts(rows: Sequence[TableRow], footnotes: Footnotes) -> list[Filled]:
    facts = [row.facts for row in rows]
    totals = [float(sum(f.params)) if f.params else None for f in facts]
    return [
        (
            Column("", "Model", key="model"),
            [Cell(label, notes=footnotes.refer(untrained(f))) for label, f in zip(labels(rows), facts, strict=True)],
        ),
        (
            Column("", "Params", key="params", plain=("encoder_params", "decoder_params")),
            [
                Cell(parameters(f) or NOTHING, total, plain=f.params or (None, None))
                for f, total in zip(facts, totals, strict=True)
            ],
        ),
        (
            Column("", "FCR", key="fcr", plain=("FCR",)),
            [
                Cell(str(f.temporal), float(f.temporal), plain=(f.temporal,)) if f.temporal else Cell(NOTHING)
                for f in facts
            ],
        ),
        (
            Column("", "Comp.", key="comp", plain=("Comp.",)),
            [Cell(compatibility(f) or NOTHING, plain=(f.compatible,)) for f in facts],
        ),
    ]


def _scores(rows: Sequence[TableRow], scores: Scores) -> list[Filled]:
    filled: list[Filled] = []
    for data in scores.of_data:
        for name, metric in scores.metrics.items():
            column = Column(data if len(scores.of_data) > 1 else "", metric.title, metric.better, name)
            found = [row.records.get(data) for row in rows]
            filled += [(column, scores.column(found, name))]
            filled += percentiles(found, name, column.group, scores.style.percentiles)
    return filled


def _speeds(rows: Sequence[TableRow], footnotes: Footnotes) -> list[Filled]:
    """Return the columns of speed, of each data set its own."""
    data = data_names(record for row in rows for record in row.records.values())
    timed = [name for name in data if any(_speed(row, name) for row in rows)]
    return [each for name in timed for each in _speeds_of(name if len(data) > 1 else "", rows, name, footnotes)]


def _speeds_of(group: str, rows: Sequence[TableRow], data: str, footnotes: Footnotes) -> list[Filled]:
    """Return the columns of one data set; what was timed elsewhere or on another clip than most has a footnote."""
    speeds = [_speed(row, data) for row in rows]
    places = [_timed(speed) for speed in speeds if speed]
    most = max(places, key=places.count)
    head = f"{data}: speed" if group else "speed"
    unlike = [f" on {_timed(speed)}: not comparable" if speed and _timed(speed) != most else "" for speed in speeds]
    notes = [footnotes.refer(u and f"{head} of {label}{u}") for label, u in zip(labels(rows), unlike, strict=True)]
    return [
        (
            Column(group, label, better, key),
            [replace(_number(s.get(key)), notes=n) for s, n in zip(speeds, notes, strict=True)],
        )
        for label, key, better in SPEED
    ]


def _speed_notes(rows: Sequence[TableRow]) -> Iterator[str]:
    """Say of each data set on what most models were timed."""
    data = data_names(record for row in rows for record in row.records.values())
    for name in data:
        places = [_timed(speed) for row in rows if (speed := _speed(row, name))]
        if places:
            head = f"{name}: speed" if len(data) > 1 else "speed"
            yield f"{head} on {max(places, key=places.count)}; peak memory beyond the weights"


def _speed(row: TableRow, data: str) -> Mapping[str, Any]:
    record = row.records.get(data)
    return (record.speed if record else None) or {}


def _timed(speed: Mapping[str, Any]) -> str:
    """Say where and on what was timed."""
    return f"{speed.get('device')}, {speed.get('threads')} threads, clip {speed.get('shape')}"


def _number(value: object) -> Cell:
    """Return a speed as a cell; a side that does nothing has none."""
    if not isinstance(value, int | float):
        return Cell(NOTHING)
    return Cell(f"{value:.0f}" if value >= 10 else f"{value:.2g}", float(value))


def _precision_note(record: RunRecord) -> str:
    if record.precision_db is None:
        return ""
    return f"{record.model.name} in {record.protocol.dtype} is {record.precision_db:.1f} dB from itself in float32"
