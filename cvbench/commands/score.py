"""`cvbench score`: generated pictures or videos against what they should be."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cvbench.commands import processes
from cvbench.commands.console import line, progress_bar, quiet
from cvbench.commands.options import changes_of, check_folder, count_of, metric_names, weights_of
from cvbench.commands.results import finish
from cvbench.core.errors import UsageError
from cvbench.core.protocol import EvalProtocol, protocol
from cvbench.core.records import RunRecord
from cvbench.metrics import METRICS
from cvbench.metrics import resolve as resolve_metrics
from cvbench.store import FileStore

if TYPE_CHECKING:
    from cvbench.engine.ranks import Ranks


@click.command("score")
@click.option(
    "--generated", "-g", multiple=True, required=True, metavar="PATH|CSV|NAME=...",
    help="Folder, glob or CSV file of generated samples; repeatable: a row each.",
)  # fmt: skip
@click.option("--reference", "-r", metavar="NAME|NAME=PATH|PATH", help="Real samples: a data set, folder or glob.")
@click.option(
    "--metrics",
    multiple=True,
    default=["fvd,kvd"],
    show_default=True,
    metavar="A,B",
    help="See `cvbench list metrics`; repeatable.",
)
@click.option(
    "--prompts", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="CSV, JSON or text of name,prompt.",
)  # fmt: skip
@click.option("--first-frames", metavar="DIR", help="Pictures that videos start from, by the same names.")
@click.option("--protocol", metavar="NAME", help="[default: cvbench-1 with 16 frames]")
@click.option(
    "--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change a field of the protocol; repeatable."
)
@click.option("--limit", type=click.IntRange(1), help="Only the first N samples of each set.")
@click.option("--out", "-o", type=click.Path(path_type=Path), default=Path("reports/score"), show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option("--weights", multiple=True, metavar="NAME=PATH", help="Weights on this machine; repeatable.")
@click.option(
    "--init", type=click.Choice(["weights", "random"]), default="weights", show_default=True,
    help="random: untrained networks, to try things out.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), help="Of everything drawn at random; the same as --set seed=.")
@click.option("--intervals", is_flag=True, help="Print 95 % intervals.")
@processes.options
@quiet
def command(**given: Any) -> int:
    """Measure generated pictures or videos against a reference set, their prompts or their first frames.

    \b
      cvbench score --generated samples/ --reference real/ --metrics fvd,kvd
      cvbench score --generated svd=out/ --reference ucf101 --first-frames frames/ --metrics fvd,pic
      cvbench score --generated sd21.csv --reference coco-val --metrics fid,kid,clip,pic --set size=none
      cvbench score --generated vc2/ --prompts captions.csv --metrics frame-consistency,text-alignment

    Prompts and first frames belong to a sample by its file name. Without these options they are taken from the CSV
    file (columns path, prompt, first_frame) or the reference (captions; the picture or clip of the same name). What
    is already measured is not measured again. Exit codes: 0 done, 2 wrong usage, 3 something could not be evaluated
    or found no partner (named in the table's footnotes), 130 interrupted.
    """
    names = metric_names(given["metrics"], task="generation")
    refuse_unused(given, resolve_metrics(names, choose_protocol(given), "generation"))
    check_folder(given["out"])
    if devices := processes.to_launch(given):
        return processes.launch(devices)
    with processes.joined(given, given["out"]) as ranks:
        records = records_of(given, given["out"], ranks)
    if not ranks.assembles:
        return processes.told_share(ranks, given["out"])
    return finish(records, "score", given["out"], intervals=given["intervals"])


def records_of(
    given: Mapping[str, Any], out: Path, ranks: "Ranks", store: FileStore | None = None
) -> Sequence[RunRecord]:
    """Score every generated set, and write its record where this process assembles them."""
    from cvbench.engine import memory  # torch, for which no help waits
    from cvbench.tasks.request import kept

    memory.settle_threads()
    records: list[RunRecord] = []
    store = store or FileStore()
    for generated in given["generated"]:
        made = measure(generated, given, ranks, store)
        if made is None:
            continue
        if made.model.name in (record.model.name for record in records):
            raise UsageError(f"two generated sets are called {made.model.name}; tell them apart by NAME=PATH")
        records.append(kept(made, out, tell=lambda word: line(word, err=True)))
    return records


def choose_protocol(given: Mapping[str, Any]) -> EvalProtocol:
    """Return the protocol asked for, or that of scoring, with what --set and --seed change."""
    from cvbench.tasks.scoring import PROTOCOL  # torch, for which no help waits

    frames = [] if given["protocol"] else [f"frames={PROTOCOL.frames}"]
    return protocol(given["protocol"] or "cvbench-1", [*frames, *changes_of(given)])


def refuse_unused(given: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise UsageError for partners that none of the metrics `names` looks at."""
    partners = {METRICS[name].partner for name in names}
    distances = [name for name in names if METRICS[name].distance]
    taken = {
        "--prompts": "prompt" in partners or not given["prompts"],
        "--first-frames": "first frame" in partners or not given["first_frames"],
        "--reference": distances or partners & {"prompt", "first frame"} or not given["reference"],
    }
    if given["init"] == "random" and given["weights"]:
        raise UsageError("--weights: untrained networks (--init random) read no weights; leave one of the two out")
    unused = [option for option, use in taken.items() if not use]
    if unused:
        raise UsageError(f"{' and '.join(unused)}: {', '.join(names)} would not look at it; leave it out")


def measure(generated: str, given: Mapping[str, Any], ranks: "Ranks", store: FileStore) -> RunRecord | None:
    """Score one generated set under a progress bar; None where another process makes the record."""
    from cvbench.tasks.scoring import measure as measured  # torch, for which no help waits

    with progress_bar(ranks.speaks) as progress:
        scoring = measured(
            generated,
            given["reference"],
            metric_names(given["metrics"], task="generation"),
            given["prompts"],
            given["first_frames"],
            choose_protocol(given),
            limit=given["limit"],
            device=processes.device_of(given),
            weights=weights_of(given["weights"]),
            init=given["init"],
            progress=progress,
            store=store,
            workers=count_of("--workers", given["workers"]),
        )
        return scoring.record() if ranks.assembles else None
