"""`cvbench reproduce`: run a published protocol and say whether the published numbers are met."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from cvbench.commands.codes import DONE, INCOMPLETE, REGRESSION
from cvbench.commands.console import line, print_rows, progress_bar
from cvbench.commands.options import changes_of, data_names, model_names, weights_of
from cvbench.core.config import load_config
from cvbench.core.errors import UsageError
from cvbench.core.protocol import protocol
from cvbench.core.published import Published, find, unlike
from cvbench.core.records import RunRecord
from cvbench.data import DATASETS
from cvbench.metrics import ALIASES, METRICS
from cvbench.metrics.registry import meant
from cvbench.probes import known_weights
from cvbench.store import FileStore

HEAD = ("model", "data", "metric", "ours", "theirs", "difference", "95 %", "n", "their n", "verdict")
NO_VERDICT = "no verdict"
NOTHING = "–"


@click.command("reproduce")
@click.argument("name", metavar="PROTOCOL")
@click.option("--models", "-m", multiple=True, metavar="A,B", help="Models.  [default: all with published scores]")
@click.option("--data", "-d", multiple=True, required=True, metavar="NAME|NAME=PATH", help="The data of the source.")
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change a field of the protocol.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N samples; then there is no verdict.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option("--weights", multiple=True, metavar="NAME=PATH", help="Weights on this machine; repeatable.")
@click.option("--out", type=click.Path(path_type=Path), help="Where records go.")
def command(name: str, **given: Any) -> int:
    """Run another project's protocol and compare with what it published: ours, theirs, and whether they agree.

    \b
      cvbench reproduce vidtok-2412 --models vidtok-kl16 --data mcl-jcv=/data/mcl-jcv

    A verdict needs their protocol unchanged, no --limit, no sample that failed, and as many samples as they say. They
    agree when the published number, give or take half of its last digit, lies in the 95 % interval of ours; where
    one set of samples has no interval, within that half digit and the metric's tolerance. `cvbench list published` says
    what is known. Exit codes: 0 all agree, 1 something does not, 2 wrong usage, 3 something could not be measured, or
    has no verdict.
    """
    from cvbench.tasks import reconstruction  # torch
    from cvbench.tasks.request import Request

    base = name.partition("+")[0]
    known = find(base)
    if not known:
        raise UsageError(f"nothing is published under {base}; `cvbench list published` says what is")
    config = load_config(Path.cwd(), DATASETS, known_weights())
    request = Request(
        models=model_names(given["models"], list(dict.fromkeys(score.model for score in known))),
        data=data_names(given["data"], config.data),
        metrics=metrics_of(known),
        protocol=protocol(name, changes_of(given)),
        limit=given["limit"],
        device=given["device"],
        weights={**config.weights, **weights_of(given["weights"])},
        roots=config.data,
        out=given["out"],
    )
    with progress_bar() as progress:
        records = reconstruction.run(request, progress, FileStore())
    limit = given["limit"]
    rows = [row for record in records for row in verdicts(record, base, limit)]
    if not rows:
        raise UsageError(
            f"no score of these models on these data is published under {base}; see `cvbench list published`"
        )
    print_rows(HEAD, rows)
    for word in dict.fromkeys(why for r in records for score in _of(r, base) for why in no_verdict(r, score, limit)):
        line(word, err=True)
    for score in known:
        if score.open and any(row[0] == score.model and row[1] == score.data for row in rows):
            line(f"{score.model} on {score.data}: {score.source} leaves open {score.open}", err=True)
    words = {row[-1] for row in rows}
    return INCOMPLETE if words & {"not measured", NO_VERDICT} else REGRESSION if "differs" in words else DONE


def metrics_of(known: Sequence[Published]) -> tuple[str, ...]:
    """Return the metrics of published scores that cvbench measures."""
    names = dict.fromkeys(metric for score in known for metric in score.cells)
    return tuple(name for name in names if name in METRICS or name in ALIASES)


def _of(record: RunRecord, base: str) -> list[Published]:
    return find(base, record.model.name, record.data.name)


def no_verdict(record: RunRecord, score: Published, limit: int | None = None) -> list[str]:
    """Say what keeps a record from a verdict on a published score: what was not measured as it was there."""
    said = [*unlike(record, score), *([f"--limit {limit}"] if limit is not None else [])]
    return [f"no verdict on {record.model.name} on {record.data.name}: {why}" for why in said]


def verdicts(record: RunRecord, base: str, limit: int | None = None) -> Iterator[tuple[str, ...]]:
    """Yield a row for each published score of a record's model and data."""
    for score in _of(record, base):
        for metric in score.cells:
            if metric in METRICS or metric in ALIASES:
                found = verdict(record, score, metric)
                words = (
                    *found[:-1],
                    NO_VERDICT if no_verdict(record, score, limit) and found[0] != NOTHING else found[-1],
                )
                yield (record.model.name, record.data.name, metric, *words)


def verdict(record: RunRecord, score: Published, metric: str) -> tuple[str, ...]:
    """Return ours, theirs, their difference with its interval, n of both, and whether they agree."""
    name, theirs, half = meant(metric, record.protocol), score.cells[metric], score.half(metric)
    ours = record.scores.get(name)
    counts = str(ours.n if ours else 0), str(score.n or "")
    if ours is None:
        return NOTHING, score.printed(metric), "", "", *counts, "not measured"
    places, said = METRICS[name].digits + 1, ""
    allowed = half + (METRICS[name].tolerance or abs(theirs) / 100)
    low, high = ours.value - allowed, ours.value + allowed
    if ours.low is not None and ours.high is not None:
        low, high = ours.low - half, ours.high + half
        said = f"{ours.low - theirs:+.{places}f} to {ours.high - theirs:+.{places}f}"
    word = "agrees" if low <= theirs <= high else "differs"
    return f"{ours.value:.{places}f}", score.printed(metric), f"{ours.value - theirs:+.{places}f}", said, *counts, word
