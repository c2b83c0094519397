"""Where a process stands among those of a run, as its launcher says: torchrun or srun. No torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cvbench.core.errors import UsageError

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
FIRST_PORT, PORTS = 20_000, 20_000
"""The ports that jobs of SLURM meet at, by the number of the job."""


@dataclass(frozen=True)
class Place:
    """Rank of `world` processes, and of `local_world` on this machine. `address` is HOST:PORT, where they meet."""

    rank: int = 0
    world: int = 1
    local: int = 0
    local_world: int = 1
    address: str = ""


def place_in(environ: Mapping[str, str]) -> Place:
    """Return the place that torchrun or srun gave this process; the only one, where neither started it.

    Raises UsageError for variables that contradict each other.
    """
    if "RANK" in environ and "WORLD_SIZE" in environ:
        rank, world, local, local_world = _numbers(environ, TORCHRUN)
        return _checked(Place(rank, world, local, local_world or world, _address(environ)))
    if "SLURM_PROCID" in environ and not _is_batch_script(environ):
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NTASKS")
        rank, of_step, local, of_job = _numbers(environ, names)
        world = of_step or of_job or 1
        return _checked(Place(rank, world, local, _here(environ, world), _address(environ) or _slurm_address(environ)))
    return Place()


def _is_batch_script(environ: Mapping[str, str]) -> bool:
    """Tell the script of sbatch, which is one process whatever the job has, from what srun starts in it."""
    return "SLURM_JOB_ID" in environ and "SLURM_STEP_ID" not in environ


def _numbers(environ: Mapping[str, str], names: tuple[str, ...]) -> list[int]:
    texts = [environ.get(name, "") or "0" for name in names]
    if wrong := next((name for name, text in zip(names, texts, strict=True) if not text.isdecimal()), None):
        raise UsageError(f"{wrong}={environ[wrong]!r} is no number; it is set by torchrun and srun, or unset it")
    return [int(text) for text in texts]


def _checked(place: Place) -> Place:
    if not place.rank < place.world:
        raise UsageError(
            f"this is process {place.rank} of {place.world}: the launcher's variables contradict each other"
        )
    return place


def _address(environ: Mapping[str, str]) -> str:
    host, port = environ.get("MASTER_ADDR", ""), environ.get("MASTER_PORT", "")
    return f"{host}:{port}" if host and port else ""


def _slurm_address(environ: Mapping[str, str]) -> str:
    """Return the first machine of the step, and a port that follows from the job's number."""
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or environ.get("SLURM_NODELIST", "")
    number = int("0" + re.sub(r"\D", "", environ.get("SLURM_JOB_ID", "") + environ.get("SLURM_STEP_ID", "")))
    host = environ.get("MASTER_ADDR") or first_host(nodes) or "localhost"
    return f"{host}:{environ.get('MASTER_PORT') or FIRST_PORT + number % PORTS}"


def first_host(nodes: str) -> str:
    """Return the first of SLURM's list of machines, as "gpu[07-09,12],cpu1" holds it."""
    found = re.match(r"([^,\[]*)(?:\[(\w+)[^\]]*\])?([^,]*)", nodes)
    return "".join(part or "" for part in found.groups()) if found else ""


def _here(environ: Mapping[str, str], world: int) -> int:
    """Return how many processes the step has on a machine: of "8(x3),4" the most."""
    counts = environ.get("SLURM_STEP_TASKS_PER_NODE") or environ.get("SLURM_NTASKS_PER_NODE", "")
    return max((int(count) for count in re.findall(r"(?:^|,)(\d+)", counts)), default=world)


def shard_of(text: str) -> tuple[int, int]:
    """Read --shard I/N: the Ith of N, from 1. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip(), re.ASCII)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--shard takes I/N, from 1/N to N/N, got {text!r}")
    return number, count
