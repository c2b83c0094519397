"""The command line: parses, calls one function, prints."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cvbench import __version__
from cvbench.core.errors import CvbenchError, UsageError

if TYPE_CHECKING:
    from cvbench.compare import CheckResult
    from cvbench.core.records import RunRecord
    from cvbench.core.suites import Suite
    from cvbench.engine.loop import Progress

DONE, REGRESSION, USAGE, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130

RUN_HELP = """Reconstruct data with models, measure, store, and print a table.

Alone, `cvbench run` is the demo: the built-in models on the built-in sample, offline.

\b
  cvbench run --models cvvae,vae-sd21,tats --suite recon
  cvbench run --models vae-sd21 --data coco-val=/data/coco/val2017 --device cuda:0
  cvbench run --models identity,h264@crf=28 --data clips/ --metrics psnr,ssim
  cvbench run --models my_vae.py:build --data clips/ --protocol cvbench-1 --set size=128

What is already computed is not computed again: the same line typed twice does nothing the second time, and
after Ctrl-C it continues. Exit codes: 0 done, 2 wrong usage, 3 something could not be evaluated (named in the
table's footnotes), 130 interrupted.
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="cvbench")
def cli() -> None:
    """Measure image and video autoencoders so that two numbers in one column mean the same thing.

    \b
      cvbench run                                  the demo: built-in models and data, offline
      cvbench run --models vae-sd21 --data clips/  your clips
      cvbench table reports/recon --format latex   the same scores for a paper
      cvbench list models                          what can be measured
      cvbench doctor                               what works on this machine
    """


def main() -> None:
    """Run the program and exit with its code."""
    sys.exit(run_program(sys.argv[1:]))


def run_program(arguments: Sequence[str]) -> int:
    """Run the program and return its exit code; every error of ours is one message on stderr."""
    try:
        code = cli.main(list(arguments), prog_name="cvbench", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return USAGE
    except (KeyboardInterrupt, click.Abort):
        click.echo("\ninterrupted; type the same line again to continue", err=True)
        return INTERRUPTED
    except UsageError as error:
        click.echo(f"Error: {error}", err=True)
        return USAGE
    except CvbenchError as error:
        click.echo(f"Error: {error}", err=True)
        return INCOMPLETE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        click.echo(
            f"Error: {error.strerror or error}: {error.filename or 'a file'}; nothing already stored is lost", err=True
        )
        return INCOMPLETE
    return code if isinstance(code, int) else DONE


@cli.command("run", help=RUN_HELP)
@click.option("--models", "-m", metavar="A,B", help="Models by name, or FILE.py:FACTORY; default: the suite's.")
@click.option("--suite", "-s", default="recon", show_default=True, help="What to do; see `cvbench list suites`.")
@click.option(
    "--data", "-d", multiple=True, metavar="NAME|NAME=PATH|PATH", help="Data set, folder, glob or file; repeatable."
)
@click.option("--metrics", metavar="A,B", help="Default: the suite's.")
@click.option("--protocol", metavar="NAME", help="Default: the suite's; see `cvbench list protocols`.")
@click.option(
    "--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change a field of the protocol; repeatable."
)
@click.option("--limit", type=click.IntRange(1), help="Only the first N samples of each data set.")
@click.option("--out", type=click.Path(path_type=Path), help="Where records and tables go.  [default: reports/SUITE]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option("--dtype", type=click.Choice(["fp32", "bf16", "fp16"]), help="Of the networks; the same as --set dtype=.")
@click.option("--batch", default="auto", show_default=True, metavar="auto|N", help="Clips of one size coded together.")
@click.option("--weights", multiple=True, metavar="NAME=PATH", help="Weights on this machine; repeatable.")
@click.option(
    "--init", type=click.Choice(["weights", "random"]), default="weights", show_default=True, help="random: untrained."
)
@click.option("--seed", type=click.IntRange(0), help="Of everything drawn at random; the same as --set seed=.")
@click.option("--speed/--no-speed", default=None, help="Measure speed and memory too.  [default: the suite's]")
@click.option("--pictures", type=click.IntRange(0), default=3, show_default=True, help="Samples pictured in `report`.")
@click.option("--intervals", is_flag=True, help="Print 95 % intervals.")
@click.option("--strict", is_flag=True, help="Stop at the first sample or model that fails.")
def run_command(**given: Any) -> int:
    """Parse the options of `run`, run, write and print."""
    from cvbench.engine import memory
    from cvbench.tasks import crossdecoding as compat
    from cvbench.tasks import reconstruction as bench

    memory.keep_buffers()
    request, suite, notes = build_request(given)
    for note in notes:
        click.echo(note, err=True)
    with progress_bar() as progress:
        records = {"reconstruct": bench.run, "compat": compat.run}[suite.task](request, progress)
    return finish(records, suite.name, request.out, intervals=given["intervals"])


def build_request(given: dict[str, Any]) -> tuple[Any, "Suite", list[str]]:
    """Turn options into a request; return it with the suite and what the user should be told."""
    from cvbench.core.config import load_config, pairs
    from cvbench.core.protocol import protocol
    from cvbench.core.suites import load_suite
    from cvbench.data import DATASETS
    from cvbench.tasks.request import Request

    suite = load_suite(given["suite"])
    config = load_config(Path.cwd(), DATASETS)
    changes = [*given["changes"], *(f"{k}={given[k]}" for k in ("dtype", "seed") if given[k] is not None)]
    data, notes = choose_data(given["data"], suite.data, suite.fallback, config.data)
    request = Request(
        models=split(given["models"]) or suite.models,
        data=data,
        metrics=split(given["metrics"]) or suite.metrics,
        protocol=protocol(given["protocol"] or suite.protocol, changes),
        speed=suite.speed if given["speed"] is None else given["speed"],
        limit=given["limit"],
        device=given["device"],
        batch=batch_size(given["batch"]),
        strict=given["strict"],
        pictures=given["pictures"],
        init=given["init"],
        weights={**config.weights, **pairs("--weights", given["weights"])},
        roots=config.data,
        out=given["out"] or Path("reports") / suite.name,
    )
    return request, suite, notes


def choose_data(
    asked: Sequence[str], wanted: Sequence[str], fallback: Sequence[str], roots: Any
) -> tuple[tuple[str, ...], list[str]]:
    """Return the data sets to run on: those asked for, the suite's where configured, or its fallback with a word."""
    if asked:
        return tuple(asked), []
    configured = tuple(name for name in wanted if name in roots)
    missing = [name for name in wanted if name not in roots]
    how = "--data NAME=PATH, a [data] table in cvbench.toml, or the folder CVBENCH_DATA"
    if configured:
        return configured, [f"no folder configured for {', '.join(missing)} ({how}): left out"] if missing else []
    note = f"no folder configured for {' or '.join(wanted)} ({how}): running on {', '.join(fallback)}, built in"
    return tuple(fallback), [note]


def batch_size(text: str) -> int:
    """Read --batch: auto is 0."""
    if text == "auto":
        return 0
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"--batch takes auto or a positive number, got {text!r}")
    return int(text)


def split(text: str | None) -> tuple[str, ...]:
    """Split a comma-separated list; a comma before OPTION=VALUE belongs to the model before it."""
    parts: list[str] = []
    for part in filter(None, (p.strip() for p in (text or "").split(","))):
        if parts and "@" in parts[-1] and "=" in part and "@" not in part:
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return tuple(dict.fromkeys(parts))


@contextlib.contextmanager
def progress_bar() -> Iterator["Progress"]:
    """Show a bar with the time left on stderr while work is done, where a person watches."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def report(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bar.add_task(label, total=total)
            bar.update(tasks[label], completed=done, total=total)

        yield report


def finish(records: "Sequence[RunRecord]", suite: str, out: Path, *, intervals: bool) -> int:
    """Write the tables, print the Markdown one, and return the exit code."""
    from cvbench import tables
    from cvbench.store import write_text

    table = tables.lay_out(records, intervals=intervals, allow_mixed=True)
    text = tables.markdown(table)
    write_text(out / "table.md", f"# {suite}\n\n{text}")
    write_text(out / "table.csv", tables.to_csv(table))
    write_text(out / "samples.csv", tables.samples_csv(records))
    click.echo(text)
    errors = {f"{r.model.name}: {r.error}": None for r in records if r.error}
    for error in errors:
        click.echo(f"Error: {error}", err=True)
    click.echo(f"records, table.md, table.csv and samples.csv are in {out}", err=True)
    return DONE if all(record.complete for record in records) else INCOMPLETE


@cli.command("score")
@click.option(
    "--generated", "-g", multiple=True, required=True, metavar="PATH|CSV|NAME=…",
    help="Folder, glob or CSV file of generated samples; repeatable: a row each.",
)  # fmt: skip
@click.option("--reference", "-r", metavar="NAME|NAME=PATH|PATH", help="Real samples: a data set, folder or glob.")
@click.option("--metrics", default="fvd,kvd", show_default=True, metavar="A,B", help="See `cvbench list metrics`.")
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
@click.option("--out", type=click.Path(path_type=Path), default=Path("reports/score"), show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option("--weights", multiple=True, metavar="NAME=PATH", help="Weights on this machine; repeatable.")
@click.option(
    "--init", type=click.Choice(["weights", "random"]), default="weights", show_default=True,
    help="random: untrained networks, to try things out.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), help="Of everything drawn at random; the same as --set seed=.")
@click.option("--intervals", is_flag=True, help="Print 95 % intervals.")
def score_command(**given: Any) -> int:
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
    from cvbench.core.config import pairs
    from cvbench.core.protocol import protocol
    from cvbench.store import write_record
    from cvbench.tasks.scoring import PROTOCOL, score

    changes = [*given["changes"], *([] if given["seed"] is None else [f"seed={given['seed']}"])]
    frames = [] if given["protocol"] else [f"frames={PROTOCOL.frames}"]
    chosen = protocol(given["protocol"] or "cvbench-1", [*frames, *changes])
    records: list[RunRecord] = []
    for generated in given["generated"]:
        with progress_bar() as progress:
            made = score(
                generated,
                given["reference"],
                split(given["metrics"]),
                given["prompts"],
                given["first_frames"],
                chosen,
                limit=given["limit"],
                device=given["device"],
                weights=pairs("--weights", given["weights"]),
                init=given["init"],
                progress=progress,
            )
        if made.model.name in (record.model.name for record in records):
            raise UsageError(f"two generated sets are called {made.model.name}; tell them apart by NAME=PATH")
        write_record(given["out"], made)
        records.append(made)
    return finish(records, "score", given["out"], intervals=given["intervals"])


@cli.command("table")
@click.argument("what", nargs=-1, required=True, metavar="RUN_OR_FOLDER... | 1..8 | TABLE.toml")
@click.option(
    "--from", "runs", multiple=True, type=click.Path(exists=True, path_type=Path), metavar="RUN_OR_FOLDER",
    help="Records to print in the layout of a published table; repeatable.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(["md", "html", "csv", "latex", "json"]), default="md", show_default=True
)
@click.option("--published", is_flag=True, help="The published cells too, with the difference.")
@click.option("--intervals", "--ci", "intervals", is_flag=True, help="Print 95 % intervals.")
@click.option("--allow-mixed", is_flag=True, help="Footnote scores whose signatures differ instead of refusing them.")
@click.option("--temporal", is_flag=True, help="PSNR by position in the temporal group, flicker, seams of windows.")
def table_command(
    what: Sequence[str],
    runs: Sequence[Path],
    form: str,
    published: bool,
    intervals: bool,
    allow_mixed: bool,
    temporal: bool,
) -> int:
    """Print the table of records made by `run`, or a published table (1 to 8) filled from them.

    \b
      cvbench table reports/recon
      cvbench table reports/recon --format latex > table.tex
      cvbench table reports/recon --temporal           which frames of a clip a model codes worse
      cvbench table 1 --from reports/recon --published
      cvbench table 5 --published                      the paper's cells alone
      cvbench table 6                                  the paper's ablation at small scale, with paired tests

    Bold is the best of a column, underlined the second, each with all that tie with it: two scores tie when their
    95 % intervals overlap and, where both were measured on the same clips (8 or more), the 95 % interval of the
    paired differences holds 0. The identity and untrained models do not compete. `cvbench compare` tests.

    Below Tables 1, 6, 7 and 8 stand small networks of this project, from records that ship with it; those of --from go
    before them.
    """
    from cvbench import paper, tables
    from cvbench.core.records import read_records
    from cvbench.tables.temporal import build_temporal

    name = published_table(what, extra=bool(runs or published))
    if temporal and (name or intervals):
        raise UsageError("--temporal makes its own table of records: cvbench table RUN_OR_FOLDER --temporal")
    if temporal:
        table = build_temporal(read_records(existing(what)), allow_mixed=allow_mixed)
    elif name:
        layout = paper.load_table(name)
        table = paper.build(
            layout,
            read_records(runs),
            stored=paper.stored_records() if layout.small else (),
            published=published,
            intervals=intervals,
            allow_mixed=allow_mixed,
        )
    else:
        table = tables.lay_out(read_records(existing(what)), intervals=intervals, allow_mixed=allow_mixed)
    click.echo(tables.FORMATS[form](table), nl=False)
    return DONE


def published_table(what: Sequence[str], *, extra: bool) -> str | None:
    """Return which published table is meant, None for folders, which take no `extra` options."""
    if not (what[0].isdigit() or what[0].endswith(".toml")):
        if extra:
            raise UsageError("--from and --published go with a published table: cvbench table 1 --from RUN_OR_FOLDER")
        return None
    if len(what) > 1:
        raise UsageError(f"the records of table {what[0]} go behind --from: cvbench table {what[0]} --from {what[1]}")
    return what[0]


def existing(names: Sequence[str]) -> list[Path]:
    """Return paths. Raises UsageError for one that is not there."""
    for name in names:
        if not Path(name).exists():
            raise UsageError(f"there is no file or folder {name}")
    return [Path(name) for name in names]


@cli.command("list")
@click.argument("what", type=click.Choice(["models", "data", "metrics", "suites", "protocols"]))
def list_command(what: str) -> int:
    """List what there is.

    \b
      cvbench list models
      cvbench list protocols
    """
    from cvbench.commands import listing

    head, rows = listing.LISTS[what]()
    print_rows(head, rows)
    return DONE


def print_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table to read: boxed for a terminal, tab-separated for a pipe."""
    if not sys.stdout.isatty():
        for row in [head, *rows]:
            click.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


@cli.command("doctor")
def doctor_command() -> int:
    """Say what works on this machine: packages, device, decoders, caches, data and weights.

    \b
      cvbench doctor
    """
    from cvbench.commands import doctor

    findings = doctor.examine(Path.cwd())
    print_rows(("", "what", "finding"), [("ok" if f.ok else "MISSING", f.what, f.text) for f in findings])
    return DONE if all(f.ok or f.optional for f in findings) else INCOMPLETE


@cli.command("compare")
@click.argument("first", type=click.Path(exists=True, path_type=Path), metavar="A")
@click.argument("second", required=False, type=click.Path(exists=True, path_type=Path), metavar="[B]")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only this model; twice: A's first, B's second.")
@click.option("--format", "form", type=click.Choice(["md", "json"]), default="md", show_default=True)
def compare_command(first: Path, second: Path | None, models: Sequence[str], form: str) -> int:
    """Compare two runs, or models of one run, sample by sample: is the difference real?

    \b
      cvbench compare reports/before reports/after
      cvbench compare reports/recon --model vae-sd21 --model cvvae
      cvbench compare reports/before reports/after --model cvvae --model my_vae.py:build

    A and B are folders or records made by `cvbench run`. Differences are B minus A on the samples that both measured
    on the same pixels. Exit codes: 0 done, 2 wrong usage, 3 something could not be paired (named under the table).
    """
    from cvbench.compare import compare_runs, text
    from cvbench.core.records import read_records

    comparisons, alone = compare_runs(read_records([first]), read_records([second]) if second else None, models)
    show = text.comparison_markdown if form == "md" else text.comparison_json
    click.echo(show(comparisons, alone), nl=False)
    return INCOMPLETE if alone or any(c.unpaired for c in comparisons) else DONE


@cli.command("check")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--against", required=True, type=click.Path(exists=True, path_type=Path), metavar="BASELINE", help="Stored scores."
)
@click.option(
    "--tolerance",
    multiple=True,
    metavar="METRIC=VALUE",
    help="How much worse is allowed; repeatable; speed=1.2: slower.",
)
@click.option("--speed-reference", metavar="MODEL", help="What speed is measured against.  [default: a floor or codec]")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write JUnit XML.")
@click.option("--github", is_flag=True, help="Print annotations and write the summary of a GitHub job.")
def check_command(
    run: Path, against: Path, tolerance: Sequence[str], speed_reference: str | None, junit: Path | None, github: bool
) -> int:
    """Check a run against a baseline: what got worse?

    \b
      cvbench baseline save reports/recon --to reports/baseline
      cvbench check reports/recon --against reports/baseline
      cvbench check reports/recon --against reports/baseline --tolerance psnr=0.05 --tolerance speed=1.2

    A score regressed when it is worse by more than the metric's tolerance and the paired test says that this is no
    chance. Exit codes: 0 nothing regressed, 1 something did, 2 wrong usage, 3 something could not be checked.
    """
    from cvbench.compare import check, parse_tolerances, text
    from cvbench.core.records import read_records

    result = check(read_records([run]), read_records([against]), parse_tolerances(tolerance), speed_reference)
    click.echo(text.check_markdown(result), nl=False)
    if junit:
        publish_junit(result, junit)
    if github:
        publish_github(result)
    return result.code


def publish_junit(result: "CheckResult", path: Path) -> None:
    """Write a check as JUnit XML."""
    from cvbench.compare.junit import junit_xml
    from cvbench.store import atomic

    with atomic(path) as file:
        file.write(junit_xml(result))


def publish_github(result: "CheckResult") -> None:
    """Print the annotations of a GitHub job, and append to its summary where the environment names one."""
    from cvbench.compare.junit import annotations, write_summary

    for line in annotations(result):
        click.echo(line)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        write_summary(result, Path(summary))


@cli.group("baseline")
def baseline_group() -> None:
    """Store scores for later runs to be checked against.

    \b
      cvbench baseline save reports/recon --to reports/baseline
    """


@baseline_group.command("save")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("--to", "folder", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--speed", is_flag=True, help="Keep the speed too, for --tolerance speed=1.2.")
def baseline_save_command(run: Path, folder: Path, speed: bool) -> int:
    """Store the records of a run as a baseline, to be committed.

    \b
      cvbench baseline save reports/recon --to reports/baseline

    What did not change is not written again. Exit code 3: a record without scores was refused (named).
    """
    from cvbench.compare import save_baseline
    from cvbench.core.records import read_records

    saved = save_baseline(read_records([run]), folder, speed=speed)
    for what, names in zip(("written", "unchanged", "refused", "left from before"), saved, strict=True):
        for name in names:
            click.echo(f"{what}\t{name}")
    return INCOMPLETE if saved.refused else DONE


@cli.group("weights")
def weights_group() -> None:
    """Find, fetch and verify weights.

    \b
      cvbench weights list
      cvbench weights fetch vae-sd21 cvvae
      cvbench weights path cvvae
    """


def weights_sources(names: Sequence[str]) -> dict[str, Any]:
    """Return where the weights of the named models and metrics come from; of all when none is named."""
    from cvbench.core.errors import UnknownName
    from cvbench.models import MODELS
    from cvbench.probes import FEATURES, PROBES

    known = {name: entry.source for name, entry in MODELS.items() if entry.source}
    known |= {name: entry.source for name, entry in PROBES.items() if entry.source}
    known |= {name: sources[0] for entry in FEATURES.values() for name, sources in entry.weights.items()}
    for name in names:
        if name not in known:
            raise UnknownName("model or metric with weights", name, known)
    return {name: known[name] for name in names or known}


def given_weights() -> Any:
    """Return the paths that cvbench.toml names."""
    from cvbench.core.config import load_config
    from cvbench.data import DATASETS

    return load_config(Path.cwd(), DATASETS).weights


@weights_group.command("list")
@click.argument("names", nargs=-1)
def weights_list_command(names: Sequence[str]) -> int:
    """Show where weights lie on this machine, or come from."""
    from cvbench import weights

    print_rows(weights.COLUMNS, [h.row for h in weights.listing(weights_sources(names), given_weights())])
    return DONE


@weights_group.command("verify")
@click.argument("names", nargs=-1)
def weights_verify_command(names: Sequence[str]) -> int:
    """Read every file that is here, whole, and compare its hash. Exit code 3: one is damaged or another's."""
    from cvbench import weights

    holdings = weights.verify(weights_sources(names), given_weights())
    print_rows(weights.COLUMNS, [h.row for h in holdings])
    return INCOMPLETE if any(h.bad for h in holdings) else DONE


@weights_group.command("path")
@click.argument("name")
def weights_path_command(name: str) -> int:
    """Print where weights lie. Exit code 3: not on this machine."""
    from cvbench import weights

    click.echo(weights.path_of(name, weights_sources([name])[name], given_weights()))
    return DONE


@weights_group.command("fetch")
@click.argument("names", nargs=-1, required=True)
def weights_fetch_command(names: Sequence[str]) -> int:
    """Download weights, continuing where a download stopped; hashes are checked. Exit code 3: some are missing."""
    from cvbench import weights

    failed = False
    for name, source in weights_sources(names).items():
        try:
            with progress_bar() as report:
                path = weights.fetch(name, source, given_weights(), partial(report, name))
            click.echo(f"{name}\t{path}")
        except CvbenchError as error:
            click.echo(f"Error: {error}", err=True)
            failed = True
    return INCOMPLETE if failed else DONE


@cli.command("interpolate")
@click.argument("source", type=click.Path(exists=True, path_type=Path), metavar="VIDEO|DIR")
@click.option("--factor", type=click.IntRange(2), default=4, show_default=True, help="Frames for each frame given.")
@click.option(
    "--model", default="rife", show_default=True, help="rife, rife-m, rife-eccv2022, interp-repeat or interp-linear."
)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option("--weights", multiple=True, metavar="NAME=PATH", help="Weights on this machine.")
def interpolate_command(source: Path, factor: int, model: str, out: Path, device: str, weights: Sequence[str]) -> int:
    """Put frames between the frames of a clip, or of every clip in a folder: 25 frames become 97 at factor 4.

    \b
      cvbench interpolate clip.mp4 --factor 4 --model rife --out smooth/
      cvbench interpolate frames/ --model interp-linear --out smooth/

    The frames given come back unchanged. Files become lossless FFV1 in Matroska, folders of frames folders of PNG.
    What is already there is not made again. Exit code 3: some clip could not be read (named).
    """
    from cvbench.core.config import pairs
    from cvbench.tasks.interpolation import interpolate_path

    given = {**given_weights(), **pairs("--weights", weights)}
    with progress_bar() as progress:
        made = interpolate_path(source, out, factor, model, device, given, progress)
    for clip in made:
        frames = f"{clip.frames[0]} → {clip.frames[1]} frames" + (" (already there)" if clip.reused else "")
        click.echo(f"{clip.source}\t{clip.error or clip.target}\t{frames if not clip.error else 'failed'}")
    return INCOMPLETE if any(clip.error for clip in made) else DONE


@cli.command("report")
@click.argument(
    "runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="RUN_OR_FOLDER..."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="The file, or with --markdown the folder.  [default: in RUN]"
)
@click.option("--title", default="Autoencoders compared", show_default=True)
@click.option("--markdown", is_flag=True, help="Write report.md with static pictures, for a README.")
def report_command(runs: Sequence[Path], out: Path | None, title: str, markdown: bool) -> int:
    """Write one HTML file that opens from disk: tables, plots, per-frame curves, clips with a wipe and difference maps.

    \b
      cvbench report reports/recon
      cvbench report reports/recon --out vae.html --title "Our VAE"
      cvbench report reports/recon --markdown --out docs/scores
    """
    from cvbench import report
    from cvbench.core.records import read_records
    from cvbench.store import write_text

    records = read_records(runs)
    pictures = [folder for folder in (run / "pictures" for run in runs) if folder.is_dir()]
    home = runs[0] if runs[0].is_dir() else runs[0].parent
    if markdown:
        folder = out or home
        report.markdown_report(records, folder, pictures, title)
        click.echo(folder / "report.md")
        return DONE
    target = out or home / "report.html"
    write_text(target, report.render(records, pictures, title))
    click.echo(target)
    return DONE
