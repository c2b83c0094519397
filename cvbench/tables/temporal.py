"""What a model does over time, from stored rows: PSNR by position in the temporal group, flicker, seams."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from cvbench.core.errors import UsageError
from cvbench.core.records import ModelFacts, RunRecord
from cvbench.metrics import METRICS
from cvbench.tables.build import labels, lineup
from cvbench.tables.cells import Footnotes, Scores, Style, data_names, untrained
from cvbench.tables.positions import SHOWN, build_positions
from cvbench.tables.table import NOTHING, Cell, Column, Table, signed

Row = Sequence[float]
PSNR, FLICKER = METRICS["psnr"], METRICS["flicker"]
REMARK = (
    "PSNR in dB of the first frame, of the frames at each position in the group that shares a latent frame, and of "
    "all frames but the first. Spread: the best position minus the worst. Flicker: error of the change from frame to "
    "frame. Seam: flicker at the borders of a model's temporal windows minus flicker elsewhere. Means of a clip, then "
    "of clips."
)


@dataclass(frozen=True)
class Course:
    """A model over time: PSNR in dB, flicker and seam in [0, 1]; None or empty where nothing was measured.

    `positions` are of the `grouped` among `clips` that hold a whole group, `seam` is of the `seamed` among `flickered`
    that are longer than a window.
    """

    clips: int
    first: float | None
    positions: tuple[float, ...]
    grouped: int
    others: float | None
    flicker: float | None
    flickered: int
    seam: float | None
    seamed: int

    @property
    def spread(self) -> float | None:
        """The best position's PSNR minus the worst's, in dB."""
        return max(self.positions) - min(self.positions) if self.positions else None


def build_temporal(records: Sequence[RunRecord], *, intervals: bool = False, allow_mixed: bool = False) -> Table:
    """Lay out what stored rows say of time: a row a data set and model, clips only, nothing ranked.

    Below stand other metrics by position and, with `intervals`, PSNR as well, each with its 95 % interval over clips.
    Raises UsageError where no record holds a clip, SignatureMismatch as `cvbench.tables.build.build` does.
    """
    with_clips = {r.data.name for r in records if _rows(r, "psnr", 0) or _rows(r, "flicker", 1)}
    records = [r for r in records if r.data.name in with_clips]
    if not records:
        raise UsageError("no record has frame by frame PSNR or flicker of clips: `cvbench run --metrics psnr,flicker`")
    footnotes, style = Footnotes(), Style(allow_mixed=allow_mixed)
    rows = lineup(records, footnotes, style)
    found = [(label, row.records) for label, row in zip(labels(rows), rows, strict=True)]
    lines = [(label, held[data]) for data in data_names(records) for label, held in found if data in held]
    scores = Scores([r for _, r in lines], {"psnr": PSNR, "flicker": FLICKER}, footnotes, style)
    courses = [course(record) for _, record in lines]
    most = max(len(c.positions) for c in courses)
    body = [_line(label, r, c, most, scores) for (label, r), c in zip(lines, courses, strict=True)]
    alone = [alone_frames(record.model) for _, record in lines]
    wanted = SHOWN if intervals else [name for name in SHOWN if name != "psnr"]
    beside = [build_positions(name, lines, alone, intervals=intervals) for name in wanted]
    below = [each for each in beside if each]
    return Table(_columns(most), body, footnotes.texts, scores.signatures(), remarks=[REMARK], below=below)


def course(record: RunRecord) -> Course:
    """Return what a record's rows say of time; every clip weighs the same, however long."""
    psnr, flicker = _rows(record, "psnr", 0), _rows(record, "flicker", 1)
    alone, size, window = alone_frames(record.model), record.model.temporal or 1, record.model.window
    # all positions from the same clips: a clip that ends within its first group would bias the spread
    whole = [row for row in psnr if size > 1 and len(row) >= alone + size]
    long = [row for row in flicker if 0 < window < len(row)]
    return Course(
        clips=len(psnr),
        first=_mean([row[0] for row in psnr]),
        positions=tuple(fmean(fmean(row[alone + p :: size]) for row in whole) for p in range(size if whole else 0)),
        grouped=len(whole),
        others=_mean([fmean(row[1:]) for row in psnr]),
        flicker=_mean([fmean(row) for row in flicker]),
        flickered=len(flicker),
        seam=_mean([seam(row, window) for row in long]),
        seamed=len(long),
    )


def alone_frames(model: ModelFacts) -> int:
    """Return how many frames precede the first whole temporal group: 1 by the rule 1 + 4k, 0 by 4k or 24 + 16k."""
    base = re.match(r"(\d+) \+", model.frame_rule)
    return int(base[1]) % (model.temporal or 1) if base else 0


def seam(flicker: Row, window: int) -> float:
    """Mean flicker at the borders of windows minus the mean elsewhere, for more changes than a window has.

    The border is the change from frame k * window, a window's last, to the next: entry k * window, k from 1.
    """
    borders = set(range(window, len(flicker), window))
    elsewhere = [value for i, value in enumerate(flicker) if i not in borders]
    return fmean(flicker[i] for i in borders) - fmean(elsewhere)


def _rows(record: RunRecord, probe: str, fewer: int) -> list[Row]:
    """Return the rows of clips that have one value a frame, or one `fewer`; of interpolated clips none do."""
    rows = [(s.frames, s.rows.get(probe, ())) for s in record.samples if s.frames > 1]
    return [row for frames, row in rows if len(row) == frames - fewer]


def _mean(values: Row) -> float | None:
    return fmean(values) if values else None


def _columns(most: int) -> list[Column]:
    names = ["frame 0", *(f"position {p}" for p in range(1, most + 1)), "others"]
    return [
        Column("", "Model"),
        Column("", "Data"),
        *(Column("PSNR", f"{name} {PSNR.arrow}", "higher") for name in names),
        Column("", "Spread, dB ↓", "lower"),
        Column("", f"{FLICKER.label} {FLICKER.arrow}", "lower"),
        Column("", "Seam ↓", "lower"),
    ]


def _line(label: str, record: RunRecord, found: Course, most: int, scores: Scores) -> list[Cell]:
    notes = scores.footnotes
    positions = [_number(value, PSNR.digits) for value in found.positions]
    groups = _partial(found.grouped, found.clips, f"positions of {label} on {record.data.name}")
    seams = _partial(found.seamed, found.flickered, f"seam of {label} on {record.data.name}")
    return [
        Cell(label, notes=notes.refer(untrained(record.model))),
        Cell(record.data.name),
        _scored(found.first, PSNR.digits, scores.cell(record, "psnr")),
        *positions,
        *[Cell(NOTHING)] * (most - len(positions)),
        _number(found.others, PSNR.digits),
        replace(_number(found.spread, PSNR.digits), notes=notes.refer(groups)),
        _scored(found.flicker, FLICKER.digits, scores.cell(record, "flicker")),
        replace(_signed(found.seam), notes=notes.refer(seams)),
    ]


def _partial(taken: int, clips: int, what: str) -> str:
    return f"{what}: from the {taken} of {clips} clips that are long enough" if 0 < taken < clips else ""


def _number(value: float | None, digits: int) -> Cell:
    return Cell(NOTHING) if value is None else Cell(f"{value:.{digits}f}", value)


def _signed(value: float | None) -> Cell:
    return Cell(NOTHING) if value is None else Cell(signed(value, FLICKER.digits), value)


def _scored(value: float | None, digits: int, score: Cell) -> Cell:
    """Return a number with the footnotes of the model's score, or why there is none."""
    if value is None and score.value is None:
        return score
    return replace(_number(value, digits), notes=score.notes)
