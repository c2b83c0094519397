"""The report in Markdown, with static pictures, for a README."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cvbench import tables
from cvbench.errors import UsageError
from cvbench.pictures import Gallery, Picture, Stored, read
from cvbench.records import RunRecord
from cvbench.report import charts, clips, content, frames
from cvbench.report.scatter import scatter
from cvbench.store import atomic, file_name, write_text

WIDTH, GAIN, SHEET_FRAMES = 420, 4, 5


def markdown_report(
    records: Sequence[RunRecord], folder: Path, pictures: Sequence[Path] = (), title: str = "cvbench report"
) -> Path:
    """Write `folder`/report.md, its charts (SVG, light and dark) and contact sheets (PNG) in `folder`/report; return it.

    The charts show the first quality metric; a sheet shows target, reconstruction and difference (× GAIN) of a
    model's worst or median pictured sample. Raises UsageError when there are no records.
    """
    if not records:
        raise UsageError("there are no records to report on")
    groups = content.group(records)
    parts = [f"# {tables.escape_markdown(title)}", _tables(records)]
    for number, group in enumerate(groups):
        parts += _charts(group, folder, f"{number}")
    galleries = [gallery for path in pictures for gallery in read(path)]
    for number, gallery in enumerate(galleries):
        parts += _sheets(groups, gallery, folder, f"{number}")
    path = folder / "report.md"
    write_text(path, "\n\n".join(parts) + "\n")
    return path
