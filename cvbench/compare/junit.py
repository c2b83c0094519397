"""Checks as JUnit XML, and as annotations and summary of a GitHub job."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from cvbench.compare.finding import CheckResult, Finding
from cvbench.compare.text import check_markdown, ordered, outcome, place
from cvbench.core.text import visible

ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0
FAILING = {"regression": "failure", "incomplete": "error"}
LEVELS = {"error": ("regression", "incomplete"), "warning": ("unproven",), "notice": ("improved",)}
SHOWN = 10  # annotations of one level that GitHub shows of a step
LARGEST = 1_000_000  # bytes of a job summary; GitHub refuses more than 1 MiB


def junit_xml(result: CheckResult) -> bytes:
    """Return a check as JUnit XML: a suite for each data set and protocol, a case for each stored score.

    A regression is a failure, what could not be checked an error. Nothing depends on when or where it is written.
    Source: the JUnit format of Ant, the strictest of those in use.
    """
    root = ET.Element("testsuites")
    places = dict.fromkeys((f.data, f.protocol) for f in result.findings) or {("nothing", "nothing"): None}
    for number, (data, protocol) in enumerate(places):
        findings = [f for f in result.findings if (f.data, f.protocol) == (data, protocol)]
        suite = ET.SubElement(root, "testsuite", _heading(f"{data} {protocol}", findings, result.created, number))
        ET.SubElement(suite, "properties")
        for finding in findings:
            _case(suite, finding)
        ET.SubElement(suite, "system-out").text = _legal("\n".join([outcome(result), *result.notes]))
        ET.SubElement(suite, "system-err")
    ET.indent(root)
    return bytes(ET.tostring(root, "utf-8", xml_declaration=True)) + b"\n"


def _heading(name: str, findings: Sequence[Finding], created: str, number: int) -> dict[str, str]:
    failed = {kind: sum(FAILING.get(f.verdict) == kind for f in findings) for kind in ("failure", "error")}
    return {
        "id": str(number),
        "name": _legal(name),
        "package": "cvbench",
        "timestamp": created[:19] or "1970-01-01T00:00:00",
        "hostname": "localhost",
        "tests": str(len(findings)),
        "failures": str(failed["failure"]),
        "errors": str(failed["error"]),
        "time": "0",
    }


def _case(suite: ET.Element, finding: Finding) -> None:
    names = {"classname": _legal(f"{finding.data}.{finding.model}"), "name": _legal(finding.what), "time": "0"}
    case = ET.SubElement(suite, "testcase", names)
    if kind := FAILING.get(finding.verdict):
        failure = ET.SubElement(case, kind, {"type": finding.verdict, "message": _legal(finding.text)})
        failure.text = _legal(f"{place(finding)}: {finding.text}")


def _legal(text: str) -> str:
    return visible(ILLEGAL.sub("\ufffd", text))


def annotations(result: CheckResult) -> Iterator[str]:
    """Yield GitHub workflow commands to print: errors, warnings, and improvements as notices, ten a level."""
    for level, verdicts in LEVELS.items():
        found = [f for f in ordered(result.findings) if f.verdict in verdicts]
        shown = found if len(found) <= SHOWN else found[: SHOWN - 1]
        for finding in shown:
            yield f"::{level} title={_property(f'{finding.verdict}: {place(finding)}')}::{_data(finding.text)}"
        if len(found) > len(shown):
            yield f"::{level}::and {len(found) - len(shown)} more, in the job's summary"


def _data(text: str) -> str:
    return visible(text).replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def write_summary(result: CheckResult, path: Path) -> None:
    """Append a check to the summary of a GitHub job, the file that GITHUB_STEP_SUMMARY names."""
    text = visible(f"## cvbench check\n\n{check_markdown(result)}\n").encode()
    if len(text) > LARGEST:
        text = text[:LARGEST].rpartition(b"\n")[0] + b"\n\nCut off here; the whole is in the job's log.\n"
    with path.open("ab") as file:
        file.write(text)
