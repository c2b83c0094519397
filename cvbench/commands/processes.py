"""How a command becomes several processes, joins those that a launcher started, or takes one share of the whole."""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cvbench.commands.codes import DONE, INCOMPLETE, INTERRUPTED
from cvbench.commands.console import line
from cvbench.core.digest import digest
from cvbench.core.errors import CvbenchError, UsageError
from cvbench.core.place import Place, place_in, shard_of

if TYPE_CHECKING:
    from cvbench.engine.ranks import Ranks

F = TypeVar("F", bound=Callable[..., Any])
RESTARTS = 3
"""How often all processes on this machine are started anew when one of them is killed."""
PLACEMENT = ("shard", "device", "devices", "workers", "out", "quiet", "verbose")
"""Options that say where and how work is done, not what: shares of one run may differ in them."""


@dataclass(frozen=True)
class Invocation:
    """A line as it was typed, and what carries such lines out; both are needed to start it in other processes."""

    arguments: Sequence[str]
    program: Callable[[Sequence[str]], int]


def options(command: F) -> F:
    """Add the options that spread a command over processes and threads."""
    workers = click.option(
        "--workers", default="auto", show_default=True, metavar="auto|N", help="Threads that read files."
    )
    return placement(workers(command))


def placement(command: F) -> F:
    """Add the options that spread a command over processes."""
    for option in (
        click.option("--shard", metavar="I/N", help="Do the Ith of N shares: job arrays; then `cvbench merge`."),
        click.option(
            "--devices", metavar="0-7|0,2|cpu:N", help="One process a device, started anew when one is killed."
        ),
    ):
        command = option(command)
    return command


def here() -> Place:
    """Return the place that a launcher gave this process."""
    return place_in(os.environ)


def devices_of(text: str) -> list[str]:
    """Read --devices: numbers of GPUs and ranges of them, or cpu:N for N processes. Raises UsageError."""
    if found := re.fullmatch(r"cpu:(\d{1,3})", text.strip()):
        return ["cpu"] * int(found[1]) or _refuse_devices(text)
    names: list[str] = []
    for piece in text.removeprefix("cuda:").split(","):
        bounds = re.fullmatch(r"\s*(\d{1,3})(?:-(\d{1,3}))?\s*", piece)
        if bounds is None or int(bounds[2] or bounds[1]) < int(bounds[1]):
            _refuse_devices(text)
        else:
            names += [f"cuda:{number}" for number in range(int(bounds[1]), int(bounds[2] or bounds[1]) + 1)]
    return names if len(set(names)) == len(names) else _refuse_devices(text)


def _refuse_devices(text: str) -> list[str]:
    raise UsageError(f"--devices takes 0-7, 0,2 or cpu:N, each device once, got {text!r}")


def device_of(given: Mapping[str, Any]) -> str:
    """Return the device of this process: of --devices the one that its place has. Raises UsageError."""
    if not given["devices"]:
        return str(given["device"])
    if given["device"] != "auto":
        raise UsageError("--device and --devices: give one of the two")
    names = devices_of(given["devices"])
    return names[here().local % len(names)]


def to_launch(given: Mapping[str, Any]) -> list[str]:
    """Return the devices of processes that are still to be started; none within one of them, and for one device."""
    names = devices_of(given["devices"]) if given["devices"] else []
    return names if len(names) > 1 and here().world == 1 else []


def refuse(given: Mapping[str, Any], what: str) -> None:
    """Raise UsageError where several processes are asked for what only one can do."""
    if given["shard"] or to_launch(given) or here().world > 1:
        raise UsageError(f"{what} runs in one process: several would do it over again; leave --shard and --devices out")


def launch(devices: Sequence[str]) -> int:
    """Run this command in one process a device, under torchrun's agent; return the exit code."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from cvbench.engine.device import pick_device

    for name in devices:
        pick_device(name)
    invocation: Invocation = click.get_current_context().find_root().obj
    logging.disable(logging.ERROR)  # what the agent says is not for users
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=len(devices), run_id=digest([os.getpid()])[:8], rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=RESTARTS, monitor_interval=0.2, start_method="spawn",
    )  # fmt: skip
    try:
        codes = elastic_launch(config, _worker)(invocation.program, list(invocation.arguments))
    except SignalException as error:
        raise KeyboardInterrupt from error
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise CvbenchError(
            f"process {rank} of {len(devices)} ended with {failure.exitcode} {RESTARTS + 1} times, the last of them for"
            " good; what was measured is kept: type the same line again"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    return max(map(int, codes.values()))


def _worker(program: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    code = program(arguments)
    if code == INTERRUPTED:  # the agent, which is interrupted too, will not ask for the code
        sys.stderr.flush()
        os._exit(code)
    return code


@contextlib.contextmanager
def taking_part(given: Mapping[str, Any]) -> "Iterator[Ranks]":
    """Join the processes that a launcher started, or work alone; a share leaves nothing but its files."""
    from cvbench.engine.ranks import Group, Ranks, among

    place, shard = here(), shard_of(given["shard"]) if given["shard"] else None
    with among(Group(place, shard) if place.world > 1 else Ranks(shard)) as ranks:
        yield ranks


@contextlib.contextmanager
def joined(given: Mapping[str, Any], out: Path) -> "Iterator[Ranks]":
    """Join the processes that a launcher started, or work alone; with --shard, leave a part in `out` at the end."""
    from cvbench.engine.ranks import Group, Ranks, among
    from cvbench.engine.shares import Header, Part
    from cvbench.store import atomic

    place, shard = here(), shard_of(given["shard"]) if given["shard"] else None
    with contextlib.ExitStack() as stack:
        part = None
        if shard and place.rank == 0:
            root = click.get_current_context().find_root()
            file = stack.enter_context(atomic(part_path(out, given, shard)))
            part = Part(file, Header(*shard, list(root.obj.arguments) if root.obj else []))
        yield stack.enter_context(among(Group(place, shard, part) if place.world > 1 else Ranks(shard, part)))


def asked_for(given: Mapping[str, Any]) -> str:
    """Return a digest of what a command line asks for, wherever it is done."""
    return digest({name: _plain(value) for name, value in given.items() if name not in PLACEMENT})


def _plain(value: Any) -> Any:
    return [str(each) for each in value] if isinstance(value, (list, tuple)) else value and str(value)


def part_path(out: Path, given: Mapping[str, Any], shard: tuple[int, int]) -> Path:
    """Return where a share leaves its part."""
    from cvbench.store import file_name

    command = click.get_current_context().command.name or ""
    return out / "parts" / f"{file_name(command, asked_for(given)[:8], f'{shard[0]}-of-{shard[1]}')}.part"


def told_share(ranks: "Ranks", out: Path) -> int:
    """Say what a share came to, where this process speaks for it, and return the exit code."""
    if ranks.part is None or ranks.shard is None:
        return DONE
    number, count = ranks.shard
    done = f"share {number} of {count}: {ranks.part.samples} samples, {ranks.part.lost} failures"
    line(f"{done}; when all {count} are done: cvbench merge {out}", err=True)
    return INCOMPLETE if ranks.part.lost else DONE
