"""What is in a file of weights, read without executing anything, and put into a network."""

import contextlib
import io
import json
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

from cvbench.core.errors import BadWeights, CvbenchError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Network = TypeVar("Network", bound="torch.nn.Module")

FORMATS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".pkl", ".zip", ".jit")
"""Suffixes of files that can be read."""
WRAPPINGS = ("ema_state_dict", "ema", "model", "state_dict", "gen_model", "generator")
"""Where trainers put a network's tensors: averaged ones first, as their publishers' own code takes them."""
WEB_PAGE = "is a web page, not weights: open its address in a browser and confirm the download"
LOOKALIKES = {
    b"version https://git-lfs": "is a Git LFS pointer, not the file itself: run `git lfs pull`",
    b"<!doctype html": WEB_PAGE,
    b"<html": WEB_PAGE,
}
"""How files begin that downloads leave behind in place of weights."""
CONFIG = "config.json"
HALVES = ("encoder", "decoder")
ZIP = b"PK\3\4"
PREAMBLES = ("Weights only load failed", "Please file an issue")  # of torch's messages
BLOCK = 1 << 20
INFLATED, SPARE = 20, 64 << 20
"""A file holds at most so many times its own length, and SPARE bytes: weights hardly compress, bombs do."""
ZIP_FAILURES = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError)
"""What `zipfile` raises for damage: of a checksum, a header, a method of compression, a flag."""


def files_of_weights(folder: Path) -> list[Path]:
    """Return the files in `folder`, itself and not below, that may hold weights."""
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.is_file() and file.suffix in FORMATS)


def weights_file(path: Path) -> Path:
    """Return the file of weights that `path` is or, for a folder, holds.

    Raises BadWeights when the folder holds none, or several of which none has diffusers' usual name.
    """
    if path.is_file():
        return path
    held = files_of_weights(path)
    if not held:
        raise BadWeights(f"{path} holds no file of weights ({', '.join(FORMATS)})")
    chosen = [file for file in held if file.name == "diffusion_pytorch_model.safetensors"] or held
    if len(chosen) > 1:
        raise BadWeights(f"{path} holds {', '.join(file.name for file in held)}: name the one that is meant")
    return chosen[0]


def read_tensors(path: Path, allowed: Sequence[type] = ()) -> dict[str, "Tensor"]:
    """Read a state dict from a file that `read_checkpoint` takes, unwrapped as by `tensors_of`.

    Raises BadWeights for truncated files, other layouts and pickles that would run code.
    """
    return tensors_of(read_checkpoint(path, allowed), str(path))


def read_halves(path: Path, name: str = "") -> dict[str, "Tensor"]:
    """Read encoder and decoder from the two files of a network, or from one file that names both in its tensors.

    `path` is one of the files, or a folder with the halves of the network `name`; without a name, of the only one
    that has halves there. Tensors, which have the names of two networks, get `encoder.` and `decoder.` in front.
    Raises BadWeights as `read_tensors` does, for one half without the other, and for halves of several networks.
    """
    files = files_read(path / f"{name or _only_name(path)}_{HALVES[0]}.pth") if path.is_dir() else files_read(path)
    if len(files) == len(HALVES):
        parts = zip(HALVES, map(read_tensors, files), strict=True)
        return {f"{half}.{key}": value for half, part in parts for key, value in part.items()}
    file = files[0] if files else weights_file(path)
    state = read_tensors(file)
    absent = [stem for stem in _stems(file) if stem != file.stem]
    if absent and not any(key.startswith(HALVES) for key in state):
        raise BadWeights(f"{file.parent} holds only one half of a network, no {absent[0]}.pth; put both there")
    return state


def files_read(path: Path) -> tuple[Path, ...]:
    """Return the files that are read where the file at `path` is named: both halves, encoder first, if it is one.

    Halves are called NAME_encoder and NAME_decoder, or encoder and decoder, with any of FORMATS as suffix, that of
    `path` before the others. Files that are not there are left out.
    """
    suffixes = dict.fromkeys((path.suffix, *FORMATS))
    places = ([path.with_name(f"{stem}{suffix}") for suffix in suffixes] for stem in _stems(path))
    return tuple(file for held in places for file in [file for file in held if file.is_file()][:1])


def _stems(path: Path) -> tuple[str, ...]:
    """Return the stems of both halves where a file is called like one of them, else its own."""
    half = path.stem.rpartition("_")[2]
    return tuple(f"{path.stem.removesuffix(half)}{each}" for each in HALVES) if half in HALVES else (path.stem,)


def _only_name(folder: Path) -> str:
    """Return the name that all halves of networks in a folder share, "" where there are none. Raises BadWeights."""
    stems = (file.stem.rpartition("_") for file in files_of_weights(folder))
    names = sorted({name for name, _, half in stems if half in HALVES})
    if len(names) > 1:
        raise BadWeights(f"{folder} holds halves of {listed(names)}: name the file of the network that is meant")
    return names[0] if names else ""


def read_checkpoint(path: Path, allowed: Sequence[type] = ()) -> Any:
    """Return all that a file of one of FORMATS holds, executing nothing in it.

    `allowed` are the classes, beyond tensors and plain values, that a pickle may mention. Of an archive the one file
    of weights is read, and nothing else. Raises BadWeights as `read_tensors` does.
    """
    refuse_lookalike(path)
    if path.suffix == ".zip":
        return _read_zip(path, allowed)
    if path.suffix == ".safetensors":
        return _read_safetensors(path, str(path))
    if path.suffix == ".jit":
        return _read_program(path)
    return _read_pickle(path, str(path), allowed)


def config_beside(path: Path) -> dict[str, Any] | None:
    """Return what the config.json of a folder, or next to a file, holds; None where there is none.

    Raises BadWeights as `config_in` does.
    """
    file = (path if path.is_dir() else path.parent) / CONFIG
    return config_in(file) if file.is_file() else None


def config_in(file: Path) -> dict[str, Any]:
    """Return what a config.json holds. Raises BadWeights for what cannot be read, or is no JSON object."""
    config = _json_in(file)
    if not isinstance(config, dict):
        raise BadWeights(f"{file} holds a {type(config).__name__}, not the network's settings")
    return config


def shards_in(index: Path) -> dict[str, str]:
    """Return the file, beside `index`, in which each tensor of a network lies.

    Raises BadWeights for what is no index, or names files elsewhere: what is loaded is what is hashed.
    """
    content = _json_in(index)
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not (isinstance(shards, dict) and shards):
        raise BadWeights(f"{index} is no index of shards (it has no weight_map); fetch it again")
    for shard in shards.values():
        if not (isinstance(shard, str) and PurePath(shard).name == shard and PurePath(shard).suffix in FORMATS):
            raise BadWeights(f"{index} names {str(shard)[:80]!r}, which is no file of weights beside it")
    return shards


def _json_in(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadWeights(f"{file} is no JSON ({brief(error)}); fetch it again") from error


def tensors_of(loaded: Any, where: str) -> dict[str, "Tensor"]:
    """Return the network's tensors among what a file held, its WRAPPINGS and the prefix `module.` taken off.

    Raises BadWeights when there are no tensors.
    """
    import torch

    for key in WRAPPINGS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping) and loaded[key]:
            loaded = loaded[key]
    if not isinstance(loaded, Mapping):
        raise BadWeights(f"{where} holds a {type(loaded).__name__}, not a state dict")
    state = {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
    if not state:
        raise BadWeights(
            f"{where} holds no tensors, only {', '.join(shown(str(key)) for key in list(loaded)[:8]) or 'nothing'}"
        )
    if all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): value for name, value in state.items()}
    return state


def refuse_lookalike(path: Path) -> None:
    """Raise BadWeights for a file that is none of weights, or cannot be read at all."""
    try:
        with path.open("rb") as file:
            start = file.read(256).lstrip().lower()
    except OSError as error:
        raise BadWeights(f"{path} cannot be read ({brief(error)})") from error
    if not start:
        raise BadWeights(f"{path} is empty; fetch it again")
    for mark, what in LOOKALIKES.items():
        if start.startswith(mark):
            raise BadWeights(f"{path} {what}")


def check_whole(path: Path) -> None:
    """Raise BadWeights for a file that is not as it was written.

    Safetensors count their bytes; a zip, which torch's files are, has a checksum for each member, and all are read.
    """
    refuse_lookalike(path)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy"):
                return
        except SafetensorError as error:
            raise BadWeights(_damaged(str(path), error)) from error
    if _begins(path, ZIP):
        check_archive(path, str(path))


def check_archive(file: Path | bytes, where: str) -> None:
    """Read every member of a zip and compare its checksum, a block at a time.

    torch reads its own files without doing so. Raises BadWeights for damage, and for members that would be larger
    than the file can hold.
    """
    with _opened_zip(file, where) as archive:
        try:
            for member in archive.infolist():
                with archive.open(member) as opened:
                    while opened.read(BLOCK):
                        pass
        except ZIP_FAILURES as error:
            raise BadWeights(_damaged(where, error)) from error


def _read_zip(path: Path, allowed: Sequence[type]) -> Any:
    """Read the one file of weights in an archive; RIFE's hold Python files beside it, which stay where they are."""
    with _opened_zip(path, str(path)) as archive:
        member = _member(archive, path)
        try:
            content = archive.read(member)
        except ZIP_FAILURES as error:
            raise BadWeights(_damaged(str(path), error)) from error
    if member.endswith(".safetensors"):
        return _read_safetensors(content, f"{path}/{member}")
    return _read_pickle(content, f"{path}/{member}", allowed)


def _read_program(path: Path) -> dict[str, "Tensor"]:
    """Read the tensors of TorchScript, after every checksum."""
    from cvbench.weights.torchscript import read_torchscript

    check_archive(path, str(path))
    with _opened_zip(path, str(path)) as archive:
        return read_torchscript(path, archive)


def _opened_zip(file: Path | bytes, where: str) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(_opened(file))
        if min((member.header_offset for member in archive.infolist()), default=0):
            archive.close()  # the list is that of a file inside, a torch file being a zip itself
            raise zipfile.BadZipFile("its end is missing")
    except ZIP_FAILURES as error:
        raise BadWeights(_damaged(where, error)) from error
    _refuse_bomb(archive, _length(file), where)
    return archive


def _refuse_bomb(archive: zipfile.ZipFile, length: int, where: str) -> None:
    inside = sum(member.file_size for member in archive.infolist())
    if inside > INFLATED * length + SPARE:
        archive.close()
        raise BadWeights(f"{where} is refused: its {length} bytes would become {inside}, which weights never do")


def _opened(file: Path | bytes) -> Path | io.BytesIO:
    return io.BytesIO(file) if isinstance(file, bytes) else file


def _length(file: Path | bytes) -> int:
    return file.stat().st_size if isinstance(file, Path) else len(file)


def _member(archive: zipfile.ZipFile, path: Path) -> str:
    names = [name for name in archive.namelist() if Path(name).suffix in FORMATS and not name.startswith("__MACOSX")]
    chosen = [name for name in names if Path(name).name == "flownet.pkl"] or names
    if len(chosen) != 1:
        raise BadWeights(f"{path} should hold one file of weights, not {listed(chosen) or 'none'}; unpack it")
    return chosen[0]


def _read_safetensors(file: Path | bytes, where: str) -> dict[str, "Tensor"]:
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    try:
        return load(file) if isinstance(file, bytes) else load_file(file)
    except (SafetensorError, OSError) as error:
        raise BadWeights(_damaged(where, error)) from error


def _read_pickle(file: Path | bytes, where: str, allowed: Sequence[type]) -> Any:
    import torch

    if _begins(file, ZIP):
        check_archive(file, where)
    try:
        with torch.serialization.safe_globals(list(allowed)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: what cannot be read is an error here
            loaded = torch.load(_opened(file), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        raise BadWeights(_why_unreadable(where, error, pickled=_begins(file, b"\x80"))) from error
    _refuse_oversized(loaded, INFLATED * _length(file) + SPARE, where)
    return loaded


def _refuse_oversized(loaded: Any, limit: int, where: str) -> None:
    """Refuse tensors of more values than the file can hold: torch believes a forged count, and reads past its end."""
    import torch

    tensors = [tensor for tensor in _tensors_in(loaded) if tensor.layout == torch.strided]
    storages = {storage.data_ptr(): storage.nbytes() for storage in (t.untyped_storage() for t in tensors)}
    if max([sum(storages.values()), *(t.numel() * t.element_size() for t in tensors)]) > limit:
        raise BadWeights(f"{where} is refused: its tensors claim more bytes than the file can hold")


def _tensors_in(loaded: Any) -> Iterator["Tensor"]:
    import torch

    if isinstance(loaded, torch.Tensor):
        yield loaded
    elif isinstance(loaded, Mapping | list | tuple):
        for value in loaded.values() if isinstance(loaded, Mapping) else loaded:
            yield from _tensors_in(value)


def _begins(file: Path | bytes, mark: bytes) -> bool:
    if isinstance(file, bytes):
        return file.startswith(mark)
    with file.open("rb") as opened:
        return opened.read(len(mark)) == mark


def _why_unreadable(where: str, error: Exception, pickled: bool) -> str:
    wants = re.search(r"GLOBAL (\S+)", str(error))
    if wants or (pickled and "Unsupported operand" in str(error)):
        what = shown(wants[1]) if wants else "more than tensors"
        return (
            f"{where} is refused: it asks for {what}, and making that could run "
            "code from the file. Save its state dict as .safetensors on a machine you can lose"
        )
    if "TorchScript" in str(error):
        return f"{where} is a TorchScript program, not a state dict"
    return _damaged(where, error)


def _damaged(where: str, error: Exception) -> str:
    return f"{where} is damaged, cut short or no file of weights ({brief(error)}); fetch it again"


def brief(error: Exception) -> str:
    """Return an error's kind and its first line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith(PREAMBLES)]
    return f"{type(error).__name__}: {shown(lines[0][:160])}" if lines else type(error).__name__


def shown(text: str) -> str:
    """Return a name out of a stranger's file as a message can hold it: short, without signs that steer terminals."""
    return text[:120] if text[:120].isprintable() else ascii(text[:120])


def listed(names: Iterable[object]) -> str:
    """Return the first few of such names."""
    return ", ".join(shown(str(name)) for name in islice(names, 8))


def fit(
    state: Mapping[str, "Tensor"],
    wanted: Mapping[str, "Tensor"],
    where: str,
    drop: Sequence[str] = (),
    keep: Sequence[str] = ("",),
) -> dict[str, "Tensor"]:
    """Return the tensors of `state` that a network wants.

    By rule only names that start with one of `keep` count, and none that starts with one of `drop`: so losses and
    discriminators go. Raises BadWeights listing every missing, unexpected and misshaped tensor, and those that are
    whole numbers where a network computes (the first few of each).
    """
    kept = {k: v for k, v in state.items() if k.startswith(tuple(keep)) and not k.startswith(tuple(drop))}
    missing = [k for k in wanted if k not in kept]
    extra = [k for k in kept if k not in wanted]
    shapes = [
        f"{k} {tuple(kept[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in wanted
        if k in kept and kept[k].shape != wanted[k].shape
    ]
    kinds = [
        f"{k} {kept[k].dtype} instead of {wanted[k].dtype}"
        for k in wanted
        if k in kept and wanted[k].is_floating_point() and not kept[k].is_floating_point()
    ]
    problems = [
        f"{len(names)} {what}: {listed(names[:4])}{' …' if len(names) > 4 else ''}"
        for what, names in (
            ("missing", missing),
            ("unexpected", extra),
            ("misshaped", shapes),
            ("of another kind", kinds),
        )
        if names
    ]
    if problems:
        raise BadWeights(f"{where} belongs to another architecture; {'; '.join(problems)}")
    return kept


def network(
    make: Callable[[], Network],
    state: Mapping[str, "Tensor"] | None,
    where: str,
    keep: Sequence[str] = ("",),
    *,
    seed: int,
    device: "torch.device",
    dtype: "torch.dtype",
) -> Network:
    """Build a network for use, not training: seeded at random or, where there is a `state`, with its tensors.

    Raises BadWeights as `fit` does, and where the settings that came with the tensors make no network. The network
    may have no buffers that its state dict leaves out.
    """
    import torch

    if state is None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            net = make()
    else:
        with sound_settings(where), torch.device("meta"):  # draws no values that the file replaces
            net = make()
        fitted = fit(state, net.state_dict(), where, keep=keep)
        net.to_empty(device="cpu").load_state_dict(fitted)
    return net.to(device, dtype).eval().requires_grad_(False)


@contextlib.contextmanager
def sound_settings(where: str) -> Iterator[None]:
    """Turn what a network's constructor raises for settings of a file, of whatever type, into BadWeights."""
    try:
        yield
    except (CvbenchError, MemoryError):
        raise
    except Exception as error:  # constructors trust their arguments
        raise BadWeights(f"{where}: its settings make no network ({brief(error)})") from error


def count(net: "torch.nn.Module") -> int:
    """Number of parameters."""
    return sum(p.numel() for p in net.parameters())
