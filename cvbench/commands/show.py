"""`cvbench show`: one record on a screen, with all that its table leaves out. No torch."""

from collections.abc import Iterator, Sequence

import click

from cvbench.commands.codes import DONE
from cvbench.commands.console import echo, line
from cvbench.commands.options import existing, listed
from cvbench.core.errors import UnknownName
from cvbench.core.protocol import EvalProtocol, as_text, settable
from cvbench.core.records import RunRecord, Score, read_records
from cvbench.metrics import METRICS
from cvbench.tables import chosen
from cvbench.tables.cells import parameters

FIRST = ("frames", "stride", "size", "dtype", "posterior", "seed")
"""Fields of a protocol that are always shown."""
FEW = 8
"""Failures and samples that are shown of many."""


@click.command("show")
@click.argument("what", nargs=-1, required=True, metavar="RUN_OR_RECORD...")
@click.option("--model", "-m", "models", multiple=True, metavar="A,B", help="Only these models, or patterns.")
@click.option("--data", "-d", "data", multiple=True, metavar="A,B", help="Only these data sets.")
@click.option("--all", "every", is_flag=True, help="Every failure and every sample.")
def command(what: Sequence[str], models: Sequence[str], data: Sequence[str], every: bool) -> int:
    """Show a record: model, data, protocol, scores with intervals, reasons in full, speed, what measured it.

    \b
      cvbench show reports/recon                       one line a record
      cvbench show reports/recon --model tiny-video --data sample
      cvbench show reports/recon/records/jpeg--sample--cvvae-2405.json --all
    """
    records = of_data(of_models(what, models), listed(data))
    if len(records) > 1 and not (models or data):
        for record in records:
            line(record.model.name, record.data.name, record.protocol.name, state(record))
        line("show one by --model and --data", err=True)
        return DONE
    echo("\n\n".join(text_of(record, every=every) for record in records))
    return DONE


def of_models(what: Sequence[str], models: Sequence[str]) -> list[RunRecord]:
    """Read records, of some models where these are named."""
    return chosen(read_records(existing(what)), listed(models))


def of_data(records: Sequence[RunRecord], names: Sequence[str]) -> list[RunRecord]:
    """Return the records of data sets; of all where none is named. Raises UnknownName."""
    known = list(dict.fromkeys(record.data.name for record in records))
    for name in names:
        if name not in known:
            raise UnknownName("data set in these records", name, known)
    return [record for record in records if not names or record.data.name in names]


def state(record: RunRecord) -> str:
    """Say in a few words how a record came out."""
    if record.error:
        return "failed"
    lost = [f"{len(record.failures)} failed"] if record.failures else []
    lost += [f"without {', '.join(record.unavailable)}"] if record.unavailable else []
    return ", ".join([f"{len(record.samples)} samples", *lost])


def text_of(record: RunRecord, *, every: bool = False) -> str:
    """Return a record as a text of one screen; of `every` failure and sample where asked."""
    limit = None if every else FEW
    parts = [
        ("model", model_lines(record)),
        ("data", data_lines(record)),
        ("protocol", [f"{record.protocol.name}/{record.protocol.version}: {fields_of(record.protocol, every=every)}"]),
        ("error", [record.error] if record.error else []),
        ("scores", [score_line(name, score) for name, score in record.scores.items()]),
        ("missing", [f"{name}: {why}" for name, why in record.unavailable.items()]),
        ("failed", some([failure.told for failure in record.failures], limit)),
        ("samples", some(list(sample_lines(record)), limit)),
        ("speed", [" ".join(f"{key}={value}" for key, value in record.speed.items())] if record.speed else []),
        ("notes", list(record.notes)),
        ("measured", [" ".join(f"{key}={value}" for key, value in record.environment.items()), record.created]),
    ]
    return "\n".join(f"{title if not i else '':9} {text}" for title, texts in parts for i, text in enumerate(texts))


def model_lines(record: RunRecord) -> list[str]:
    """Say which model it is."""
    facts = record.model
    known = {"is": facts.spec, "": facts.about, "parameters": parameters(facts), "licence": facts.licence}
    known |= {
        "encoded by": facts.encoder,
        "in": facts.computes_in,
        "revision": facts.revision,
        "digest": facts.digest[:12],
    }
    known |= {"init": "random" if facts.init == "random" else ""}
    return [facts.name, "; ".join(f"{what} {text}".strip() for what, text in known.items() if text)]


def data_lines(record: RunRecord) -> list[str]:
    """Say which samples it was measured on."""
    data = record.data
    note = f"; {data.note}" if data.note else ""
    return [f"{data.name}#{data.manifest[:12]}: {data.n} samples{note}"]


def fields_of(protocol: EvalProtocol, *, every: bool) -> str:
    """Return the fields that a reader asks for first and those that differ from their defaults, or every field."""
    values = {field.name: (getattr(protocol, field.name), field.default) for field in settable()}
    shown = {name: value for name, (value, usual) in values.items() if every or value != usual or name in FIRST}
    rest = len(values) - len(shown)
    more = f" ({rest} more as usual: --all)" if rest else ""
    return " ".join(f"{name}={as_text(value)}" for name, value in shown.items()) + more


def score_line(name: str, score: Score) -> str:
    """Return a score with its interval, unit and what must be known beside it."""
    metric = METRICS.get(name)
    digits, unit = (metric.digits, f" {metric.unit}" if metric.unit else "") if metric else (4, "")
    interval = "" if score.low is None or score.high is None else f" [{score.low:.{digits}f}, {score.high:.{digits}f}]"
    note = f"; {score.note.replace('**', '')}" if score.note else ""
    return f"{score.signature.head:16} {score.value:.{digits}f}{unit}{interval} n={score.n}{note}"


def sample_lines(record: RunRecord) -> Iterator[str]:
    """Yield what was measured of each sample, the worst by the first ranked metric first."""
    ranked = next((name for name in record.scores if name in METRICS and METRICS[name].ranked), "")
    probe, sign = (METRICS[ranked].probe, 1 if METRICS[ranked].better == "higher" else -1) if ranked else ("", 1)
    means = [{name: sum(row) / len(row) for name, row in sample.rows.items()} for sample in record.samples]
    order = sorted(range(len(means)), key=lambda i: sign * means[i].get(probe, 0.0))
    for i in order:
        sample = record.samples[i]
        values = " ".join(f"{name}={value:.4g}" for name, value in means[i].items())
        yield f"{sample.id}: {sample.frames}×{sample.height}×{sample.width} {values}"


def some(lines: list[str], limit: int | None) -> list[str]:
    """Return the first lines, and how many there are where some are left out."""
    return lines if limit is None or len(lines) <= limit else [*lines[:limit], f"… {len(lines)} in all: --all"]
