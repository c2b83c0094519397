"""Rank and world size as torchrun and srun tell them."""

import pytest

from cvbench.core.errors import UsageError
from cvbench.core.place import Place, first_host, place_in, shard_of

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SRUN = {"SLURM_PROCID": "9", "SLURM_NTASKS": "16", "SLURM_LOCALID": "1"}
JOB = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "gpu[07-09,12],cpu1"}


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, Place()),
        ({**TORCHRUN, "MASTER_ADDR": "a", "MASTER_PORT": "29500"}, Place(5, 8, 1, 4, "a:29500")),
        ({**SRUN, "MASTER_ADDR": "a", "MASTER_PORT": "1"}, Place(9, 16, 1, 16, "a:1")),
        ({**SRUN, **JOB, "SLURM_STEP_ID": "0", "SLURM_NTASKS_PER_NODE": "8"}, Place(9, 16, 1, 8, "gpu07:27110")),
        ({**SRUN, **JOB, "SLURM_STEP_ID": "1", "SLURM_STEP_NUM_TASKS": "12"}, Place(9, 12, 1, 12, "gpu07:27111")),
        ({**SRUN, **JOB, "SLURM_PROCID": "0"}, Place()),  # the script of sbatch, before it calls srun
    ],
)
def test_the_launcher_says_who_is_who(environ: dict[str, str], place: Place) -> None:
    assert place_in(environ) == place


@pytest.mark.parametrize(("name", "value"), [("RANK", "x"), ("RANK", "-1"), ("RANK", "8"), ("WORLD_SIZE", "0")])
def test_variables_that_make_no_sense_are_refused(name: str, value: str) -> None:
    with pytest.raises(UsageError):
        place_in({**TORCHRUN, name: value})


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("gpu[07-09,12],cpu1", "gpu07"), ("a1,a2", "a1"), ("n[3]-ib,x", "n3-ib"), ("one", "one"), ("", "")],
)
def test_the_first_machine_of_a_list(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


def test_shards_count_from_one() -> None:
    assert shard_of("3/16") == (3, 16)
