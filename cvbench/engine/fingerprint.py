"""What an object is made of, as JSON: its state and its settings, at any depth."""

import enum
import functools
import hashlib
import logging
import sys
import types
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


def _told(value: Any, seen: dict[int, int]) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return [type(value).__name__, repr(value)]
    if isinstance(value, (bytes, bytearray)):
        return ["bytes", hashlib.sha256(value).hexdigest()]
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return _array(value, seen)
    if isinstance(value, (*TOLD, type, types.ModuleType, types.BuiltinFunctionType)):
        return [type(value).__qualname__, _name(value)]
    if id(value) in seen:
        return ["again", seen[id(value)]]
    seen[id(value)] = len(seen)
    return _structure(value, seen)


def _structure(value: Any, seen: dict[int, int]) -> Any:
    if isinstance(value, (list, tuple)):
        return [type(value).__qualname__, [_told(v, seen) for v in value]]
    if isinstance(value, Mapping):
        return ["mapping", [[_told(k, seen), _told(v, seen)] for k, v in value.items()]]
    if isinstance(value, (set, frozenset)):
        return ["set", sorted(digest(_told(v, {})) for v in value)]
    if isinstance(value, functools.partial):
        return ["partial", _told([value.func, value.args, value.keywords], seen)]
    if isinstance(value, types.MethodType):
        return ["method", _told(value.__func__, seen), _told(value.__self__, seen)]
    if isinstance(value, types.FunctionType):
        return _function(value, seen)
    if isinstance(value, torch.Generator):
        return ["generator", _told(value.get_state(), seen)]
    return _object(value, seen)


def _array(value: Any, seen: dict[int, int]) -> Any:
    if isinstance(value, torch.Tensor):
        if value.is_meta or value.is_sparse or value.is_quantized:
            raise Opaque(f"{type(value).__name__} of layout {value.layout} on {value.device}")
        content = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return ["tensor", str(value.dtype), list(value.shape), hashlib.sha256(content).hexdigest()]
    array = np.ascontiguousarray(value)
    if array.dtype.hasobject:
        return ["objects", list(array.shape), _told(array.ravel().tolist(), seen)]
    return ["array", str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]


def _function(value: types.FunctionType, seen: dict[int, int]) -> Any:
    code = value.__code__
    held = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
    constants = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
    body = hashlib.sha256(code.co_code).hexdigest()
    return ["function", _name(value), body, _told([constants, held, value.__defaults__, value.__kwdefaults__], seen)]


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _object(value: Any, seen: dict[int, int]) -> Any:
    slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
    held = {name: getattr(value, name) for name in slots if hasattr(value, name)} | dict(getattr(value, "__dict__", {}))
    if isinstance(value, torch.jit.ScriptModule):
        return ["script", str(value.code), _told(dict(value.state_dict()), seen)]
    if not all(_is_python(base) for base in type(value).__mro__[:-1]):
        raise Opaque(_name(type(value)))
    return ["object", _name(type(value)), _told(held, seen)]


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def _is_python(kind: type) -> bool:
    """Tell classes written in Python from those of C libraries, which may hold more than they show."""
    module = sys.modules.get(kind.__module__)
    return kind.__module__ == "__main__" or str(getattr(module, "__file__", "")).endswith(".py")


def _name(value: Any) -> str:
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return f"{value.__module__}.{value.__qualname__}"
    return value.name if isinstance(value, logging.Logger) else getattr(value, "__name__", None) or str(value)
