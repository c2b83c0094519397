"""`cvbench list`: what there is. No torch."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import click

from cvbench.commands import filters
from cvbench.commands.codes import DONE
from cvbench.commands.console import line, print_rows
from cvbench.commands.options import matching
from cvbench.core.costs import read_costs
from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.fields import as_text, choices, settable
from cvbench.core.protocol import PROTOCOLS, origin
from cvbench.core.published import published
from cvbench.core.suites import load_suite, suite_names
from cvbench.data import DATASETS
from cvbench.generators import GENERATORS, GeneratorEntry, weights_name
from cvbench.metrics import ALIASES, METRICS, Metric
from cvbench.models import MODELS
from cvbench.models.about import NOT_STATED, licence_of, shares_of, weights_of
from cvbench.models.entry import ModelEntry
from cvbench.models.naming import expanded
from cvbench.probes import FEATURES, PROBES
from cvbench.probes import weights_of as weights_of_probe

Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]


def list_models() -> Rows:
    """Return what each model is, what it costs, where its weights come from and under which licence."""
    head = (
        "model",
        "what",
        "params",
        "t×s×s",
        "channels",
        "frames",
        "bits/px",
        "shares",
        "options",
        "licence",
        "weights",
    )
    return head, [(name, *_model(entry)) for name, entry in MODELS.items()]


def _model(entry: ModelEntry) -> tuple[str, ...]:
    traits, bpp = entry.traits, entry.traits.bits_per_pixel
    params = (
        f"{entry.params[0] / 1e6:.1f}M + {entry.params[1] / 1e6:.1f}M" if entry.params and sum(entry.params) else "–"
    )
    return (
        entry.about,
        params,
        f"{traits.temporal}×{traits.spatial}×{traits.spatial}" if entry.role != "codec" else "codec",
        f"{traits.codebook:,} codes" if traits.codebook else str(traits.channels or "–"),
        str(traits.frame_rule),
        f"{bpp:.3g}" if bpp else ("counted" if entry.role == "codec" else "–"),
        shares_of(entry) or "–",
        ", ".join(f"{k}={v}" for k, v in entry.options.items()) or "–",
        licence_of(entry) or (NOT_STATED if entry.source else "–"),
        weights_of(entry),
    )


def list_data() -> Rows:
    """Return the data sets and how their folders are laid out."""
    return ("data", "what", "folder"), [(name, entry.about, entry.layout) for name, entry in DATASETS.items()]


def list_metrics() -> Rows:
    """Return the metrics: range, which way is better, unit, what must be fetched or installed first, and their cost."""
    seconds = read_costs().seconds
    rows: list[tuple[str, ...]] = [
        (name, m.about, span(m), m.arrow or "–", m.unit or "–", needs(m), seconds_of(m, seconds))
        for name, m in METRICS.items()
    ]
    head = ("metric", "what", "range", "better", "unit", "download", "s/100 frames")
    return head, rows + [(name, about, *[""] * 5) for name, about in ALIASES.items()]


def span(metric: Metric) -> str:
    """Return what a metric can be."""
    if math.isinf(metric.least) and math.isinf(metric.most):
        return "any"
    if math.isinf(metric.most):
        return f"{metric.least:g} …"
    return f"… {metric.most:g}" if math.isinf(metric.least) else f"{metric.least:g} … {metric.most:g}"


def needs(metric: Metric) -> str:
    """Return the files of weights that a metric needs, and the extra that holds its package."""
    files = [sources[0].file for sources in weights_of_probe(metric.network).values()]
    entry = FEATURES.get(metric.network) or PROBES[metric.network]
    extra = [f"pip install cvbench[{entry.extra}]"] if entry.package else []
    return ", ".join([*files, *extra]) or "no"


def seconds_of(metric: Metric, seconds: Mapping[str, float]) -> str:
    """Return the cost of a metric's probe."""
    return f"{seconds[metric.network]:.3g}" if metric.network in seconds else "–"


def list_suites() -> Rows:
    """Return the suites."""
    suites = [load_suite(name) for name in suite_names()]
    return ("suite", "what", "data", "metrics", "protocol"), [
        (s.name, s.about, ", ".join(s.data), ", ".join(s.metrics), s.protocol or "the generator's") for s in suites
    ]


def list_protocols() -> Rows:
    """Return the protocols, whose they are, and the fields in which each differs from the defaults."""
    rows: list[tuple[str, ...]] = []
    for name, p in PROTOCOLS.items():
        found = origin(name)
        fields = [f for f in settable() if getattr(p, f.name) != f.default]
        said = " ".join(f"{f.name}={as_text(getattr(p, f.name))}" for f in fields) or "the defaults"
        source = f"{found.repository} {found.commit}" if found else "cvbench"
        told = f" (open: {'; '.join(found.open)})" if found and found.open else ""
        rows.append((name, str(p.version), (found.about if found else OURS[name]) + told, source, said))
    return ("protocol", "version", "what", "source", "fields that differ from the defaults (--set FIELD=VALUE)"), rows


OURS = {
    "cvvae-2405": "the tables of CV-VAE's paper: 33 frames, stride 3, 256², bicubic",
    "cvbench-1": "cvbench's own: 17 frames, stride 1",
    "cvbench-gen-1": "generators with settings of their own",
}


def list_generators() -> Rows:
    """Return the generators: what each makes, whose latents, with which settings, under which licence."""
    head = ("generator", "makes", "what", "VAE", "latents", "scale", "settings", "TFLOP a sample", "licence", "weights")
    return head, [(name, *_generator(name, entry)) for name, entry in GENERATORS.items()]


def _generator(name: str, entry: GeneratorEntry) -> tuple[str, ...]:
    settings = entry.settings(PROTOCOLS["cvbench-gen-1"])
    where = f"{entry.repo}@{entry.revision}{' (gated)' if entry.gated else ''}, as {weights_name(name)}"
    cost = entry.cost(settings)
    return (
        entry.task,
        entry.about,
        entry.vae,
        "×".join(map(str, entry.latent)),
        entry.scale,
        ", ".join(f"{k}={v}" for k, v in settings.as_dict().items()),
        f"{cost:,.0f}" if cost else "–",
        entry.licence,
        where if entry.repo else "built in",
    )


def list_fields() -> Rows:
    """Return the fields of a protocol, what each can be, its default, and what it means."""
    rows: list[tuple[str, ...]] = [
        (
            f.name,
            "/".join(f.metadata["stages"]),
            " ".join(map(str, choices(f))),
            as_text(f.default),
            f.metadata["about"],
        )
        for f in settable()
    ]
    return ("field", "acts at", "values", "default", "what"), rows


def list_published() -> Rows:
    """Return published scores, each with protocol, data, source, and what the source leaves open."""
    rows: list[tuple[str, ...]] = [
        (
            s.model,
            s.protocol,
            s.data,
            str(s.n or "?"),
            " ".join(f"{k}={v}" for k, v in s.cells.items()),
            s.source,
            s.open,
        )
        for s in published()
    ]
    return ("model", "protocol", "data", "n", "scores", "source", "left open"), rows


KINDS = {"published": "model with published scores"}
"""What an entry of a list is called, where it is not the list's name without its s."""


LISTS: dict[str, Callable[[], Rows]] = {
    "models": list_models,
    "generators": list_generators,
    "data": list_data,
    "metrics": list_metrics,
    "suites": list_suites,
    "protocols": list_protocols,
    "fields": list_fields,
    "published": list_published,
}


@click.command("list")
@click.argument("what", required=False, type=click.Choice(list(LISTS)))
@click.argument("names", nargs=-1, metavar="[NAME|PATTERN|FAMILY...]")
@filters.options
def command(what: str | None, names: Sequence[str], **narrowing: Any) -> int:
    """List what there is: all, or what names and patterns match; of models also families, and what options admit.

    \b
      cvbench list
      cvbench list models
      cvbench list models 'taew*' 4x8x8 codecs
      cvbench list models --compatible-with wan-2.1
      cvbench list protocols

    Families of models: codecs, floors, networks, builtin (no download), and compressions such as 4x8x8.
    """
    if what is None:
        print_rows(
            ("what", "how many", "command"), [(k, str(len(v()[1])), f"cvbench list {k}") for k, v in LISTS.items()]
        )
        return DONE
    head, rows = LISTS[what]()
    known = [row[0] for row in rows]
    shown = set(chosen(what, names, known) if names else known)
    if filters.given(narrowing):
        if what != "models":
            raise UsageError(f"only models can be narrowed by options, not {what}")
        shown &= set(filters.selected(narrowing))
    print_rows(head, [row for row in rows if row[0] in shown])
    if what == "metrics":
        line(f"s/100 frames: {read_costs().about}", err=True)
    return DONE


def chosen(what: str, names: Sequence[str], known: Sequence[str]) -> Collection[str]:
    """Return the names of a list that were asked for. Raises UnknownName for what matches nothing."""
    kind = KINDS.get(what, what.removesuffix("s"))
    found = expanded(names, MODELS) if what == "models" else [n for p in names for n in matching(kind, p, known)]
    if unknown := [name for name in found if name not in known]:
        raise UnknownName(kind, unknown[0], known)
    return found
