"""Mutated files of every kind that cvbench reads: each is read or refused, and nothing else happens.

    python benchmarks/mutate.py [N] [--seed S] [--kinds A,B] [--keep DIR]

Case i of a seed is always the same file. Each is read in a process of its own limits (4 GiB, 20 s). What must not
happen is listed: a traceback, an exit code that says "regression" or "error of cvbench itself", a hang, more memory,
and a number from a file whose own checksum shows damage. Exits 1 when something was found.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

GIB = 2**30
MEMORY, PATIENCE = 4 * GIB, 20.0
DEEP = "@deep@"
PRELOAD = ("cvbench.cli", "cvbench.tasks.reconstruction", "cvbench.tasks.scoring", "mutate_files")


@dataclass(frozen=True)
class Case:
    """One mutated file."""

    kind: str
    seed: str


@dataclass(frozen=True)
class Result:
    """What became of a case: read, refused, or what must not happen."""

    case: Case
    outcome: str
    what: str = ""


# mutations of bytes


def flipped(data: bytearray, draw: random.Random) -> bytearray:
    for _ in range(draw.choice((1, 1, 1, 8))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return data


def with_another_head(data: bytearray, draw: random.Random) -> bytearray:
    for _ in range(8):
        data[draw.randrange(min(len(data), 400))] = draw.randrange(256)
    return data


def cut(data: bytearray, draw: random.Random) -> bytearray:
    return data[: draw.randrange(len(data))]


def with_a_huge_number(data: bytearray, draw: random.Random) -> bytearray:
    place = draw.randrange(min(len(data), 300))
    data[place : place + 4] = draw.choice((b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", bytes(4)))
    return data


def with_an_insertion(data: bytearray, draw: random.Random) -> bytearray:
    place = draw.randrange(len(data) + 1)
    data[place:place] = draw.choice((draw.randbytes(draw.randrange(1, 40)), bytes(9), b"\r\n", data[:64]))
    return data


def with_a_part_missing_or_doubled(data: bytearray, draw: random.Random) -> bytearray:
    return data[: draw.randrange(len(data))] + data[draw.randrange(len(data)) :]


BYTES: Sequence[Callable[[bytearray, random.Random], bytearray]] = (
    *(flipped, flipped, with_another_head, cut, with_a_huge_number, with_an_insertion, with_a_part_missing_or_doubled),
)

# mutations that keep a structure

ODD: Sequence[Any] = (
    None, True, -1, 0, 1, 7, 3.5, 1e-300, 1e308, -1e308, 2**31, 10**30, -(10**400), float("nan"), float("inf"), "",
    "x" * 70_000, "\ud800", "../../x", "/etc/passwd", "\x1b[31m\u202ered", "a\nb", "::error::x", "9" * 6000,
    "~nobody/x", [], {}, [[]], [None], [{}], [1, "a"], {"": ""}, {"a": [1]}, DEEP, "١", "\0",
)  # fmt: skip
"""Values of other types than those expected, and at the limits of some."""


def other_json(value: Any, draw: random.Random) -> Any:
    """Change one node of a JSON value."""
    places = list(_places(value))
    if not places:
        return draw.choice(ODD)
    holder, key = draw.choice(places)
    action = draw.randrange(6)
    if action == 0:
        del holder[key]
    elif action == 1 and isinstance(holder, dict):
        holder[str(draw.choice(ODD))[:300]] = holder.pop(key)
    elif action == 1:
        holder.insert(draw.randrange(len(holder) + 1), holder[key])
    elif action == 2:
        holder[key] = draw.choice(([holder[key]], {"x": holder[key]}, str(holder[key])))
    else:
        holder[key] = draw.choice(_alike(holder[key]) if action > 3 else ODD)
    return value


def _alike(value: Any) -> Sequence[Any]:
    """Return odd values of a value's own type, which a check of types lets through."""
    number = isinstance(value, int | float)
    if isinstance(value, list) and value:
        return [[], value[:1], value[::-1], value + value, value[1:]]
    return [odd for odd in ODD if isinstance(odd, int | float if number else type(value))] or ODD


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def mutated_json(data: bytes, draw: random.Random) -> bytes:
    value = json.loads(data)
    for _ in range(draw.choice((1, 1, 3))):
        value = other_json(value, draw)
    text = json.dumps(value).replace(f'"{DEEP}"', "[" * 90_000 + "]" * 90_000)
    if draw.randrange(12) == 0 and isinstance(value, dict) and value:  # a key twice
        text = text[:-1] + ", " + json.dumps(draw.choice(list(value))) + ": " + draw.choice(("1", '"x"', "{}")) + "}"
    return text.encode()


TOKENS = (
    "", "-1", "5", "1e400", "nan", "true", '""', "[]", "{}", "[[1]]", '"' + "x" * 70_000 + '"', "9" * 6000, "[" * 3000,
    '"~nobody/x"', '"\\u0000"', '"\\u001b[31m"', "1979-05-27", '"a', "'", ",", '",', "\t", "a,b,c,d,e", '"/nowhere"',
    '"' + "y" * 300 + '"', "٣", "../..", "x" * 140_000, "::error::x", "\x00", "=1+1",
)  # fmt: skip


def mutated_lines(data: bytes, draw: random.Random, separator: str) -> bytes:
    lines = data.decode().splitlines()
    for _ in range(draw.choice((1, 1, 3))):
        at = draw.randrange(len(lines))
        head, sign, _ = lines[at].partition(separator)
        cells = lines[at].split(separator)
        cells[draw.randrange(len(cells))] = draw.choice(TOKENS)
        lines[at : at + 1] = draw.choice(
            ([f"{head}{sign}{draw.choice(TOKENS)}"], [separator.join(cells)], [lines[at]] * 2, [], [lines[at], *lines])
        )
        lines = lines or [""]
    return draw.choice(("\n", "\n", "\r\n", "\r")).join(lines).encode()


def mutated_zip(data: bytes, draw: random.Random) -> bytes:
    """Change what is in a zip, whose checksums are right all the same."""
    out = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        chosen = draw.choice(old.namelist())
        for name in old.namelist():
            content = bytearray(old.read(name))
            if name == chosen and content:
                content = draw.choice(BYTES)(content, draw)
            if not (name == chosen and draw.randrange(8) == 0):
                new.writestr(name, bytes(content))
    return out.getvalue()


def mutated_safetensors(data: bytes, draw: random.Random) -> bytes:
    size = int.from_bytes(data[:8], "little")
    head = mutated_json(data[8 : 8 + size], draw)
    return len(head).to_bytes(8, "little") + head + data[8 + size :]


STRUCTURED: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "json": mutated_json,
    "toml": lambda data, draw: mutated_lines(data, draw, "="),
    "csv": lambda data, draw: mutated_lines(data, draw, ","),
    "zip": mutated_zip,
    "safetensors": mutated_safetensors,
}


def mutated(data: bytes, form: str, draw: random.Random) -> bytes:
    """Return a file changed at random; of a structured one, often so that the structure remains."""
    if form and draw.randrange(3):
        return STRUCTURED[form](data, draw)
    return bytes(draw.choice(BYTES)(bytearray(data), draw))


# reading them


def read_cases(cases: Sequence[Case], connection: Any, scratch: Path) -> None:
    """Read cases one after the other, within the limits, and send what became of each."""
    import mutate_files

    _settle(scratch)
    made: dict[str, tuple[Path, Path]] = {}
    for case in cases:
        connection.send(case)
        kind = mutate_files.KINDS[case.kind]
        if case.kind not in made:
            made[case.kind] = _make(kind, scratch / f"whole {len(made)}")
        folder, file = made[case.kind]
        connection.send(_read(case, kind, folder, file, scratch / "work"))


def _settle(scratch: Path) -> None:
    import torch

    torch.set_num_threads(1)
    names = {"CVBENCH_CACHE": "cache", "HF_HOME": "hf", "TORCH_HOME": "torch"}
    os.environ.update({name: str(scratch / "work" / place) for name, place in names.items()})
    os.environ.update(CVBENCH_DEBUG="1", HF_HUB_OFFLINE="1")
    os.environ.pop("GITHUB_STEP_SUMMARY", None)
    sizes = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    # of memory that is really there: JavaScript, which draws charts, reserves addresses by the terabyte
    limit = int(sizes["VmData"].split()[0]) * 1024 + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _make(kind: Any, folder: Path) -> tuple[Path, Path]:
    """Make a file with all that goes with it, in the place where it is read; keep it whole in `folder`."""
    work = folder.parent / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    os.chdir(work)
    file = kind.make(work)
    shutil.copytree(work, folder, symlinks=True)
    return folder, file.relative_to(work)


def _read(case: Case, kind: Any, folder: Path, file: Path, work: Path) -> Result:
    import mutate_files

    os.chdir(work.parent)
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(folder, work)
    os.chdir(work)
    draw = random.Random(case.seed)
    content = mutated((work / file).read_bytes(), kind.form, draw)
    (work / file).unlink()
    (work / file).write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        result = Result(case, mutate_files.outcome(kind, work / file, draw.choice(kind.readers)))
    except mutate_files.Finding as finding:
        return Result(case, "found", str(finding))
    except (Exception, SystemExit) as error:
        places = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
        return Result(case, "found", f"{type(error).__name__}: {str(error)[:150]} at {' '.join(places[-4:])}")
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return Result(case, "found", f"{grown / GIB:.1f} GiB of memory") if grown > MEMORY else result


def watch(cases: Sequence[Case]) -> Iterator[Result]:
    """Yield what becomes of cases; a process that hangs or dies is replaced after the case that it was at."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    left = list(cases)
    while left:
        ours, theirs = context.Pipe()
        with tempfile.TemporaryDirectory(prefix="mutate-") as scratch:
            process = context.Process(target=read_cases, args=(left, theirs, Path(scratch)))
            process.start()
            theirs.close()
            done = yield from _results(ours, left)
            process.kill()
            process.join()
        left = left[done:]


def _results(connection: Any, cases: Sequence[Case]) -> Any:
    """Yield results until all are there or one is late; return how many cases are dealt with."""
    done, patience = 0, 120.0  # a process that starts imports a good deal
    while done < len(cases):
        try:
            if not connection.poll(patience):
                yield Result(cases[done], "found", f"no end within {PATIENCE:g} s")
                return done + 1
            message = connection.recv()
        except (EOFError, ConnectionError):
            yield Result(cases[done], "found", "the process died")
            return done + 1
        patience = PATIENCE
        if isinstance(message, Result):
            yield message
            done += 1
    return done


def cases_of(count: int, seed: int, kinds: Sequence[str]) -> list[Case]:
    """Return cases, the kinds in turn."""
    return [Case(kinds[i % len(kinds)], f"{kinds[i % len(kinds)]} {seed} {i // len(kinds)}") for i in range(count)]


def run(count: int, seed: int, kinds: Sequence[str], workers: int = 2) -> list[Result]:
    """Mutate and read `count` files in `workers` processes."""
    cases = sorted(cases_of(count, seed, kinds), key=lambda case: kinds.index(case.kind) % workers)
    cut_at = sum(kinds.index(case.kind) % workers == 0 for case in cases) if workers == 2 else len(cases)
    with ThreadPoolExecutor(workers) as pool:
        return [r for part in pool.map(lambda c: list(watch(c)), (cases[:cut_at], cases[cut_at:])) for r in part]


def table(results: Sequence[Result]) -> str:
    """Return a line a kind, and one a finding."""
    counts = Counter((r.case.kind, r.outcome) for r in results)
    lines = [f"{'kind':20} {'cases':>6} {'read':>6} {'refused':>8} {'found':>6}"]
    for kind in [*dict.fromkeys(r.case.kind for r in results), ""]:
        row = [sum(n for (k, o), n in counts.items() if kind in ("", k) and o in outcomes)
               for outcomes in (("read", "refused", "found"), ("read",), ("refused",), ("found",))]  # fmt: skip
        lines.append(f"{kind or 'all':20} {row[0]:6} {row[1]:6} {row[2]:8} {row[3]:6}")
    found = [f"{r.case.seed}: {r.what}" for r in results if r.outcome == "found"]
    return "\n".join([*lines, *([""] if found else []), *found])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 1 when something was found."""
    import mutate_files

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("count", nargs="?", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(mutate_files.KINDS))
    given = parser.parse_args(arguments)
    results = run(given.count, given.seed, given.kinds.split(","))
    print(table(results))
    return int(any(r.outcome == "found" for r in results))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    import mutate  # so that the processes find what this one hands them

    sys.exit(mutate.main())
