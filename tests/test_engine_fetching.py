"""A device that works through a queue is waited for by nobody but the store, and there late; no number changes.

The device is made up: its copies hold nonsense until somebody waits for them.
"""

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cvbench.core.errors import BadOutput, BadRange
from cvbench.core.protocol import protocol
from cvbench.core.records import RunRecord
from cvbench.engine import coding
from cvbench.engine.coding import check_output, judge, seen
from cvbench.models.floors import Identity, Pool8x8
from cvbench.nets import fetching
from cvbench.store import FileStore
from cvbench.tasks import reconstruction
from cvbench.tasks.request import Request

SMALL = protocol("cvbench-1", ["size=48"])
WAITS = ("cpu", "item", "tolist", "__bool__", "__float__", "numpy")


class Device:
    """What was begun and waited for, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def started(self, values: torch.Tensor) -> tuple[torch.Tensor, Any]:
        number, host = len([each for each in self.log if each.startswith("begun")]), torch.full_like(values, 77)
        self.log.append(f"begun {number}")
        device = self

        class Event:
            def synchronize(self) -> None:
                device.log.append(f"waited {number}")
                host.copy_(values)

        return host, Event()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device()
    monkeypatch.setattr(fetching, "started", made.started)
    for module in (fetching, coding):
        monkeypatch.setattr(module, "is_queued", lambda _: True)
    return made


def folder_of(path: Path, count: int) -> Path:
    path.mkdir()
    rng = np.random.default_rng(0)
    for k in range(count):
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), np.uint8)).save(path / f"{k}.png")
    return path


def records(folder: Path, cache: Path, *models: str) -> list[RunRecord]:
    request = Request(models or ("identity", "pool-8x8"), (str(folder),), ("psnr", "ssim"), SMALL, device="cpu")
    return reconstruction.run(request, store=FileStore(cache))


def content(record: RunRecord) -> str:
    return json.dumps(dataclasses.asdict(dataclasses.replace(record, created="", speed=None)), default=str)


def test_records_of_a_device_with_a_queue_are_those_of_one_without(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "data", 3)
    seen_so_far: list[int] = []

    def broken(self: Pool8x8, latents: torch.Tensor, frames: int) -> torch.Tensor:
        made: torch.Tensor = original(self, latents, frames)
        seen_so_far.append(1)
        return made * torch.nan if len(seen_so_far) % 3 == 2 else made

    original = Pool8x8.decode
    monkeypatch.setattr(Pool8x8, "decode", broken)
    plain = records(folder, tmp_path / "plain")
    seen_so_far.clear()
    device = request.getfixturevalue("device")
    queued = records(folder, tmp_path / "queued")
    assert [content(record) for record in queued] == [content(record) for record in plain]
    assert [len(record.failures) for record in queued] == [0, 1]
    assert any(each.startswith("waited") for each in device.log)


def test_rows_are_waited_for_once_the_next_sample_was_queued(tmp_path: Path, device: Device) -> None:
    records(folder_of(tmp_path / "data", 3), tmp_path / "cache", "identity")
    per_sample = 3  # what it is judged by, PSNR, SSIM
    for sample in range(2):
        rows = [per_sample * sample + 1, per_sample * sample + 2]
        next_ones = device.log.index(f"begun {per_sample * (sample + 1) + 2}")
        assert all(device.log.index(f"waited {row}") > next_ones for row in rows)
    waited = Counter(each for each in device.log if each.startswith("waited"))
    assert set(waited.values()) == {1}


def test_nothing_in_the_loop_waits_sample_by_sample(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def counted(name: str) -> Any:
        original = getattr(torch.Tensor, name)

        def call(self: torch.Tensor, *given: Any) -> Any:
            calls[name] += 1
            return original(self, *given)

        return call

    counts = []
    for count in (2, 5):
        folder = folder_of(tmp_path / f"{count}", count)
        with monkeypatch.context() as patch:
            for name in WAITS:
                patch.setattr(torch.Tensor, name, counted(name))
            calls.clear()
            records(folder, tmp_path / f"cache{count}", "identity")
        counts.append(dict(calls))
    arrays = 3 * (5 - 2)  # copies that have arrived, and the states of random numbers, are arrays of main memory
    more = {name: counts[1].get(name, 0) - counts[0].get(name, 0) for name in WAITS}
    states = more.pop("numpy") - arrays
    assert states >= 0
    assert set(more.values()) == {0}


def test_a_wrong_range_gives_a_model_up_on_either_device(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "data", 3)
    monkeypatch.setattr(Identity, "decode", lambda self, latents, frames: 2 * latents - 1)
    plain = records(folder, tmp_path / "plain", "identity")
    request.getfixturevalue("device")
    queued = records(folder, tmp_path / "queued", "identity")
    assert "lies in [-1, 1]" in str(queued[0].error)
    assert [content(record) for record in queued] == [content(record) for record in plain]


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda x: x, None),
        (lambda x: 1.2 * x - 0.1, None),
        (lambda x: 2 * x - 1, BadRange),
        (lambda x: 255 * x, BadRange),
        (lambda x: 0 * x + 0.5, BadOutput),
        (lambda x: x / 0, BadOutput),
    ],
    ids=["good", "overshoot", "signed", "levels", "constant", "infinite"],
)
def test_what_is_judged_later_is_judged_alike(damage: Any, kind: type[Exception] | None) -> None:
    target = torch.rand(3, 2, 9, 11, generator=torch.Generator().manual_seed(0))
    target = target.where(target > 0.1, 0)
    for judged in (lambda: check_output(damage(target), target), lambda: judge(seen(damage(target), target).numpy())):
        if kind is None:
            judged()
        else:
            with pytest.raises(kind):
                judged()
