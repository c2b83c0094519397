"""`cvbench reproduce`: run a published protocol and say whether the published numbers are met."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from cvbench.commands.codes import DONE, INCOMPLETE, REGRESSION
from cvbench.commands.console import line, print_rows, progress_bar, quiet
from cvbench.commands.options import changes_of, data_names, model_names, weights_of
from cvbench.core.config import load_config
from cvbench.core.errors import UsageError
from cvbench.core.protocol import protocol
from cvbench.core.published import Published, find, unlike
from cvbench.core.records import RunRecord
from cvbench.data import DATASETS, labelled
from cvbench.metrics import ALIASES, METRICS
from cvbench.metrics.registry import meant
from cvbench.models import MODELS
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
@click.option("--out", "-o", type=click.Path(path_type=Path), help="Where records go.")
@quiet
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

    base, chosen = name.partition("+")[0], protocol(name, changes_of(given))
    config = load_config(Path.cwd(), DATASETS, known_weights())
    models, data = model_names(given["models"], ()), data_names(given["data"], config.data)
    known = wanted(base, models, [label(spec) for spec in data])
    if not metrics_of(known):
        print_rows(HEAD, [unmeasured(score, metric) for score in known for metric in score.cells])
        return INCOMPLETE
    request = Request(
        models=models or tuple(dict.fromkeys(score.model for score in known)),
        data=data,
        metrics=metrics_of(known),
        protocol=chosen,
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
    print_rows(HEAD, rows)
    for word in dict.fromkeys(why for r in records for score in _of(r, base) for why in no_verdict(r, score, limit)):
        line(word, err=True)
    for score in known:
        if score.open and any(row[0] == score.model and row[1] == score.data for row in rows):
            line(f"{score.model} on {score.data}: {score.source} leaves open {score.open}", err=True)
    words = {row[-1] for row in rows}
    return INCOMPLETE if words & {"not measured", NO_VERDICT} else REGRESSION if "differs" in words else DONE


def label(spec: str) -> str:
    """Return what a data set given with --data is called."""
    first = spec.partition("=")[0]
    return labelled(spec)[0] or (first if first in DATASETS else Path(spec).name)


def wanted(base: str, models: Sequence[str], data: Sequence[str]) -> list[Published]:
    """Return what is published under a protocol of these models (of none: of all that cvbench has) on these data.

    Raises UsageError, saying what there is.
    """
    there = [score for score in find(base) if score.model in MODELS]
    if not there:
        raise UsageError(f"nothing is published under {base}; `cvbench list published` says what is")
    names = [name.partition("=")[0] for name in models]
    found = [score for score in there if score.data in data and (not names or score.model in names)]
    if not found:
        known = ", ".join(dict.fromkeys(f"{score.model} on {score.data}" for score in there))
        raise UsageError(
            f"no score of these models on {', '.join(data)} is published under {base}; there are {known}."
            " Say which data yours are: --data NAME=PATH"
        )
    return found


def metrics_of(known: Sequence[Published]) -> tuple[str, ...]:
    """Return the metrics of published scores that cvbench measures of reconstructions."""
    names = dict.fromkeys(metric for score in known for metric in score.cells)
    return tuple(n for n in names if n in ALIASES or (n in METRICS and METRICS[n].task == "reconstruction"))


def unmeasured(score: Published, metric: str) -> tuple[str, ...]:
    """Return the row of a published score that cvbench has no measure for."""
    return (
        score.model, score.data, metric, NOTHING, score.cells[metric], "", "", "0", str(score.n or ""), "not measured"
    )  # fmt: skip


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
            found = verdict(record, score, metric)
            word = NO_VERDICT if no_verdict(record, score, limit) and found[0] != NOTHING else found[-1]
            yield (record.model.name, record.data.name, metric, *found[:-1], word)


def verdict(record: RunRecord, score: Published, metric: str) -> tuple[str, ...]:
    """Return ours, theirs, their difference with its interval, n of both, and whether they agree."""
    name, theirs, half = meant(metric, record.protocol), score.value(metric), score.half(metric)
    ours = record.scores.get(name)
    counts = str(ours.n if ours else 0), str(score.n or "")
    if ours is None:
        return NOTHING, score.cells[metric], "", "", *counts, "not measured"
    places, said = METRICS[name].digits + 1, ""
    allowed = half + (METRICS[name].tolerance or abs(theirs) / 100)
    low, high = ours.value - allowed, ours.value + allowed
    if ours.low is not None and ours.high is not None:
        low, high = ours.low - half, ours.high + half
        said = f"{ours.low - theirs:+.{places}f} to {ours.high - theirs:+.{places}f}"
    word = "agrees" if low <= theirs <= high else "differs"
    return f"{ours.value:.{places}f}", score.cells[metric], f"{ours.value - theirs:+.{places}f}", said, *counts, word
