"""Equal content has an equal fingerprint, and everything that an object holds counts."""

import functools
import io
import os
import re
import subprocess
import sys
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cvbench.engine.fingerprint import Opaque, fingerprint


class Box:
    def __init__(self, held: Any) -> None:
        self.held = held

    def method(self) -> Any:
        return self.held


class Slotted:
    __slots__ = ("__hidden", "shown")

    def __init__(self, hidden: Any, shown: Any = 0) -> None:
        self.__hidden, self.shown = hidden, shown


class OneSlot:
    __slots__ = "held"

    def __init__(self, held: Any) -> None:
        self.held = held


@dataclass
class Settings:
    gain: float


class Named(dict[str, int]):
    def __init__(self, note: str) -> None:
        super().__init__(a=1)
        self.note = note


class Net(nn.Module):
    def __init__(self, value: float, *, persistent: bool) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor([value]), persistent=persistent)


class Extra(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def get_extra_state(self) -> float:
        return self.value

    def set_extra_state(self, state: float) -> None:
        self.value = state


def enclosing(value: float) -> Callable[[float], float]:
    return lambda x: x * value


def marked(value: float) -> Callable[[], None]:
    def function() -> None: ...

    function.value = value  # type: ignore[attr-defined]
    return function


def parameter(value: float) -> nn.Module:
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, value)
    nn.init.zeros_(layer.bias)
    return layer


MAKERS: dict[str, Callable[[Any], Any]] = {
    "number": lambda v: v,
    "tensor": lambda v: torch.tensor([v]),
    "number without axes": lambda v: torch.tensor(v),
    "array": lambda v: np.array([v]),
    "array of objects": lambda v: np.array([{"a": v}], dtype=object),
    "numpy number": lambda v: np.float32(v),
    "list": lambda v: [v],
    "tuple": lambda v: (v,),
    "set": lambda v: {v},
    "queue": lambda v: deque([v]),
    "mapping": lambda v: {"a": v},
    "key": lambda v: {v: "a"},
    "default of a mapping": lambda v: defaultdict(enclosing(v)),
    "object": Box,
    "objects of one class": lambda v: [Box(1), Box(2), Box(v)],
    "objects in objects": lambda v: Box([Box(Box(1)), Box(Box(v))]),
    "slot": lambda v: Slotted(0, v),
    "private slot": Slotted,
    "one slot": OneSlot,
    "dataclass": Settings,
    "attribute of a mapping": Named,
    "partial": lambda v: functools.partial(pow, v),
    "keyword of a partial": lambda v: functools.partial(pow, exp=v),
    "closure": enclosing,
    "default": lambda v: eval(f"lambda x={v}: x"),
    "constant": lambda v: eval(f"lambda x: x * {v}"),
    "constant of an inner function": lambda v: eval(f"lambda x: (lambda y: y * {v})(x)"),
    "attribute of a function": marked,
    "bound method": lambda v: Box(v).method,
    "method of a mapping": lambda v: {"a": v}.get,
    "parameter": parameter,
    "buffer": lambda v: Net(v, persistent=True),
    "buffer that is not saved": lambda v: Net(v, persistent=False),
    "extra state": Extra,
    "module in a list": lambda v: Box([parameter(v)]),
    "generator": lambda v: torch.Generator().manual_seed(int(10 * v)),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_what_differs_in_one_value_differs(make: Callable[[Any], Any]) -> None:
    assert fingerprint(make(0.5)) == fingerprint(make(0.5))
    assert fingerprint(make(0.5)) != fingerprint(make(0.6))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, 1.0), (1, True), (1, "1"), ("a", b"a"), ([1], (1,)), ({}, OrderedDict()), (np.float32(1), 1.0),
        (None, "None"),
        (torch.zeros(2, 3), torch.zeros(3, 2)), (torch.zeros(1), torch.zeros(1, dtype=torch.float64)),
        (lambda x: x.sin(), lambda x: x.cos()), (Box(1), OneSlot(1)), ([1, [2]], [[1], 2]),
        (torch.sin, torch.cos), (torch.float16, torch.bfloat16), (0.1 + 0.2, 0.3),
    ],
)  # fmt: skip
def test_values_of_two_kinds_differ(a: Any, b: Any) -> None:
    assert fingerprint([a]) != fingerprint([b])


def test_what_holds_itself_has_a_fingerprint() -> None:
    ring = Box(None)
    ring.held = [ring]
    assert fingerprint(ring) == fingerprint(ring)


def test_a_process_has_no_say() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_engine_fingerprint as t;"
        "print(hash('a'), *[t.fingerprint(make(0.5)) for make in t.MAKERS.values()])"
    )
    seed = str(1 + (os.environ.get("PYTHONHASHSEED") == "1"))
    there = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True, check=True,
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}, timeout=300,
    ).stdout.split()  # fmt: skip
    assert there[0] != str(hash("a"))
    assert there[1:] == [fingerprint(make(0.5)) for make in MAKERS.values()]


@pytest.mark.parametrize(
    "value",
    [threading.Lock(), io.BytesIO(b"a"), (i for i in "ab"), re.compile("a"), np.random.default_rng(0)],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_looked_into_is_said(value: object) -> None:
    with pytest.raises(Opaque):
        fingerprint(Box([value]))
