"""How the demo ends: a report to open, and what to do next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cvbench.commands.console import echo
from cvbench.core.errors import CvbenchError
from cvbench.core.records import RunRecord
from cvbench.store import write_text

NEXT = """
open   {page}
next   cvbench run --models my_vae.py:build --data clips/     your model on your clips
       cvbench run --models vae-sd21,cvvae --data clips/      published ones; cvbench list models has all
       cvbench show {out} --model tiny-video            one record: reasons, worst samples
       cvbench doctor                                         what the next run will miss
"""


def is_demo(given: Mapping[str, Any], data: Sequence[str], fallback: Sequence[str]) -> bool:
    """Tell whether nothing was asked for, and nothing is configured: the built-in models on the built-in data."""
    return not (given["models"] or given["data"]) and tuple(data) == tuple(fallback)


def conclude(records: Sequence[RunRecord], out: Path) -> None:
    """Write the report into `out` and say what to do next; a report that cannot be written costs nothing else."""
    from cvbench import report  # its parts take longer to load than any help

    page = out / "report.html"
    try:
        write_text(page, report.render(records, [out / "pictures"], "The demo of cvbench"))
    except (OSError, CvbenchError) as error:
        echo(f"no report: {error}", err=True)
        return
    echo(NEXT.format(page=page, out=out).rstrip("\n"), err=True)
