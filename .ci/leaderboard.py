"""Builds the project's own leaderboard into the site, as a hook of mkdocs: `mkdocs build -f .ci/mkdocs.yml`.

On it stands what somebody ran and what its bundle proves: the records of reports/, and the zips in bundles/.
"""

import tempfile
from pathlib import Path
from typing import Any

from cvbench.sharing import files
from cvbench.sharing.bundle import bundle
from cvbench.sharing.leaderboard import build

ROOT = Path(__file__).parent.parent
RUNS = ("baseline", "ablations")
BUILDING = []


def on_startup(command: str, dirty: bool) -> None:
    """Remember whether a site is built, for `mkdocs serve` shows pages again and again."""
    BUILDING[:] = [command] if command == "build" else []


def on_post_build(config: Any) -> None:
    """Bundle the stored scores and build the leaderboard beside the pages, where `leaderboard.md` leads to."""
    if not BUILDING:
        return
    with tempfile.TemporaryDirectory() as folder:
        bundles = [Path(folder) / f"{run}.zip" for run in RUNS]
        for run, path in zip(RUNS, bundles, strict=True):
            files.write(bundle(ROOT / "reports" / run), path)
        build(
            [*bundles, *sorted((ROOT / "bundles").glob("*.zip"))], Path(config["site_dir"]) / "leaderboard", "cvbench"
        )
