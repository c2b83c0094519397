"""The tensors of a TorchScript archive, whose program stays where it is.

`torch.jit.load` compiles code out of the archive. Here its one pickle is read with a table of what it may name:
tensors, plain lists, and modules, which become bare namespaces.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvbench.core.errors import BadWeights

if TYPE_CHECKING:
    from torch import Tensor

PROGRAM = "__torch__"
DTYPES = {
    **{"FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16", "DoubleStorage": "float64"},
    **{"LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8"},
    **{"ByteStorage": "uint8", "BoolStorage": "bool"},
}


class Namespace:
    """A module of the program: what it holds, and nothing that it does."""

    def __setstate__(self, state: object) -> None:
        """Keep attributes by name."""
        self.held = state if isinstance(state, dict) else {}


def read_torchscript(path: Path, archive: zipfile.ZipFile) -> "dict[str, Tensor]":
    """Return the tensors of an archive by the names of their modules. Raises BadWeights for what asks for more."""
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise BadWeights(f"{path} is no TorchScript archive: it holds {len(names)} data.pkl; fetch it again")
    root = names[0].removesuffix("data.pkl")
    try:
        return dict(named(Reader(archive, root).load(), ""))
    except pickle.UnpicklingError as error:
        raise BadWeights(f"{path} is refused: {error}") from error
    except Exception as error:  # of what a damaged pickle asks for
        raise BadWeights(f"{path} is damaged ({type(error).__name__}); fetch it again") from error


def named(value: object, prefix: str) -> "Iterator[tuple[str, Tensor]]":
    """Yield the tensors that a module holds, and those of the modules in it."""
    import torch

    for name, held in value.held.items() if isinstance(value, Namespace) else ():
        if isinstance(held, torch.Tensor):
            yield f"{prefix}{name}", held
        yield from named(held, f"{prefix}{name}.")


class Reader(pickle.Unpickler):
    """Reads `data.pkl`; storages are those beside it."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}data.pkl")))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name. Raises UnpicklingError for any other: making it could run code."""
        if module.split(".")[0] == PROGRAM:
            return type(name, (Namespace,), {})
        known: dict[str, Callable[..., object] | str] = {
            "torch._utils._rebuild_tensor_v2": rebuilt,
            "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
            "collections.OrderedDict": OrderedDict,
            **{f"torch.jit._pickle.build_{kind}list": list for kind in ("int", "double", "bool", "tensor")},
            "torch.jit._pickle.restore_type_tag": lambda value, _: value,
            "torch.device": str,
            **{f"torch.{storage}": dtype for storage, dtype in DTYPES.items()},
        }
        if f"{module}.{name}" not in known:
            raise pickle.UnpicklingError(
                f"it asks for {ascii(f'{module}.{name}')[:120]}, and making that could run code"
            )
        return known[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> Any:
        """Return a storage as a flat tensor."""
        import torch

        _, dtype, key, _, count = pid
        content = bytearray(self.archive.read(f"{self.root}data/{key}"))
        flat = torch.frombuffer(content, dtype=getattr(torch, dtype)) if content else torch.empty(0)
        if len(flat) != count:
            raise pickle.UnpicklingError(f"storage {ascii(key)[:20]} holds {len(flat)} values, not {count}")
        return flat


def rebuilt(flat: "Tensor", offset: int, size: Any, stride: Any, *_: object) -> "Tensor":
    """Return a view of a storage; torch refuses one beyond its end."""
    return flat.as_strided(tuple(size), tuple(stride), offset)
