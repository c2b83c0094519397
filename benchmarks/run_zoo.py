"""Run every network of the zoo untrained, each in a process of its own, and print a table of what it takes.

    python benchmarks/run_zoo.py [--data sample] [--limit 1] [--size 64] [--timeout 900] [--memory 20] [NAME ...]

Parameters, latent shape of the clip that was coded, wall time of the whole command (imports and random weights
included) and peak resident memory. A model that fails stands in the table with its reason; of entries that are one
network, which untrained is the same, the first is run and the others say so.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cvbench.core.records import RunRecord
from cvbench.core.types import Traits
from cvbench.models import MODELS


def network(name: str) -> str:
    """Return what entries share that are one network when untrained."""
    entry = MODELS[name]
    options = {key: value for key, value in {**entry.config, **entry.options}.items() if key != "file"}
    return f"{entry.build} {entry.traits} {json.dumps(options, sort_keys=True)}"


def latent_shape(traits: Traits, frames: int, side: int) -> str:
    """Channels (or tokens of a codebook) × frames × height × width of the latents of a padded clip."""
    length = traits.frame_rule.fit(frames)
    latent = -(-length // traits.temporal)
    multiple = traits.multiple or traits.spatial
    cells = -(-max(side, traits.least_side) // multiple) * multiple // traits.spatial
    return f"{traits.channels or 'codes'} × {latent} × {cells} × {cells}"


def run(name: str, arguments: argparse.Namespace) -> str:
    """Run one model; return its line of the table."""
    entry = MODELS[name]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "import cvbench.cli; cvbench.cli.main()", "run", "--models", name]
        command += ["--init", "random", "--data", arguments.data, "--limit", str(arguments.limit), "--out", folder]
        command += [
            "--metrics",
            "psnr,ssim",
            "--no-speed",
            *(["--set", f"size={arguments.size}"] if arguments.size else []),
        ]
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        memory, error = watch(process, arguments.timeout, arguments.memory)
        seconds = time.monotonic() - start
        made = list(Path(folder, "records").glob("*.json"))
        record = RunRecord.load(made[0]) if made else None
    params = parameters(name)
    if record is None or record.error:
        reason = (record.error if record else "") or error or f"no record within {arguments.timeout:g} s"
        return f"| {name} | {params} | – | {seconds:.0f} | {memory:.1f} | {reason[:160]} |"
    sample = record.samples[0]
    shape = latent_shape(entry.traits, sample.frames, sample.height)
    at = f", at {arguments.size}×{arguments.size}" if arguments.size else ""
    return f"| {name} | {params} | {shape} | {seconds:.0f} | {memory:.1f} | ok{at} |"


def same(name: str, alike: str) -> str:
    """Return the line of a model whose network is that of one before it."""
    return f"| {name} | {parameters(name)} | as {alike} | – | – | the network of {alike} |"


def parameters(name: str) -> str:
    """Return those of encoder and decoder."""
    params = MODELS[name].params
    return f"{params[0] / 1e6:.1f}M + {params[1] / 1e6:.1f}M" if params else "–"


def watch(process: "subprocess.Popen[str]", timeout: float, most: float) -> tuple[float, str]:
    """Wait for a process, `most` its memory; return its peak resident memory in GiB and the last line of its errors."""
    end, peak = time.monotonic() + timeout, 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        for line in status.read_text().splitlines() if status.exists() else ():
            if line.startswith("VmHWM:"):
                peak = max(peak, int(line.split()[1]))
        if time.monotonic() > end or peak > most * 2**20:
            process.kill()
        time.sleep(0.1)
    errors = process.stderr.read().strip().splitlines() if process.stderr else []
    word = f"needs more than {most:g} GiB" if peak > most * 2**20 else (errors[-1] if errors else "")
    return peak / 2**20, word


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", help="default: every network")
    parser.add_argument("--data", default="sample")
    parser.add_argument("--limit", type=int, default=1)
    parser.add_argument("--size", type=int, default=0, help="of the frames, default: the protocol's")
    parser.add_argument("--timeout", type=float, default=900)
    parser.add_argument("--memory", type=float, default=20, help="GiB a process may take")
    arguments = parser.parse_args()
    print("| model | parameters | latents | s | GiB | |\n|---|---|---|---|---|---|", flush=True)
    names = arguments.names or [n for n, e in MODELS.items() if e.role == "network"]
    first = {network(name): name for name in reversed(MODELS)}
    for name in names:
        alike = first[network(name)]
        print(run(name, arguments) if alike == name or alike not in names else same(name, alike), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
