"""The report in Markdown, with static pictures, for a README."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cvbench import tables
from cvbench.compare.walk_text import walk_markdown
from cvbench.compare.walked import Walked
from cvbench.core.errors import UsageError
from cvbench.core.records import RunRecord
from cvbench.core.text import visible
from cvbench.engine.pictures import Gallery, Picture, Stored, evenly, read_all
from cvbench.metrics import METRICS
from cvbench.report import charts, clips, content, frames
from cvbench.report.scatter import scatter
from cvbench.store import atomic, file_name, write_text

WIDTH, HEIGHT, CURVE_HEIGHT = 480, 320, 180
GAIN = 4
SHEET_FRAMES = 5
GAP = 4


def markdown_report(
    records: Sequence[RunRecord],
    folder: Path,
    pictures: Sequence[Path] = (),
    title: str = "cvbench report",
    *,
    walks: Sequence[Walked] = (),
    beside: tables.Beside | None = None,
    percentiles: Sequence[str] = (),
) -> Path:
    """Write `folder`/report.md and return it; its charts (SVG) and contact sheets (PNG) lie in `folder`/report.

    Charts show the first quality metric, for light and dark pages. A sheet shows target, reconstruction and difference
    of a model's worst or median pictured sample. Raises UsageError when there are neither records nor walks.
    """
    if not records and not walks:
        raise UsageError("there are no records to report on")
    groups = content.group(records)
    parts = [f"# {plain(title)}"]
    for name in dict.fromkeys(r.protocol.name for r in records):
        own = [r for r in records if r.protocol.name == name]
        parts += [
            f"## Scores, {plain(name)}",
            tables.markdown(
                tables.lay_out(own, intervals=True, allow_mixed=True, beside=beside, percentiles=percentiles)
            ).strip(),
        ]
    parts += ["## Why numbers differ", walk_markdown(walks).strip()] if walks else []
    for group in groups:
        parts += _charts(group, folder)
    galleries, problems = read_all(*pictures)
    for group in groups:
        for number, gallery in enumerate(clips.merged(group, galleries)):
            parts += _sheets(group, gallery, folder, [str(number)] if number else [])
        problems += clips.unlike(group, galleries)
    parts += ["## Pictures left out", *(f"- {plain(problem)}" for problem in problems)] if problems else []
    path = folder / "report.md"
    write_text(path, "\n\n".join(parts) + "\n")
    return path


def plain(text: str) -> str:
    """Return text that Markdown and HTML take for nothing but text."""
    escaped = re.sub(r"([\\`*_\[\]#|~])", r"\\\1", visible(" ".join(text.split())))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def attribute(text: str) -> str:
    """Return text for a quoted HTML attribute."""
    return visible(text).replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def _file_name(*parts: str) -> str:
    return file_name(*map(visible, parts))


def _charts(group: content.Group, folder: Path) -> list[str]:
    if not group.metrics:
        return []
    metric = group.metrics[0]
    parts = [f"## {METRICS[metric].label} on {plain(group.label)}"]
    for axis in content.AXES:
        if points := content.points(group.records, metric, axis):
            spec = charts.sized(scatter(points, metric, axis), WIDTH, HEIGHT)
            parts.append(_drawing(spec, folder, _file_name(group.label, metric, axis.key)))
    curves = content.curves(group.records, metric)
    if curves:
        parts.append(
            "Over frames: mean over clips, the middle half of the clips about their own means, temporal groups."
        )
        drawn = [charts.sized(frames.curve(c, metric, frames.span_of(curves)), WIDTH, CURVE_HEIGHT) for c in curves]
        for c, spec in zip(curves, drawn, strict=True):
            title = {"text": f"{c.model}, {frames.grouping(c)}", "anchor": "start"}
            parts.append(_drawing({**spec, "title": title}, folder, _file_name(group.label, metric, c.model)))
    return parts


def _drawing(spec: charts.Spec, folder: Path, name: str) -> str:
    """Write a chart for light and dark pages; return the HTML that shows the right one."""
    for mode in ("light", "dark"):
        write_text(folder / "report" / f"{name}-{mode}.svg", charts.svg(spec, dark=mode == "dark"))
    source = f'<source media="(prefers-color-scheme: dark)" srcset="report/{name}-dark.svg">'
    return f'<picture>{source}<img src="report/{name}-light.svg" alt="{attribute(spec["description"])}"></picture>'


def _sheets(group: content.Group, gallery: Gallery, folder: Path, mark: Sequence[str]) -> list[str]:
    """Write the contact sheets of a gallery; return the Markdown that shows them."""
    records = clips.own_records(group, gallery)
    cards = clips.cards(gallery.clips, records)
    above = ", ".join(clips.sides(records))
    parts = [f"## Pictures of {plain(group.label)}", f"Above each other: {above}, difference × {GAIN}."]
    for card in cards:
        clip = gallery.clips[card["clip"]]
        name = _file_name(group.label, card["model"], card["kind"], *mark) + ".png"
        try:
            sheet = contact_sheet(gallery, clip, card["model"])
        except (OSError, ValueError, SyntaxError) as error:  # a picture that does not decode
            parts.append(plain(f"{card['model']}: no sheet of {card['id']}: {error}"))
            continue
        with atomic(folder / "report" / name) as file:
            Image.fromarray(sheet).save(file, "PNG", optimize=True)
        says = f"{card['model']}, {card['kind']}: {card['id']}, {card['score']}, {card['place']}"
        parts += [plain(says), f'<img src="report/{name}" alt="{attribute(says)}">']
    return parts if cards else []


def contact_sheet(gallery: Gallery, clip: Stored, model: str) -> Picture:
    """Lay a sample out, a column a frame: target, reconstruction, and their mean absolute difference times GAIN."""
    columns = []
    for i in evenly(len(clip.frames), SHEET_FRAMES):
        target, recon = (_open(gallery, names[i]) for names in (clip.target, clip.recons[model]))
        difference = np.abs(target.astype(int) - recon).mean(2, keepdims=True) * GAIN
        heat = np.repeat(difference.round().clip(0, 255).astype(np.uint8), 3, axis=2)
        columns.append(_spaced([target, recon, heat], axis=0))
    return _spaced(columns, axis=1)


def _open(gallery: Gallery, name: str) -> Picture:
    with Image.open(gallery.folder / name) as image:
        return np.asarray(image.convert("RGB"))


def _spaced(pictures: Sequence[Picture], axis: int) -> Picture:
    """Lay pictures along an axis with a white gap between."""
    shape = list(pictures[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, 255, np.uint8)
    return np.concatenate([piece for picture in pictures for piece in (gap, picture)][1:], axis=axis)
