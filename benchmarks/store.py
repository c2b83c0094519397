"""The cache under many writers that are killed: nothing that was written before is lost, mixed or wrong.

    python benchmarks/store.py [--sets 1000000] [--writers 4] [--kills 20]

Each writer adds its share of row sets and facts, and is started again where it is killed, at random moments; it begins
with the first set that the cache lacks. At the end a new process reads every set and compares each number. Printed are
seconds, bytes and files, what was lost (nothing, or the program ends with 1), and the time of a cold and a warm lookup.
"""

import argparse
import hashlib
import multiprocessing
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cvbench.store import FileStore, upkeep

RAN = np.array("a text as long as what stands for an environment is, " * 6)


def key(number: int) -> str:
    return hashlib.sha256(f"set {number}".encode()).hexdigest()


def rows(number: int) -> dict[str, np.ndarray]:
    values = np.array([number, number / 7, -number / 3])
    return {"psnr@1": values, "ssim@1": values[:1], "bpp@2": values[1:2], "environment": RAN}


def write(root: Path, numbers: range) -> None:
    """Add the sets that are not there; those before the first gap are taken to be."""
    store = FileStore(root)
    low, high = 0, len(numbers)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if store.rows(key(numbers[middle])) else (low, middle)
    for number in numbers[low:]:
        store.add(key(number), rows(number))


def run(root: Path, shares: list[range], kills: int, seed: int) -> int:
    """Run the writers, killing them at random; return how many were killed."""
    context, rng, done = multiprocessing.get_context("spawn"), random.Random(seed), 0
    writers = [context.Process(target=write, args=(root, share)) for share in shares]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        time.sleep(rng.uniform(0.5, 1.5) if done < kills else 0.2)
        place = rng.randrange(len(writers))
        if done < kills and writers[place].is_alive():
            writers[place].kill()
            writers[place].join()
            writers[place] = context.Process(target=write, args=(root, shares[place]))
            writers[place].start()
            done += 1
    if any(writer.exitcode for writer in writers):
        raise SystemExit(f"a writer ended with {[writer.exitcode for writer in writers]}")
    return done


def wrong(root: Path, sets: int) -> int:
    """Read every set anew; return how many are not just what was written."""
    store, count = FileStore(root), 0
    for number in range(sets):
        found, meant = store.rows(key(number)), rows(number)
        count += found.keys() != meant.keys() or any(not np.array_equal(found[n], meant[n]) for n in meant)
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("sets", 100_000), ("writers", 4), ("kills", 20), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cvbench-store-") as folder:
        root, sets = Path(folder), asked.sets
        shares = [range(i * sets // asked.writers, (i + 1) * sets // asked.writers) for i in range(asked.writers)]
        begin = time.perf_counter()
        kills = run(root, shares, asked.kills, asked.seed)
        wrote = time.perf_counter() - begin
        size = upkeep.size(root)
        begin = time.perf_counter()
        store = FileStore(root)
        store.rows(key(sets // 2))
        opened = time.perf_counter() - begin
        begin = time.perf_counter()
        lost = wrong(root, sets)
        read = time.perf_counter() - begin
        print(f"{sets:,} row sets by {asked.writers} processes, {kills} killed: {lost} lost or wrong")
        print(f"written in {wrote:.1f} s; opened in {opened:.2f} s; each read in {read / sets * 1e6:.0f} µs")
        print(
            f"{size.bytes:,} bytes ({size.bytes / sets:.0f} a set) in {size.files} files; {size.rows - sets:,} doubled"
        )
        print(f"compacted: {upkeep.compact(root)}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
