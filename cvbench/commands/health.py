"""How the health suite ends: a verdict a person can act on, line by line."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cvbench.commands.codes import DONE, INCOMPLETE
from cvbench.commands.console import line, print_rows, progress_bar
from cvbench.store import write_text

if TYPE_CHECKING:
    from cvbench.tasks.health import Checkup
    from cvbench.tasks.request import Request

HEAD = ("model", "check", "verdict", "found", "limits", "what")


def examine(request: "Request", out: Path, *, quiet: bool = False) -> int:
    """Examine the models of a request, print and write what was found; 3 when anything is broken."""
    from cvbench.tasks import health

    with progress_bar(not quiet) as progress:
        found = health.run(request, progress)
    print_rows(HEAD, rows(found))
    for checkup in found:
        broken = ", ".join(f.check for f in checkup.findings if f.verdict == "broken")
        look = ", ".join(f.check for f in checkup.findings if f.verdict == "look")
        said = "; ".join(f"{word}: {names}" for word, names in (("broken", broken), ("look at", look)) if names)
        line(f"{checkup.model}: {said or 'ok'}")
    write_text(out / "health.json", json.dumps([asdict(checkup) for checkup in found], indent=1) + "\n")
    return INCOMPLETE if any(checkup.broken for checkup in found) else DONE


def rows(found: Sequence["Checkup"]) -> list[tuple[str, ...]]:
    """Return the findings as the rows of a table."""
    return [(c.model, f.check, f.verdict, f.value, f.limits, f.what) for c in found for f in c.findings]
