"""A slice of the mutations, and that what they look for is found."""

import random
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import mutate
import mutate_files
from mutate_files import KINDS, Finding, outcome

SLICE = ("picture.png", "clip.mkv", "record", "index of pictures", "cache", "cvbench.toml", "table-1.toml",
         "prompts.csv", "coco captions", "torch zip", "safetensors")  # fmt: skip


def test_mutated_files_are_read_or_refused_and_nothing_else_happens() -> None:
    results = mutate.run(33, 7, SLICE, workers=1)
    assert [f"{r.case.seed}: {r.what}" for r in results if r.outcome == "found"] == []
    assert {r.case.kind for r in results} == set(SLICE)
    assert {r.outcome for r in results} == {"read", "refused"}


def test_a_case_is_always_the_same_file() -> None:
    once, again = (mutate.mutated(b'{"a": [1, 2], "b": "c"}', "json", random.Random("x 1")) for _ in range(2))
    assert once == again


@pytest.mark.parametrize("name", ["clip.mkv", "picture.png", "torch zip"])
def test_a_number_from_a_file_whose_checksum_shows_damage_is_found(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    file = kind.make(tmp_path)
    assert outcome(kind, file, kind.readers[0]) == "read"
    whole = file.read_bytes()
    for place in range(len(whole) // 2, len(whole)):  # of a zip, the middle may be a gap that no checksum is of
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        if kind.damaged(file):
            break
    assert kind.damaged(file)
    assert outcome(kind, file, kind.readers[0]) == "refused"
    with pytest.raises(Finding, match="checksum"):
        outcome(kind, file, lambda _: True)


def test_mutations_of_a_zip_leave_its_checksums_right(tmp_path: Path) -> None:
    file = KINDS["torch zip"].make(tmp_path)
    for seed in range(5):
        changed = tmp_path / "changed.pt"
        changed.write_bytes(mutate.mutated_zip(file.read_bytes(), random.Random(seed)))
        assert zipfile.ZipFile(changed).testzip() is None


def test_what_must_not_happen_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # and back
    kind = KINDS["config.json"]
    folder, work = tmp_path / "whole", tmp_path / "work"
    folder.mkdir()
    kind.make(folder)

    def broken(_: Path) -> bool:
        raise KeyError("psnr")

    case = mutate.Case("config.json", "a seed")
    told = mutate._read(case, replace(kind, readers=[broken]), folder, Path("config.json"), work)
    assert (told.outcome, told.what[:16]) == ("found", "KeyError: 'psnr'")
    assert "config.json" in mutate.table([told])
    with pytest.raises(Finding, match="exit code 2"):
        mutate_files.program("frobnicate", allowed=(0,))(work)
