"""`cvbench check`: what got worse than the stored scores. No torch."""

import os
from collections.abc import Sequence
from pathlib import Path

import click

from cvbench.commands.codes import REGRESSION
from cvbench.commands.console import annotate, echo
from cvbench.commands.options import at_ref, check_folder
from cvbench.compare import CheckResult, check, parse_tolerances, text
from cvbench.compare.junit import annotations, junit_xml, write_summary
from cvbench.core.errors import UsageError
from cvbench.core.records import read_records
from cvbench.store import atomic


@click.command("check")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--against", required=True, metavar="BASELINE|REF:BASELINE", help="Stored scores, here or at a ref of git."
)
@click.option(
    "--tolerance",
    multiple=True,
    metavar="METRIC=VALUE",
    help="How much worse is allowed; repeatable; speed=1.2: slower.",
)
@click.option("--speed-reference", metavar="MODEL", help="What speed is measured against.  [default: a floor or codec]")
@click.option(
    "--junit",
    "--junitxml",
    "junit",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write JUnit XML.",
)
@click.option(
    "--fail-on", type=click.Choice(["unproven"]), help="unproven: also what is worse, but perhaps by chance, is code 1."
)
@click.option("--github", is_flag=True, help="Print annotations and write the summary of a GitHub job.")
def command(
    run: Path, against: str, tolerance: Sequence[str], speed_reference: str | None, junit: Path | None,
    fail_on: str | None, github: bool,
) -> int:  # fmt: skip
    """Check a run against a baseline: what got worse?

    \b
      cvbench baseline save reports/recon --to reports/baseline
      cvbench check reports/recon --against reports/baseline
      cvbench check reports/recon --against main:reports/baseline
      cvbench check reports/recon --against reports/baseline --tolerance psnr=0.05 --tolerance speed=1.2

    A score regressed when it is worse by more than the metric's tolerance and the paired test says that this is no
    chance. Exit codes: 0 nothing regressed, 1 something did, 2 wrong usage, 3 something could not be checked.
    """
    allowed = parse_tolerances(tolerance)
    if speed_reference and "speed" not in allowed:
        raise UsageError("--speed-reference is about speed, which is not checked without --tolerance speed=FACTOR")
    if junit:
        check_folder(junit.parent)
    with at_ref(against) as folder:
        baseline = read_records([folder])
    try:
        result = check(read_records([run]), baseline, allowed, speed_reference)
    except UsageError:
        publish(check([], baseline), junit, github)  # a job that shows no report shows nothing wrong
        raise
    echo(text.check_markdown(result), nl=False)
    publish(result, junit, github)
    return REGRESSION if fail_on and result.of("unproven") else result.code


def publish(result: CheckResult, junit: Path | None, github: bool) -> None:
    """Write what was asked for beside the table."""
    if junit:
        publish_junit(result, junit)
    if github:
        publish_github(result)


def publish_junit(result: CheckResult, path: Path) -> None:
    """Write a check as JUnit XML."""
    with atomic(path) as file:
        file.write(junit_xml(result))


def publish_github(result: CheckResult) -> None:
    """Print the annotations of a GitHub job, and append to its summary where the environment names one."""
    for annotation in annotations(result):
        annotate(annotation)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        write_summary(result, Path(summary))
