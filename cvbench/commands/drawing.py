"""What `run --suite t2i` (i2v, t2v) and `generate` have in common: the protocol, and that a long run is agreed on."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cvbench import generators
from cvbench.commands.console import line
from cvbench.commands.options import changes_of, count_of, weights_of
from cvbench.commands.processes import device_of
from cvbench.core.config import Config
from cvbench.core.errors import BadWeights, MissingWeights, Unavailable, UsageError
from cvbench.core.protocol import EvalProtocol, protocol

if TYPE_CHECKING:
    from cvbench.engine.ranks import Ranks
    from cvbench.tasks.generation import GenerationRequest
    from cvbench.tasks.generation.cost import Cost

PICTURES = 6


def request_of(
    given: Mapping[str, Any], rows: Sequence[str], data: Sequence[str], metrics: Sequence[str], config: Config,
    out: Path, *, speed: bool,
) -> "GenerationRequest":  # fmt: skip
    """Turn options into a request for generators."""
    from cvbench.tasks.generation import GenerationRequest  # torch, for which no help waits

    return GenerationRequest(
        models=tuple(rows),
        data=tuple(data),
        metrics=tuple(metrics),
        protocol=chosen_protocol(given, rows),
        speed=speed,
        limit=given["limit"],
        pick=given.get("pick") or "first",
        workers=count_of("--workers", given.get("workers") or "auto"),
        device=device_of({"devices": None, **given}),
        batch=count_of("--batch", given.get("batch") or "auto"),
        strict=bool(given.get("strict")),
        pictures=PICTURES if given.get("pictures") is None else given["pictures"],
        weights={**config.weights, **weights_of(given["weights"])},
        roots=config.data,
        out=out,
        prompts=given["prompts"],
        asked=bool(given.get("metrics")),
    )


def chosen_protocol(given: Mapping[str, Any], rows: Sequence[str]) -> EvalProtocol:
    """Return the protocol asked for, else the one that the generators' own table was made with, with --set's changes.

    Generators of several tables, or of none, draw as they are meant to: `cvbench-gen-1`.
    """
    own = {entry.protocol for row in rows if (entry := known(generators.parse(row).generator))}
    name = given["protocol"] or (own.pop() if len(own) == 1 else "cvbench-gen-1")
    return protocol(name, changes_of(given))


def known(name: str) -> "generators.GeneratorEntry | None":
    """Return a generator's entry, None for one on the hub that cannot be asked: the run will say so."""
    try:
        return generators.find(name)
    except (MissingWeights, BadWeights, Unavailable):
        return None


def check_kind(rows: Sequence[str], makes: str, suite: str) -> None:
    """Raise UsageError for a generator that makes something else than a suite is of."""
    for row in rows:
        name = generators.parse(row).generator
        entry = known(name)
        if entry and entry.task != makes:
            raise UsageError(
                f"{name} is {entry.task}, the suite {suite} is of {makes}: "
                f"cvbench run --suite {entry.task} --models {row}"
            )


def agreeing(ranks: "Ranks", *, yes: bool) -> "Callable[[Cost], None]":
    """Return what is asked before a run draws: one of over an hour needs --yes, or an answer at a terminal."""

    def agree(whole: "Cost") -> None:
        cost = whole.among(ranks.world, ranks.shard[1] if ranks.shard else 1)
        asks = cost.long and not yes
        if asks and (ranks.world > 1 or not sys.stdin or not sys.stdin.isatty()):
            raise UsageError(f"{cost.text}: say --yes to begin, or --limit N for a trial")
        if cost.samples and cost.worth_saying and ranks.speaks:
            line(cost.text, err=True)
        if asks and not click.confirm("Begin?", err=True):
            raise UsageError("not begun; --limit N makes a trial")

    return agree
