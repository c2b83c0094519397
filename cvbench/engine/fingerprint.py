"""What an object is made of, as JSON: its state and its settings, at any depth."""

import enum
import functools
import hashlib
import logging
import sys
import types
from collections import deque
from collections.abc import Mapping
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from cvbench.core.digest import digest

TOLD = (complex, range, slice, Fraction, PurePath, enum.Enum, torch.dtype, torch.device, torch.Size, torch.layout,
        torch.memory_format, np.dtype, logging.Logger)  # fmt: skip
"""Types whose text says all that matters of them."""


class Opaque(Exception):
    """An object that cannot be looked into: an open file, a process, an object of a C library."""


def fingerprint(value: object) -> str:
    """Digest of all that an object holds: numbers, texts, tensors, modules, functions, and objects of Python classes.

    Equal in every process for equal content. Raises Opaque, naming the type, for what cannot be looked into.
    """
    return digest(_told(value, {}))


def _told(value: Any, seen: dict[int, tuple[int, Any]]) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return [type(value).__name__, repr(value)]
    if isinstance(value, (bytes, bytearray)):
        return ["bytes", hashlib.sha256(value).hexdigest()]
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return _array(value, seen)
    if isinstance(value, (*TOLD, type, types.ModuleType)):
        return [type(value).__qualname__, _name(value)]
    if id(value) in seen:
        return ["again", seen[id(value)][0]]
    seen[id(value)] = len(seen), value  # kept, so that no other object gets its id
    return _structure(value, seen)


def _structure(value: Any, seen: dict[int, tuple[int, Any]]) -> Any:
    if isinstance(value, (list, tuple, deque)):
        return [_name(type(value)), [_told(v, seen) for v in value], _attributes(value, seen)]
    if isinstance(value, Mapping):
        items = [[_told(k, seen), _told(v, seen)] for k, v in value.items()]
        default = _told(getattr(value, "default_factory", None), seen)
        return [_name(type(value)), items, default, _attributes(value, seen)]
    if isinstance(value, (set, frozenset)):
        return [_name(type(value)), sorted(digest(_told(v, {})) for v in value), _attributes(value, seen)]
    if isinstance(value, functools.partial):
        return ["partial", _told([value.func, value.args, value.keywords], seen)]
    if isinstance(value, types.BuiltinFunctionType):
        owner = value.__self__
        return ["builtin", _name(value), None if isinstance(owner, types.ModuleType) else _told(owner, seen)]
    if isinstance(value, types.MethodType):
        return ["method", _told(value.__func__, seen), _told(value.__self__, seen)]
    if isinstance(value, types.FunctionType):
        return _function(value, seen)
    if isinstance(value, torch.Generator):
        return ["generator", _told(value.get_state(), seen)]
    return _object(value, seen)


def _attributes(value: Any, seen: dict[int, tuple[int, Any]]) -> Any:
    """Tell the attributes of an object."""
    return {name: _told(v, seen) for name, v in attributes_of(value).items()}


def _array(value: Any, seen: dict[int, tuple[int, Any]]) -> Any:
    if isinstance(value, torch.Tensor):
        if value.is_meta or value.is_sparse or value.is_quantized:
            raise Opaque(f"{type(value).__name__} of layout {value.layout} on {value.device}")
        content = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return ["tensor", str(value.dtype), list(value.shape), hashlib.sha256(content).hexdigest()]
    array = np.ascontiguousarray(value)
    if array.dtype.hasobject:
        return ["objects", list(array.shape), _told(array.ravel().tolist(), seen)]
    return ["array", str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]


def _function(value: types.FunctionType, seen: dict[int, tuple[int, Any]]) -> Any:
    return ["function", _name(value), _code(value.__code__, seen), _told([enclosed(value), vars(value)], seen)]


def _code(code: types.CodeType, seen: dict[int, tuple[int, Any]]) -> Any:
    consts = [_code(c, seen) if isinstance(c, types.CodeType) else _told(c, seen) for c in code.co_consts]
    return [hashlib.sha256(code.co_code).hexdigest(), list(code.co_names), consts]


def enclosed(function: types.FunctionType) -> list[Any]:
    """Return what a function holds: the values of its closure, and its defaults."""
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    return [*cells, function.__defaults__, function.__kwdefaults__]


def _is_filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def attributes_of(value: object) -> dict[str, Any]:
    """Return what an object holds by name, in slots or not."""
    slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
    held = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return held | dict(getattr(value, "__dict__", None) or {})


def _object(value: Any, seen: dict[int, tuple[int, Any]]) -> Any:
    if isinstance(value, torch.jit.ScriptModule):
        return ["script", str(value.code), _told(dict(value.state_dict()), seen)]
    if not all(_is_python(base) for base in type(value).__mro__[:-1]):
        raise Opaque(_name(type(value)))
    return ["object", _name(type(value)), _attributes(value, seen)]


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    owner = f"_{kind.__name__.lstrip('_')}"
    held = (name for name in names if name not in ("__dict__", "__weakref__"))
    return tuple(owner + name if name.startswith("__") and not name.endswith("__") else name for name in held)


def _is_python(kind: type) -> bool:
    """Tell classes written in Python from those of C libraries, which may hold more than they show."""
    if not (kind.__dictoffset__ or "__slots__" in vars(kind)):  # a deque says that it is of collections
        return False
    module = sys.modules.get(kind.__module__)
    return kind.__module__ == "__main__" or str(getattr(module, "__file__", "")).endswith(".py")


def _name(value: Any) -> str:
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return f"{value.__module__}.{value.__qualname__}"
    return value.name if isinstance(value, logging.Logger) else getattr(value, "__name__", None) or str(value)
