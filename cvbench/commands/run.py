"""`cvbench run`: models through data to records and tables."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cvbench.commands import processes
from cvbench.commands.console import line, progress_bar
from cvbench.commands.demo import conclude, is_demo
from cvbench.commands.drawing import PICTURES, agreeing, check_kind, chosen_protocol, request_of
from cvbench.commands.health import examine
from cvbench.commands.journal import Journal, journal
from cvbench.commands.options import (
    changes_of,
    check_folder,
    count_of,
    data_names,
    generator_names,
    metric_names,
    model_names,
    weights_of,
)
from cvbench.commands.plan import show_plan
from cvbench.commands.results import finish
from cvbench.commands.show import state
from cvbench.core.config import load_config
from cvbench.core.errors import UsageError
from cvbench.core.protocol import EvalProtocol, protocol
from cvbench.core.records import RunRecord
from cvbench.core.suites import Suite, load_suite
from cvbench.data import DATASETS
from cvbench.metrics import METRICS, resolve
from cvbench.probes import FEATURES, known_weights, missing_weights
from cvbench.store import FileStore
from cvbench.tasks import finished

if TYPE_CHECKING:
    from cvbench.engine.ranks import Ranks
    from cvbench.metrics.registry import Task
    from cvbench.tasks.request import Request

RUN_HELP = """Reconstruct data with models, measure, store, and print a table.

Alone, `cvbench run` is the demo: the built-in models on the built-in sample, offline.

\b
  cvbench run --models cvvae,vae-sd21,tats --suite recon
  cvbench run --models vae-sd21 --data coco-val=/data/coco/val2017 --device cuda:0
  cvbench run --models identity,h264@crf=28 --data clips/ --metrics psnr,ssim
  cvbench run --models my_vae.py:build --data clips/ --protocol cvbench-1 --set size=128

What is already computed is not computed again: the same line typed twice does nothing the second time, and
after Ctrl-C it continues. Exit codes: 0 done, 2 wrong usage, 3 something could not be evaluated (named in the
table's footnotes), 4 an error of cvbench itself, 130 interrupted.
"""


@click.command("run", help=RUN_HELP)
@click.option(
    "--models", "-m", multiple=True, metavar="A,B",
    help="Models by name, or FILE.py:FACTORY; repeatable.  [default: the suite's]",
)  # fmt: skip
@click.option(
    "--suite",
    "-s",
    default="recon",
    show_default=True,
    help="What to do, or FILE.toml; see `cvbench list suites`.",
)
@click.option(
    "--data", "-d", multiple=True, metavar="NAME|NAME=PATH|PATH",
    help="Data sets, folders, globs or files, with commas or repeated.  [default: the suite's]",
)  # fmt: skip
@click.option(
    "--metrics", multiple=True, metavar="A,B", help="See `cvbench list metrics`; repeatable.  [default: the suite's]"
)
@click.option("--protocol", metavar="NAME", help="See `cvbench list protocols`.  [default: the suite's]")
@click.option(
    "--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change a field of the protocol; repeatable."
)
@click.option(
    "--prompts", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="Suites of generators: CSV, JSON or text of name,prompt in place of --data.",
)  # fmt: skip
@click.option("--yes", is_flag=True, help="Suites of generators: begin also what takes over an hour.")
@click.option("--limit", type=click.IntRange(1), help="Only N samples of each data set.")
@click.option(
    "--pick", type=click.Choice(["first", "hash"]), default="first", show_default=True,
    help="Which N: the first, or those of smallest SHA-256 of their ids.",
)  # fmt: skip
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="Where records and tables go.  [default: reports/SUITE]"
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option(
    "--dtype", type=click.Choice(["fp32", "tf32", "bf16", "fp16"]), help="Of the networks; the same as --set dtype=."
)
@click.option("--batch", default="auto", show_default=True, metavar="auto|N", help="Clips of one size coded together.")
@click.option("--weights", multiple=True, metavar="NAME=PATH", help="Weights on this machine; repeatable.")
@click.option(
    "--init",
    type=click.Choice(["weights", "random"]),
    default="weights",
    show_default=True,
    help="random: untrained models, measured by trained networks.",
)
@click.option("--seed", type=click.IntRange(0), help="Of everything drawn at random; the same as --set seed=.")
@click.option("--speed/--no-speed", default=None, help="Measure speed and memory too.  [default: the suite's]")
@click.option("--pictures", type=click.IntRange(0), help="Samples pictured in `report`.  [default: 6]")
@click.option("--intervals", is_flag=True, help="Print 95 % intervals.")
@click.option(
    "--strict", "--fail-fast", "-x", "strict", is_flag=True, help="Stop at the first sample or model that fails."
)
@click.option(
    "--dry-run", is_flag=True, help="Say what is cached, what is missing, how long and how large; do nothing."
)
@click.option("--quiet", "-q", is_flag=True, help="Print the table and errors alone.")
@click.option("--verbose", "-v", is_flag=True, help="Say of each sample and model when it is measured.")
@processes.options
def command(**given: Any) -> int:
    """Parse the options of `run`, run, write and print."""
    suite = load_suite(given["suite"])
    refuse_unused(given, suite)
    if suite.task not in SHARED:
        processes.refuse(given, f"the suite {suite.name}")
    out = given["out"] or Path("reports") / suite.name
    check_folder(out)
    if suite.makes:
        return run_generation(given, suite, out)
    asked, notes = read_request(given, suite, out)
    if suite.task == "health":
        if given["data"] and len(asked["data"]) > 1:
            raise UsageError(f"the suite {suite.name} looks at one data set; --data says {', '.join(asked['data'])}")
        for note in () if given["quiet"] else notes:
            line(note, err=True)
        return examine(requested(asked), out, quiet=given["quiet"])
    if given["dry_run"]:
        return show_plan(suite, requested(asked))
    if devices := processes.to_launch(given):
        return processes.launch(devices)
    speaks, store = processes.here().rank == 0, FileStore()
    is_alone = processes.here().world == 1 and not given["shard"]
    key = finished.key_of(suite.task, asked) if is_alone else None
    with journal(out, typed(), written=speaks, aloud=given["verbose"]) as log:
        tell = partial(said, log, quiet=given["quiet"] or not speaks)
        for note in notes:
            tell(note)
        records: Sequence[RunRecord] | None = finished.recall(key, out, store)
        code = None
        if records is None:
            with processes.joined(given, out) as ranks:
                records = carry_out(
                    suite, requested(asked), ranks, store,
                    tell=tell, log=log, shown=not (given["quiet"] or given["verbose"]), key=key,
                )  # fmt: skip
                code = None if ranks.assembles else processes.told_share(ranks, out)
        for record in records:
            log.note(f"{record.model.name} on {record.data.name}: {record.error or state(record)}")
        if code is None:
            code = finish(records, suite.name, out, intervals=given["intervals"], quiet=given["quiet"])
            if is_demo(given, asked["data"], suite.fallback) and not given["quiet"]:
                conclude(records, out)
        log.note(f"ended with {code}")
    return code


def typed() -> str:
    """Return the line that was typed, behind the program's name."""
    root = click.get_current_context().find_root()
    return shlex.join(root.obj.arguments if root.obj else [])


def said(log: Journal, word: str, *, quiet: bool) -> None:
    """Write a word into the log, and to stderr unless that is to be quiet."""
    if not (quiet or log.aloud):
        line(word, err=True)
    log.say(word)


def carry_out(
    suite: Suite,
    request: "Request",
    ranks: "Ranks",
    store: FileStore | None = None,
    *,
    tell: Callable[[str], None] | None = None,
    log: Journal | None = None,
    shown: bool = True,
    key: str | None = None,
    yes: bool = False,
) -> Sequence[RunRecord]:
    """Run the task of a suite under a progress bar; what a user should know is passed to `tell`.

    A run that left nothing to say is remembered under `key`.
    """
    from cvbench.engine import clock, memory, watch  # torch, for which no help waits
    from cvbench.tasks import crossdecoding, generation, reconstruction

    memory.keep_buffers()
    memory.settle_threads()
    drawn: Any = partial(generation.run, agree=agreeing(ranks, yes=yes))
    crossed = {"compat": crossdecoding.run, "drop-in": crossdecoding.run_drop_in}
    tasks = {"reconstruct": reconstruction.run, **crossed, "generate": drawn}
    store, told = store or FileStore(), dict[str, None]()
    with (
        progress_bar(ranks.speaks and shown) as progress,
        clock.running() as times,
        watch.watched(progress.hear, *([log.hear] if log else [])),
    ):
        run: Any = tasks[suite.task]
        records: Sequence[RunRecord] = run(request, progress, store, lambda word: told.update({word: None}))
    if request.out and not (told or store.trouble):
        finished.remember(key, records, request.out, store)
    for word in filter(None, dict.fromkeys([*told, store.trouble, *ranks.words, clock.summary(times.total())])):
        if ranks.speaks:
            (tell or partial(line, err=True))(word)
    return records


SHARED: Sequence[str] = ("reconstruct", "compat", "generate")
"""Tasks whose samples several processes may share."""
UNUSED: Mapping[str, Sequence[str]] = {
    "reconstruct": ("prompts", "yes"),
    "drop-in": ("batch", "pictures", "prompts", "yes", "dry_run", "shard", "devices"),
    "compat": ("speed", "batch", "pictures", "prompts", "yes"),
    "generate": ("dry_run",),
    "health": (
        "speed", "batch", "pictures", "metrics", "dry_run", "intervals", "prompts", "yes", "shard", "devices",
        "verbose", "seed",
    ),
}  # fmt: skip
"""Options that a task does not take."""


def refuse_unused(given: Mapping[str, Any], suite: Suite) -> None:
    """Raise UsageError for options that ask the suite's task for what it does not do."""
    unused = [f"--{name.replace('_', '-')}" for name in UNUSED[suite.task] if given[name] and given[name] != "auto"]
    if unused:
        what = f"the suite {suite.name} ({suite.task}) takes no such option"
        raise UsageError(f"{' and '.join(unused)}: {what}; leave it out")


def build_request(given: Mapping[str, Any], suite: Suite, out: Path) -> tuple["Request", list[str]]:
    """Turn options into a request; return it with what the user should be told."""
    if suite.makes:
        return build_generation(given, suite, out)
    asked, notes = read_request(given, suite, out)
    return requested(asked), notes


def requested(asked: Mapping[str, Any]) -> "Request":
    """Return the request of these fields."""
    from cvbench.tasks.request import Request  # torch

    return Request(**asked)


def read_request(given: Mapping[str, Any], suite: Suite, out: Path) -> tuple[dict[str, Any], list[str]]:
    """Turn options into the fields of a request; return them with what the user should be told."""
    config = load_config(Path.cwd(), DATASETS, known_weights())
    data, notes = choose_data(data_names(given["data"], config.data), suite, config.data)
    weights = {**config.weights, **weights_of(given["weights"])}
    chosen = protocol(given["protocol"] or suite.protocol, changes_of(given))
    metrics = metric_names(given["metrics"])
    if not metrics:
        metrics, words = default_metrics(suite, chosen, weights)
        notes += words
    asked = {
        "models": model_names(given["models"], suite.models),
        "data": data,
        "metrics": metrics,
        "protocol": chosen,
        "speed": suite.speed if given["speed"] is None else given["speed"],
        "limit": given["limit"],
        "pick": given["pick"],
        "device": processes.device_of(given),
        "batch": count_of("--batch", given["batch"]),
        "workers": count_of("--workers", given["workers"]),
        "strict": given["strict"],
        "pictures": PICTURES if given["pictures"] is None else given["pictures"],
        "init": given["init"],
        "weights": weights,
        "roots": config.data,
        "out": out,
    }
    return asked, notes


def run_generation(given: Mapping[str, Any], suite: Suite, out: Path) -> int:
    """Run a suite of generators, write and print."""
    request, notes = build_generation(given, suite, out)
    if devices := processes.to_launch(given):
        return processes.launch(devices)
    speaks = processes.here().rank == 0
    with journal(out, typed(), written=speaks, aloud=given["verbose"]) as log, processes.joined(given, out) as ranks:
        tell = partial(said, log, quiet=given["quiet"] or not speaks)
        for note in notes:
            tell(note)
        shown = not (given["quiet"] or given["verbose"])
        records = carry_out(suite, request, ranks, tell=tell, log=log, shown=shown, yes=given["yes"])
        for record in records:
            log.note(f"{record.model.name} on {record.data.name}: {record.error or state(record)}")
        if ranks.assembles:
            code = finish(records, suite.name, out, intervals=given["intervals"], quiet=given["quiet"])
        else:
            code = processes.told_share(ranks, out)
        log.note(f"ended with {code}")
    return code


def build_generation(given: Mapping[str, Any], suite: Suite, out: Path) -> tuple["Request", list[str]]:
    """Turn options into a request for generators; return it with what the user should be told."""
    rows, given = (
        generator_names(given["models"], suite.models),
        {**given, "protocol": given["protocol"] or suite.protocol},
    )
    check_kind(rows, suite.makes, suite.name)
    if given["init"] == "random":
        raise UsageError("--init random: untrained generators draw noise; gaussian-t2i, -i2v and -t2v need no weights")
    if given["prompts"] and given["pick"] != "first":
        raise UsageError("--pick is of data sets; of --prompts the first --limit N are taken")
    if given["prompts"] and given["data"]:
        raise UsageError("--prompts and --data both say what samples are made from; give one of them")
    config = load_config(Path.cwd(), DATASETS, known_weights())
    asked = data_names(given["data"], config.data)
    data, notes = ((), []) if given["prompts"] else choose_data(asked, suite, config.data)
    weights = {**config.weights, **weights_of(given["weights"])}
    metrics = metric_names(given["metrics"], (), "drawing")
    if not metrics:
        metrics, words = default_metrics(suite, chosen_protocol(given, rows), weights, "drawing")
        notes = [*notes, *words]
    speed = suite.speed if given["speed"] is None else given["speed"]
    return request_of(given, rows, data, metrics, config, out, speed=speed), notes


def default_metrics(
    suite: Suite, chosen: EvalProtocol, weights: Mapping[str, Path], task: "Task" = "reconstruction"
) -> tuple[tuple[str, ...], list[str]]:
    """Return a suite's metrics: those that need no download, and those whose weights are here; of others a word."""
    wanted = {
        name: missing_weights(METRICS[name].network, weights) for name in resolve(suite.where_found, chosen, task)
    }
    words = [
        f"{name} is left out, for {file} is not on this machine: `cvbench weights fetch {_weights_of(name)}` gets it, "
        f"--weights {_weights_of(name)}=PATH names it, and --metrics {','.join(suite.metrics)},{name} insists"
        for name, file in wanted.items()
        if file
    ]
    return (*suite.metrics, *(name for name, file in wanted.items() if not file)), words


def _weights_of(metric: str) -> str:
    """Return what --weights calls the weights of a metric: those of a network that describes videos have its name."""
    network = METRICS[metric].network
    return next(iter(FEATURES[network].weights)) if network in FEATURES else metric


def choose_data(asked: Sequence[str], suite: Suite, roots: Mapping[str, Path]) -> tuple[tuple[str, ...], list[str]]:
    """Return the data sets to run on: those asked for, the suite's where configured, or its fallback with a word."""
    if asked:
        return tuple(asked), []
    configured = tuple(
        name for name in suite.data if name not in DATASETS or DATASETS[name].folder == "" or name in roots
    )
    missing = [name for name in suite.data if name not in configured]
    how = "--data NAME=PATH, a [data] table in cvbench.toml, or the folder CVBENCH_DATA"
    if configured:
        return configured, [f"no folder configured for {', '.join(missing)} ({how}): left out"] if missing else []
    instead = f"running on {', '.join(suite.fallback)}, built in"
    return suite.fallback, [f"no folder configured for {' or '.join(suite.data)} ({how}): {instead}"]
