"""Models that do not fit together take turns, and batches follow the memory there is."""

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from cvbench.core.protocol import protocol
from cvbench.engine import residents
from cvbench.engine.residents import RESERVE, Batches, Residents, is_out_of_memory
from cvbench.engine.subject import Listed, Setting, Subject, subject_of
from cvbench.models.floors import Pool8x8
from cvbench.store import FileStore
from cvbench.tasks import reconstruction
from cvbench.tasks.request import Request

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
IMAGE, CLIP = (1, 64, 64), (17, 64, 64)
SMALL = protocol("cvbench-1", ["frames=5", "size=32"])


class Fake(Subject):
    size = 3 << 30
    name = ""

    def __init__(self, name: str, memory: list[int]) -> None:
        self.name, self.memory = name, memory

    def load(self) -> None:
        self.memory[0] -= self.size

    def leave(self) -> bool:
        self.memory[0] += self.size
        return True


def test_forty_models_take_turns_on_a_card_of_24_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gc.collect", lambda: 0)  # seconds each time under a test run
    memory = [24 << 30]
    here = Residents(CPU, lambda _: memory[0])
    models: list[Any] = [Fake(str(number), memory) for number in range(40)]
    loads, least = 0, memory[0]
    for _ in range(3):
        for model in here.in_order(models):
            new = model.name not in here.loaded
            here.prepare(model)
            if new:
                model.load()
                loads += 1
            here.settled(model)
            least = min(least, memory[0])
    assert least >= RESERVE
    assert here.took_turns
    assert loads <= 40 + 2 * 34  # those that are there go first: 6 of 40 are not loaded again


def test_a_model_that_left_is_built_again_and_makes_the_same(pictures: Path) -> None:
    subject = subject_of("tiny-image", Setting(SMALL, CPU, {}))
    video = torch.rand(1, 3, 1, 32, 32)
    before = subject.decode(subject.encode(video), 1)
    assert subject.size > 100_000
    assert subject.leave()
    assert not subject.leave()
    assert torch.equal(subject.decode(subject.encode(video), 1), before)


@pytest.mark.large
def test_rows_do_not_tell_who_took_turns(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("tiny-image", "pool-8x8", "tiny-video", "identity")
    asked = Request(names, (str(pictures),), ("psnr", "ssim"), SMALL, device="cpu")
    together = reconstruction.run(asked, store=FileStore(tmp_path / "together"))
    left: list[str] = []
    leave = Listed.leave

    def leaving(self: Listed) -> bool:
        left.append(self.name)
        return leave(self)

    monkeypatch.setattr(Listed, "leave", leaving)
    monkeypatch.setattr(residents, "free_on", lambda _: 0)
    turns = reconstruction.run(asked, store=FileStore(tmp_path / "turns"))
    assert len(left) >= 3
    for a, b in zip(together, turns, strict=True):
        assert (a.scores, a.samples) == (b.scores, b.samples)


def test_memory_that_is_short_halves_the_batch_and_costs_no_sample(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Request(("pool-8x8",), (str(pictures),), ("psnr",), SMALL, device="cpu", batch=4)
    (whole,) = reconstruction.run(dataclasses.replace(asked, batch=1), store=FileStore(tmp_path / "a"))
    sizes: list[int] = []
    original = Pool8x8.encode

    def encode(self: Any, videos: torch.Tensor) -> torch.Tensor:
        sizes.append(len(videos))
        if len(videos) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return original(self, videos)

    monkeypatch.setattr(Pool8x8, "encode", encode)
    (record,) = reconstruction.run(asked, store=FileStore(tmp_path / "b"))
    assert sizes == [3, 1, 1, 1, 1]  # three images, each alone as half of three, and the clip
    assert record.samples == whole.samples
    assert record.complete


def test_what_was_coded_together_is_recorded(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = random.getstate()
    monkeypatch.setattr(random, "getstate", lambda: state)  # of which the checker of types draws, as a model may
    asked = Request(("pool-8x8",), (str(pictures),), ("psnr",), SMALL, device="cpu", batch=3)
    (record,) = reconstruction.run(asked, store=FileStore(tmp_path))
    assert record.environment["batch"] == "3"


def test_batches_grow_while_memory_is_there() -> None:
    batches = Batches(0, CUDA)
    assert (batches.size(IMAGE), batches.size(CLIP)) == (16, 1)
    batches.held(IMAGE, 16, taken=1, free=8)
    batches.held(IMAGE, 32, taken=2, free=8)
    assert batches.size(IMAGE) == 32
    batches.held(IMAGE, 32, taken=1, free=8)
    assert batches.size(IMAGE) == 64
    assert batches.shrink(IMAGE, 64) == 32
    batches.held(IMAGE, 32, taken=1, free=80)
    assert batches.size(IMAGE) == 32  # what failed once is not tried again
    assert batches.shrink(CLIP, 1) == 0
    assert Batches(5, CUDA).size(CLIP) == 5
    assert Batches(0, CPU).size(IMAGE) == 1


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_short_memory_is_told_from_other_errors(error: Exception, short: bool) -> None:
    assert is_out_of_memory(error) == short
