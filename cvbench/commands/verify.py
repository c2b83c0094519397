"""`cvbench verify`: does a bundle agree with itself, and with this machine?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cvbench.commands.codes import DONE, INCOMPLETE, REGRESSION
from cvbench.commands.console import line
from cvbench.commands.options import existing, weights_of
from cvbench.core.errors import CvbenchError, UsageError
from cvbench.core.records import read_records

if TYPE_CHECKING:
    from cvbench.sharing.files import Opened


@click.command("verify")
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...")
@click.option("--rerun", type=click.IntRange(1), metavar="N", help="Measure N samples of every record again, here.")
@click.option("--data", "-d", "data", multiple=True, metavar="NAME=PATH", help="With --rerun: where a data set lies.")
@click.option("--weights", multiple=True, metavar="NAME=PATH", help="With --rerun: weights of a model or metric.")
@click.option("--device", default="auto", show_default=True, help="With --rerun: cpu, cuda, cuda:1, mps.")
@click.option(
    "--trust-code", is_flag=True, help="With --rerun: run the code, files and hub models that a bundle names, too."
)
def command(bundles: Sequence[str], rerun: int | None, **given: Any) -> int:
    """Check bundles: every hash, every signature, every score made again from its rows.

    \b
      cvbench verify recon.bundle.zip
      cvbench verify recon.bundle.zip --rerun 2
      cvbench verify ucf.zip --rerun 4 --data ucf101=data/UCF-101

    --rerun takes the samples whose names have the smallest SHA-256. What compares sets by features (FID, FVD) cannot be
    made again from a bundle; it is named. Models that are not of the registry are not run, as a bundle may name
    any code: --trust-code runs them as well.

    Exit codes: 0 all agrees, 1 something does not (named), 2 no bundle, 3 a record could not be measured again here
    (named).
    """
    given["where"] = _places(given["data"])
    given["held"] = weights_of(given["weights"])
    return max((_check(path, rerun, given) for path in existing(bundles)), key=(DONE, INCOMPLETE, REGRESSION).index)


def _places(texts: Sequence[str]) -> dict[str, str]:
    """Return NAME=PATH by name, kept whole. Raises UsageError for what is none."""
    if wrong := next((text for text in texts if "=" not in text), None):
        raise UsageError(f"--data takes NAME=PATH, NAME as in the bundle, got {wrong!r}")
    return {text.partition("=")[0]: text for text in texts}


def _check(path: Path, rerun: int | None, given: dict[str, Any]) -> int:
    """Check a bundle, say what was found, and return the exit code."""
    from cvbench.sharing.files import opened
    from cvbench.sharing.verify import verify

    with opened(path) as bundle:
        verdict = verify(bundle)
        for text in verdict.not_recomputed:
            line(f"not recomputed: {text}")
        for text in verdict.wrong:
            line(f"Error: {path}: {text}", err=True)
        made = f"{len(bundle.manifest.files)} files, {verdict.recomputed} scores made again"
        word = f"does not agree: {len(verdict.wrong)} faults" if verdict.wrong else "agrees"
        line(path, f"sha256:{verdict.sha256}", f"{word} ({made})")
        if verdict.wrong:
            return REGRESSION
        return _again(bundle, rerun, given) if rerun else DONE


def _again(bundle: "Opened", count: int, given: dict[str, Any]) -> int:
    """Measure samples of every record again."""
    from cvbench.sharing.rerun import beyond, repeat

    code = DONE
    for record in read_records([bundle.folder]):
        where = f"{record.model.name} on {record.data.name}"
        if why := beyond(record, trusted=given["trust_code"]):
            line(f"not measured again: {where}: {why}")
            continue
        try:
            found = repeat(record, count, given["where"], given["held"], given["device"])
        except CvbenchError as error:
            line(f"Error: {where} could not be measured again: {error}", err=True)
            code = code or INCOMPLETE
            continue
        for text in found.wrong:
            line(f"Error: {where}: {text}", err=True)
        line(where, f"{found.agreeing} values agree, {found.equal} of them to the last bit")
        code = REGRESSION if found.wrong else code
    return code
