"""`cvbench explain`: why two protocols, or two records, give different numbers."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cvbench import report
from cvbench.commands.codes import DONE, INCOMPLETE
from cvbench.commands.console import echo, line, progress_bar, quiet
from cvbench.commands.options import changes_of, check_folder, data_names, metric_names, model_names, weights_of
from cvbench.compare.records import Pair, left_over, of_records, said
from cvbench.compare.walk_text import reasons, walk_csv, walk_json, walk_markdown
from cvbench.compare.walked import Walked, walked
from cvbench.core.config import load_config
from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.fields import EvalProtocol, derive
from cvbench.core.protocol import PROTOCOLS, protocol
from cvbench.core.records import WALK, RunRecord, read_records
from cvbench.core.walk import Step, walk
from cvbench.data import DATASETS
from cvbench.probes import known_weights
from cvbench.store import FileStore, write_text

if TYPE_CHECKING:
    from cvbench.tasks.request import Request

MODELS, DATA, METRICS = ("h264@crf=28",), ("sample-clips",), ("psnr", "ssim")
"""What a walk is measured on when nothing else is said: built in, without weights."""
FORMATS = {"csv": walk_csv, "json": walk_json}


@click.command("explain")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--models", "-m", multiple=True, metavar="A,B", help="Models.  [default: h264@crf=28]")
@click.option("--data", "-d", multiple=True, metavar="NAME|NAME=PATH|PATH", help="Data.  [default: sample-clips]")
@click.option("--metrics", multiple=True, metavar="A,B", help="Metrics.  [default: psnr,ssim]")
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change a field of both protocols.")
@click.option("--reverse", is_flag=True, help="Walk back as well: what differs is the interaction of the steps.")
@click.option("--limit", type=click.IntRange(1), help="Only the first N samples of each data set.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option("--weights", multiple=True, metavar="NAME=PATH", help="Weights on this machine; repeatable.")
@click.option("--format", "form", type=click.Choice(["md", "csv", "json"]), default="md", show_default=True)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="Write explain.md, .csv, .json and .html there, too."
)
@quiet
def command(first: str, second: str, **given: Any) -> int:
    """Say why two protocols give different numbers: walk from A to B, one field of the protocol after another.

    \b
      cvbench explain cvvae-2405 wfvae-2411
      cvbench explain cvvae-2405 vidtok-2412 --models my_vae.py:build --data clips/ --reverse --out reports/explain
      cvbench explain mine.toml wfvae-2411+through=none --set size=128
      cvbench explain reports/before reports/after --data clips/

    A and B are protocols (`cvbench list protocols`, or a TOML file), or records or folders of runs. Of records it says
    first what differs at all, then walks from the protocol of A's to that of B's, with A's model and data.

    Each step is a whole protocol and the steps sum to the whole difference. What a model reconstructed is kept (in the
    cache, at most 4 GiB; CVBENCH_RECONSTRUCTIONS says otherwise), so that steps behind the model cost no pass of it; a
    walk that was interrupted continues. Exit codes: 0 done, 2 wrong usage, 3 something could not be measured (named).
    """
    a, b, pair, defaults = ends(first, second, given["changes"])
    if given["out"]:
        check_folder(given["out"])
    for word in said(*pair) if pair else ():
        line(word, err=given["form"] != "md")
    steps = walk(a, b)
    if not steps:
        line(f"{a.name} and {b.name} do not differ in any field", err=given["form"] != "md")
        return DONE
    walks = carry_out(build_request(given, a, defaults), a, b, reverse=given["reverse"])
    rest = [f"- {word}\n" for walk in walks if pair for word in left_over(walk, *pair)]
    text = "".join([walk_markdown(walks), "\n" if rest else "", *rest])
    echo(text if given["form"] == "md" else FORMATS[given["form"]](walks), nl=False)
    if given["form"] != "md":
        rest = [*(f"- {word}\n" for walk in walks for word in reasons(walk)), *rest]
        echo("".join(rest), nl=False, err=True)
    if given["out"]:
        publish(walks, text, given["out"], f"{a.name} → {b.name}")
    return INCOMPLETE if any(is_short(each) for each in walks) else DONE


def is_short(each: Walked) -> bool:
    """Tell whether something of a walk could not be measured."""
    return bool(each.error or each.failed) or any(c.value is None for row in each.rows for c in row.by_metric.values())


Ends = tuple[EvalProtocol, EvalProtocol, Pair | None, Mapping[str, Sequence[str]]]


def ends(first: str, second: str, changes: Sequence[str]) -> Ends:
    """Return the two protocols, the records that they are of, and what is meant where no option says it."""
    kinds = [is_protocol(name) for name in (first, second)]
    if kinds[0] != kinds[1]:
        raise UsageError(f"{first} and {second}: give two protocols, or two records or folders of runs")
    if kinds[0]:
        a, b = (protocol(name, changes_of({"changes": changes})) for name in (first, second))
        return a, b, None, {"models": MODELS, "data": DATA}
    pair = of_records(read_records([Path(first)]), read_records([Path(second)]))
    a, b = (derive(record.protocol, changes) for record in pair)
    data = [pair[0].data.name] if pair[0].data.name in DATASETS else []
    return a, b, pair, {"models": [pair[0].model.name], "data": data}


def is_protocol(name: str) -> bool:
    """Tell a protocol from a record or a folder of them."""
    if name.partition("+")[0] in PROTOCOLS or name.endswith(".toml"):
        return True
    if Path(name).exists():
        return False
    base = name.partition("+")[0]
    raise UnknownName("protocol, file or folder", base, PROTOCOLS)


def build_request(given: Mapping[str, Any], a: EvalProtocol, defaults: Mapping[str, Sequence[str]]) -> "Request":
    """Turn options into a request."""
    from cvbench.tasks.request import Request  # torch

    config = load_config(Path.cwd(), DATASETS, known_weights())
    data = data_names(given["data"], config.data) or tuple(defaults["data"])
    if not data:
        raise UsageError("say where the records' data lie: --data PATH")
    return Request(
        models=model_names(given["models"], defaults["models"]),
        data=data,
        metrics=metric_names(given["metrics"], METRICS),
        protocol=a,
        limit=given["limit"],
        device=given["device"],
        weights={**config.weights, **weights_of(given["weights"])},
        roots=config.data,
    )


def carry_out(request: "Request", a: EvalProtocol, b: EvalProtocol, *, reverse: bool = False) -> list[Walked]:
    """Measure a walk, and the one back, under a progress bar."""
    from cvbench.engine import memory, watch  # torch
    from cvbench.tasks import explanation

    memory.keep_buffers()
    memory.settle_threads()
    there, store = walk(a, b), FileStore()
    with progress_bar() as progress, watch.watched(progress.hear):
        found = explanation.measure(request, [a, *(step.protocol for step in there)], progress, store)
        turned = walk(b, a) if reverse else []
        again = (
            explanation.measure(request, [b, *(step.protocol for step in turned)], progress, store) if turned else {}
        )
    if store.trouble:
        line(store.trouble, err=True)
    back = {key: pairs(turned, records) for key, records in again.items()}
    return [walked(a.name, there, records, request.metrics, back.get(key)) for key, records in found.items()]


def pairs(steps: Sequence[Step], records: Sequence[RunRecord]) -> dict[str, tuple[RunRecord, RunRecord]]:
    """Return the records before and after each step of a walk, by its name."""
    both = pairwise(records)
    return {step.label: pair for step, pair in zip(steps, both, strict=False)}


def publish(walks: Sequence[Walked], text: str, out: Path, title: str) -> None:
    """Write a walk in all its forms."""
    write_text(out / "explain.md", f"# {title}\n\n{text}")
    write_text(out / "explain.csv", walk_csv(walks))
    write_text(out / WALK, walk_json(walks))
    write_text(out / "explain.html", report.render([], title=title, walks=walks))
    line(f"explain.md, explain.csv, explain.json and explain.html are in {out}", err=True)
