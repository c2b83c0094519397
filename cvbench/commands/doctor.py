"""`cvbench doctor`: what works on this machine."""

import importlib
import importlib.metadata
import shutil
from dataclasses import dataclass
from pathlib import Path

import click

from cvbench import __version__, weights
from cvbench.commands.codes import DONE, INCOMPLETE
from cvbench.commands.console import print_rows
from cvbench.core.config import load_config
from cvbench.core.errors import CvbenchError
from cvbench.data import DATASETS
from cvbench.models import MODELS
from cvbench.probes import known_weights
from cvbench.store import cache_root

PACKAGES = ("torch", "torchvision", "diffusers", "lpips", "av", "PIL", "scipy", "open_clip", "huggingface_hub")
OPTIONAL = {"decord": "cvbench[decord]", "dreamsim": "cvbench[pic]"}
DISTRIBUTIONS = {"PIL": "pillow", "open_clip": "open_clip_torch"}


@click.command("doctor")
def command() -> int:
    """Say what works on this machine: packages, device, decoders, caches, data and weights.

    \b
      cvbench doctor
    """
    findings = examine(Path.cwd())
    print_rows(("", "what", "finding"), [("ok" if f.ok else "MISSING", f.what, f.text) for f in findings])
    return DONE if all(f.ok or f.optional for f in findings) else INCOMPLETE


@dataclass(frozen=True)
class Finding:
    """One thing looked at; what is optional may be missing on a healthy machine."""

    ok: bool
    what: str
    text: str
    optional: bool = False


def examine(folder: Path) -> list[Finding]:
    """Look at packages, device, cache, data sets and weights."""
    found = [Finding(True, "cvbench", __version__)]
    found += [_package(name, "") for name in PACKAGES]
    found += [_package(name, extra) for name, extra in OPTIONAL.items()]
    return [*found, _device(), *_encoders(), _cache(), *_data(folder), *_weights(folder)]


def _package(name: str, extra: str) -> Finding:
    try:
        importlib.import_module(name)
        return Finding(True, name, importlib.metadata.version(DISTRIBUTIONS.get(name, name)), bool(extra))
    except Exception as error:  # broken installs raise anything: a wrong torchvision gives RuntimeError
        advice = f"optional: pip install '{extra}'" if extra else f"pip install {DISTRIBUTIONS.get(name, name)}"
        return Finding(
            False, name, f"{type(error).__name__}: {str(error).splitlines()[0][:120]}; {advice}", bool(extra)
        )


def _device() -> Finding:
    try:
        import torch
    except Exception as error:  # already reported among the packages
        return Finding(False, "device", str(error)[:120])
    if not torch.cuda.is_available():
        return Finding(True, "device", f"cpu, {torch.get_num_threads()} threads (no CUDA device)")
    free, total = torch.cuda.mem_get_info()
    return Finding(
        True, "device", f"{torch.cuda.get_device_name()}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
    )


def _encoders() -> list[Finding]:
    try:
        import av

        wanted = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1"}
        return [Finding(codec in av.codecs_available, f"encoder {name}", codec, True) for name, codec in wanted.items()]
    except ImportError:
        return []


def _cache() -> Finding:
    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(root).free / 2**30
        size = sum(p.stat().st_size for p in root.rglob("*") if p.is_file()) / 2**20
        return Finding(free > 1, "cache", f"{root}: {size:.0f} MiB of rows, {free:.0f} GiB free")
    except OSError as error:
        return Finding(False, "cache", f"{root} cannot be used ({error}); set CVBENCH_CACHE to a folder you may write")


def _data(folder: Path) -> list[Finding]:
    roots = load_config(folder, DATASETS, known_weights()).data
    named = [name for name, entry in DATASETS.items() if entry.folder != ""]
    return [
        Finding(
            name in roots and roots[name].exists(), f"data {name}", str(roots.get(name, "no folder configured")), True
        )
        for name in named
    ]


def _weights(folder: Path) -> list[Finding]:
    given = load_config(folder, DATASETS, known_weights()).weights
    found = []
    for name, entry in MODELS.items():
        if entry.source:
            try:
                path = weights.locate(name, entry.source, given)
                found.append(Finding(path is not None, f"weights {name}", str(path or entry.source.origin), True))
            except CvbenchError as error:
                found.append(Finding(False, f"weights {name}", str(error)))
    return found
