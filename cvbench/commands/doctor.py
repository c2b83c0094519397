"""`cvbench doctor`: what the next run has, what it will miss, and what to do about it."""

import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from cvbench import __version__, weights
from cvbench.commands import packages
from cvbench.commands.cache import amount
from cvbench.commands.codes import DONE, INCOMPLETE
from cvbench.commands.console import echo, line
from cvbench.commands.options import metric_names, model_names
from cvbench.core.config import load_config
from cvbench.core.errors import CvbenchError
from cvbench.core.protocol import protocol
from cvbench.core.suites import Suite, load_suite
from cvbench.data import DATASETS
from cvbench.metrics import METRICS, resolve
from cvbench.models import MODELS, called, labelled
from cvbench.probes import FEATURES, PROBES, known_weights, weights_of
from cvbench.store import cache_root
from cvbench.tasks.finished import GPUS
from cvbench.weights import Source

PACKAGES = ("torch", "torchvision", "diffusers", "lpips", "av", "PIL", "scipy", "open_clip", "huggingface_hub")
OPTIONAL = {"decord": "cvbench[decord]", "dreamsim": "cvbench[pic]"}
ENCODERS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1"}
ROOM = 2**30
"""Free bytes below which a run may stop for want of space."""


@click.command("doctor")
@click.option("--suite", "-s", default="recon", show_default=True, help="Of which the next run is.")
@click.option("--models", "-m", multiple=True, metavar="A,B", help="Its models.  [default: the suite's]")
@click.option("--metrics", multiple=True, metavar="A,B", help="Its metrics.  [default: the suite's]")
def command(suite: str, models: Sequence[str], metrics: Sequence[str]) -> int:
    """Say what the next run has, what it will miss, and what to do about it.

    \b
      cvbench doctor
      cvbench doctor --models cvvae,vae-sd21 --metrics lpips,rfvd

    Exit code 3: something that the run needs is missing.
    """
    plan = load_suite(suite)
    wanted = model_names(models, plan.models)
    measured = resolve([*metric_names(metrics, (*plan.metrics, *plan.where_found))], protocol(plan.protocol))
    optional = () if metrics else resolve(plan.where_found, protocol(plan.protocol))
    findings = list(examine(Path.cwd(), plan, wanted, measured, optional))
    for finding in findings:
        echo(f"{finding.state:9}{finding.what:10}{finding.text}")
    if any(not f.ok and not f.optional for f in findings):
        line("the run will miss what is MISSING; it says so itself and does the rest", err=True)
        return INCOMPLETE
    return DONE


@dataclass(frozen=True)
class Finding:
    """One thing looked at; what is optional may be missing on a healthy machine."""

    ok: bool
    what: str
    text: str
    optional: bool = False

    @property
    def state(self) -> str:
        """One word."""
        return "ok" if self.ok else "not here" if self.optional else "MISSING"


def examine(
    folder: Path, suite: Suite, models: Sequence[str], metrics: Sequence[str], optional: Sequence[str]
) -> Iterator[Finding]:
    """Look at what a run of these models and metrics needs; metrics that are `optional` it leaves out."""
    config = load_config(folder, DATASETS, known_weights())
    yield Finding(True, "cvbench", f"{__version__}, Python {platform.python_version()} on {platform.platform()}")
    yield _packages(PACKAGES, {})
    yield _packages(OPTIONAL, OPTIONAL)
    yield _device()
    yield _encoders()
    yield _cache()
    yield _data(config.data, suite)
    yield _weights("models", _of_models(models), config.weights)
    yield _weights("metrics", sources_of_metrics(set(metrics) - set(optional)), config.weights)
    if optional:
        yield _weights("metrics", sources_of_metrics(optional), config.weights, optional=True)


def _packages(names: Iterable[str], extras: Mapping[str, str]) -> Finding:
    broken = [f"{name}: {reason}" for name in names if (reason := packages.why_not(name, extras.get(name, "")))]
    text = "; ".join(broken) if broken else ", ".join(map(packages.version, names))
    return Finding(not broken, "optional" if extras else "packages", text, bool(extras))


def _device() -> Finding:
    """Ask torch only where a GPU may be: it takes longer to load than everything else here."""
    threads = f"threads: {os.environ.get('OMP_NUM_THREADS') or 1}, cores: {os.cpu_count()}"
    if not any(path.exists() for path in GPUS):
        return Finding(True, "device", f"cpu, {threads} (no CUDA device)")
    try:
        import torch
    except Exception as error:  # broken installs raise anything
        return Finding(False, "device", f"torch does not load ({str(error)[:120]})")
    if not torch.cuda.is_available():
        return Finding(True, "device", f"cpu, {threads} (no CUDA device that torch {torch.__version__} can use)")
    free, total = torch.cuda.mem_get_info()
    devices = f"{torch.cuda.device_count()} × " if torch.cuda.device_count() > 1 else ""
    return Finding(
        True, "device", f"{devices}{torch.cuda.get_device_name()}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
    )


def _encoders() -> Finding:
    try:
        import av
    except Exception:  # already reported among the packages
        return Finding(False, "codecs", "none without av", True)
    lacking = [f"{name} ({codec})" for name, codec in ENCODERS.items() if codec not in av.codecs_available]
    text = f"this FFmpeg lacks {', '.join(lacking)}" if lacking else ", ".join(ENCODERS)
    return Finding(not lacking, "codecs", text, True)


def _cache() -> Finding:
    root = cache_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(root).free
        size = sum(p.stat().st_size for p in root.rglob("*") if p.is_file())
        advice = "" if free > ROOM else "; make room, or set CVBENCH_CACHE to another folder"
        return Finding(free > ROOM, "cache", f"{root}: {amount(size)}, {amount(free)} free{advice}")
    except OSError as error:
        return Finding(False, "cache", f"{root} cannot be used ({error}); set CVBENCH_CACHE to a folder you may write")


def _data(roots: Mapping[str, Path], suite: Suite) -> Finding:
    gone = [f"{name} ({roots[name]})" for name in roots if not roots[name].exists()]
    if gone:
        return Finding(False, "data", f"configured, but not there: {', '.join(gone)}; mend cvbench.toml")
    lacking = [name for name in suite.data if name not in roots]
    here = f"{', '.join(roots)} configured; " if roots else ""
    if not lacking:
        return Finding(True, "data", here.removesuffix("; "))
    instead = "" if len(lacking) < len(suite.data) else f"; the run takes {', '.join(suite.fallback)}"
    how = "--data NAME=PATH, [data] in cvbench.toml, or CVBENCH_DATA"
    return Finding(False, "data", f"{here}no folder for {', '.join(lacking)} ({how}){instead}", True)


def _of_models(specs: Iterable[str]) -> dict[str, Source | None]:
    """Return by name the source of each model's weights, None of those that have none or bring them along."""
    names = {called(spec): labelled(spec)[1].partition("@")[0] for spec in specs}
    return {known: MODELS[known].source if known in MODELS else None for known in names.values()}


def sources_of_metrics(names: Iterable[str]) -> dict[str, Source | None]:
    """Return by name the source of the weights that metrics need, None of those that need none."""
    found: dict[str, Source | None] = {}
    for probe in dict.fromkeys(METRICS[name].network for name in sorted(names)):
        needed = weights_of(probe) if probe in FEATURES or probe in PROBES else {}
        found |= {name: sources[0] for name, sources in needed.items()} if needed else {probe: None}
    return found


def _weights(
    what: str, sources: Mapping[str, Source | None], given: Mapping[str, Path], *, optional: bool = False
) -> Finding:
    missing, bad = [], []
    for name, source in sources.items():
        try:
            if source and weights.locate(name, source, given) is None:
                missing.append(name)
        except CvbenchError as error:
            bad.append(f"{name}: {error}")
    text = [f"{len(sources) - len(missing) - len(bad)} of {len(sources)} ready" if not optional else ""]
    if missing:
        left_out = " (left out where missing)" if optional else ""
        text.append(f"weights missing{left_out}: `cvbench weights fetch {' '.join(missing)}`, or --weights NAME=PATH")
    else:
        text.append(f"weights of {', '.join(sources)} are here" if optional else "")
    return Finding(not (missing or bad), what, "; ".join(filter(None, [*text, *bad])), optional)
