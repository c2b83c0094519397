"""The HTML report: one file that asks nothing of any network."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cvbench import __version__, tables
from cvbench.compare.walk_text import MEANING, reasons, walk_rows
from cvbench.compare.walked import Walked
from cvbench.core.errors import UsageError
from cvbench.core.records import RunRecord
from cvbench.core.text import legible
from cvbench.engine.pictures import read_all
from cvbench.metrics import METRICS
from cvbench.report import charts, clips, content, frames
from cvbench.report.atlas import atlas
from cvbench.report.board import SIZES, Change, Source, choices
from cvbench.report.scatter import scatter
from cvbench.report.steps import over_steps, series
from cvbench.report.templates import asset, template
from cvbench.report.waterfall import waterfall

SCRIPTS = ("table.js", "charts.js")
FACTS = ("params", "fcr", "comp")
"""Columns that stand behind the scores."""
NAMED = 20
"""Failures of a record that are named one by one."""


def render(
    records: Sequence[RunRecord],
    pictures: Sequence[Path] = (),
    title: str = "cvbench report",
    *,
    links: Sequence[tuple[str, str]] = (),
    sources: Sequence[Source] = (),
    changes: Sequence[Change] = (),
    walks: Sequence[Walked] = (),
    beside: tables.Beside | None = None,
    percentiles: Sequence[str] = (),
) -> str:
    """Return the report of `records` as HTML; `pictures` are the `pictures` folders of their runs.

    `walks` between protocols have a waterfall each and metric, and their tables; a report can be of them alone.
    `beside` puts published scores beside those of the tables.

    A leaderboard's pages have `links` (text and address) to each other, say where records are from, and what changed.

    The file holds all it needs. Its content security policy allows no request, and no script but its own. Raises
    UsageError when there are neither records nor walks; what is wrong with pictures is said in the report.
    """
    if not records and not walks:
        raise UsageError("there are no records to report on")
    groups = content.group(records)
    galleries, problems = read_all(*pictures)
    problems += [text for group in groups for text in clips.unlike(group, galleries)]
    shown = clips.pictured(groups, galleries)
    drawn = [chart_set(group) for group in groups]
    made = score_tables(records, beside, percentiles)
    themes = {"light": charts.theme(dark=False), "dark": charts.theme(dark=True)}
    return template("page.html.j2").render(
        title=title,
        links=links,
        sources=sources,
        choices=choices(sources),
        sizes=SIZES,
        changes=changes,
        walks=[_walk(walk) for walk in walks],
        version=__version__,
        created=max((r.created for r in records), default=""),
        groups=groups,
        tables=made,
        first=next((i for i, group in enumerate(groups) if _has_clips(group)), 0),
        steps=any(spec for group in drawn for spec in group["steps"].values()),
        metrics=[(name, m) for name, m in METRICS.items() if any(name in g.metrics for g in groups)],
        axes=content.AXES,
        compared=len({r.model.name for r in records}) > 1,
        filtered=len({s.record.model.name for s in sources}) > 1,
        undrawn=list(dict.fromkeys(r.model.name for r in records if not content.competes(r))),
        curves=any(curves for group in drawn for curves in group["curves"].values()),
        pictured=shown,
        atlases=[found for owner in groups if (found := atlas(owner, galleries))],
        missing=[
            *missing(records),
            *([("Pictures", [(problem, "left out") for problem in problems])] if problems else []),
        ],
        models=list({r.model.name: r.model for r in records}.values()),
        setups=setups(groups),
        data={
            "chart-data": Markup(embed({"themes": themes, "groups": drawn})),  # noqa: S704  # `embed` escapes
            "clip-data": Markup(embed([asdict(p) for p in shown])),  # noqa: S704
            "table-data": Markup(embed([tables.to_csv(replace(table, below=[])) for _, table in made])),  # noqa: S704
        },
        style=Markup(asset("style.css")),  # noqa: S704
        scripts=[Script.of(text) for text in _scripts(shown, sources)] if records else [],
    )


def _scripts(shown: Sequence[object], sources: Sequence[object]) -> list[str]:
    names = [*SCRIPTS, *(["clips.js"] if shown else []), *(["sources.js"] if sources else [])]
    return [charts.library(), *map(asset, names)]


def _walk(walk: Walked) -> dict[str, Any]:
    """Return what the page shows of a walk."""
    drawn = {} if walk.error else {name.upper(): Markup(waterfall(walk, name)) for name in walk.metrics}  # noqa: S704  # `waterfall` escapes
    table = [] if walk.error else walk_rows(walk)
    return {"walk": walk, "charts": drawn, "table": table, "notes": [] if walk.error else [*reasons(walk), MEANING]}


def _has_clips(group: content.Group) -> bool:
    return any(sample.frames > 1 for record in group.records for sample in record.samples)


@dataclass(frozen=True)
class Script:
    """A script of this package, and the hash by which the page's policy allows it."""

    text: Markup
    hash: str

    @classmethod
    def of(cls, text: str) -> "Script":
        """Wrap the text of a JavaScript module."""
        found = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return cls(Markup(text), f"'sha256-{found}'")  # noqa: S704  # files of this package and the charting library


def embed(value: object) -> str:
    """Return JSON that no text in it can break out of a script element with."""
    text = json.dumps(legible(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def chart_set(group: content.Group) -> dict[str, Any]:
    """Return the charts of a group by metric: for each axis and over steps, None where empty, and the curves."""
    checkpoints = series(group.records)
    return {
        "label": group.label,
        "scatter": {metric: trade_offs(group, metric) for metric in group.metrics},
        "steps": {metric: over_steps(checkpoints, metric) for metric in group.metrics},
        "curves": {metric: over_frames(group, metric) for metric in group.metrics},
    }


def trade_offs(group: content.Group, metric: str) -> dict[str, charts.Spec | None]:
    """Return by axis the chart of a metric, None where there is nothing to draw."""
    points = {axis: content.points(group.records, metric, axis) for axis in content.AXES}
    return {axis.key: scatter(found, metric, axis) if found else None for axis, found in points.items()}


def over_frames(group: content.Group, metric: str) -> list[dict[str, Any]]:
    """Return the chart of each model that has clips."""
    curves = content.curves(group.records, metric)
    span = frames.span_of(curves)
    return [{"model": c.model, "groups": frames.grouping(c), "spec": frames.curve(c, metric, span)} for c in curves]


def score_tables(
    records: Sequence[RunRecord], beside: tables.Beside | None = None, percentiles: Sequence[str] = ()
) -> list[tuple[str, tables.Table]]:
    """Return a table for each protocol, under its name, and the tables that belong to it, under theirs."""
    names = list(dict.fromkeys(r.protocol.name for r in records))
    of = {name: [r for r in records if r.protocol.name == name] for name in names}
    lay_out = partial(tables.lay_out, intervals=True, allow_mixed=True, beside=beside, percentiles=percentiles)
    made = [(name, lay_out(of[name])) for name in names]
    named = [(name, scores_first(table)) for name, table in made]
    return [each for name, table in named for each in ((name, table), *((t.caption, t) for t in table.below))]


def scores_first(table: tables.Table) -> tables.Table:
    """Return a table with data set by data set together, and what is known of the models behind their scores.

    So a phone shows a score. A metric that nothing has a number of is left out: what is missing says why.
    """
    groups = [group for group, _ in table.groups]

    def place(i: int) -> tuple[bool, int]:
        column = table.columns[i]
        return column.key in FACTS, groups.index(column.group) if i and column.group else 0

    order = sorted((i for i in range(len(table.columns)) if not _is_empty(table, i)), key=place)
    return tables.with_columns(table, order)


def _is_empty(table: tables.Table, i: int) -> bool:
    """Tell whether no model has a number of a metric, and some have numbers of others on these data."""
    column = table.columns[i]
    beside = [k for k, other in enumerate(table.columns) if other.group == column.group and other.key in METRICS]
    numbers = {k for row in table.rows for k in beside if row[k].value is not None}
    return column.key in METRICS and bool(numbers) and i not in numbers


def missing(records: Sequence[RunRecord]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return by data set all that could not be evaluated: why, and for which models."""
    found: dict[str, dict[str, list[str]]] = {}
    for r in records:
        for reason in _reasons(r):
            found.setdefault(r.data.name, {}).setdefault(reason, []).append(r.model.name)
    count = {data: len({r.model.name for r in records if r.data.name == data}) for data in found}
    return [
        (data, [(why, "all models" if len(who) == count[data] > 1 else ", ".join(who)) for why, who in reasons.items()])
        for data, reasons in found.items()
    ]


def left_out(problems: Sequence[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what is wrong with pictures as `missing` returns its reasons."""
    return [("Pictures", [(problem, "left out") for problem in problems])] if problems else []


def _reasons(record: RunRecord) -> list[str]:
    reasons = [record.error] if record.error else []
    reasons += [f"{METRICS[m].label if m in METRICS else m}: {why}" for m, why in record.unavailable.items()]
    reasons += [f.told for f in record.failures[:NAMED]]
    more = len(record.failures) - NAMED
    return [*reasons, f"and {more} samples more"] if more > 0 else reasons


def setups(groups: Sequence[content.Group]) -> list[tuple[str, dict[str, str]]]:
    """Return for each group what its numbers depend on, by name."""
    found = []
    for g in groups:
        first = next((r for r in g.records if r.samples), g.records[0])
        facts = {"samples": str(first.data.n), "manifest": first.data.manifest[:12] or "–"}
        facts |= {k: str(v) for k, v in first.protocol.as_dict().items()}
        facts |= {f"probe {k}": v for k, v in first.probes.items()}
        facts |= {f"package {k}" if k in facts else k: str(v) for k, v in first.environment.items()}
        found.append((g.label, facts))
    return found
