"""Which sample is which: ids of their own, fingerprints that change with the file, names given to folders."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvbench.core.errors import UnreadableSample
from cvbench.core.types import Sample, Sampling
from cvbench.data import Dataset, Item, labelled, open_dataset, read_stable

FIRST = Sampling(1, 1)


def save_picture(file: Path, level: int = 0) -> Path:
    """One flat picture of gray `level`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 24), (level, level, level)).save(file)
    return file


def ids(dataset: Dataset) -> list[str]:
    return [item.id for item in dataset.items]


def levels(dataset: Dataset) -> dict[str, int]:
    """The gray of each sample, by the id that the sample itself bears."""
    samples = [item.read(FIRST) for item in dataset.items]
    return {sample.id: int(sample.pixels.max()) for sample in samples}


# ids


def test_two_names_that_compose_to_one_id_are_two_samples_under_ids_of_their_own(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "späte.png") for form in ("NFC", "NFD"))
    save_picture(tmp_path / composed, 1)
    save_picture(tmp_path / decomposed, 2)
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system takes the two names for one")
    for spec in (str(tmp_path), f"{tmp_path}/*"):
        dataset = open_dataset(spec, {})
        assert levels(dataset) == {"späte.png": 1, "spa\\xcc\\x88te.png": 2}  # a, combining diaeresis, in UTF-8
        assert sorted(ids(dataset)) == sorted(levels(dataset))


def test_names_and_folders_that_are_no_utf8_give_fingerprints_that_are(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        odd.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    save_picture(odd / "a.png").rename(os.fsdecode(os.fsencode(odd) + b"/\xff.png"))
    for k in range(2):
        save_picture(odd / "walk" / f"{k}.png")
    (odd / "gone.png").symlink_to(tmp_path / "nowhere")
    for item in open_dataset(str(odd), {}).items:
        assert "caf\\xe9" in item.fingerprint.encode().decode()
    assert open_dataset(str(odd), {}).name == "caf\\xe9"
    (broken := Path(os.fsdecode(os.fsencode(odd) + b"/\xfe.png"))).write_bytes(b"broken")
    with pytest.raises(UnreadableSample, match=r"^\\xfe\.png: is no picture"):
        open_dataset(str(broken), {}).items[0].read(FIRST)


def test_a_name_that_looks_like_another_s_escaped_one_keeps_an_id_of_its_own(tmp_path: Path) -> None:
    try:
        save_picture(tmp_path / "a.png", 1).rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    save_picture(tmp_path / "\\xff.png", 2)
    dataset = open_dataset(str(tmp_path), {})
    assert len(set(ids(dataset))) == 2
    assert sorted(levels(dataset).values()) == [1, 2]


def test_folders_of_frames_whose_names_compose_to_one_id_stay_two(tmp_path: Path) -> None:
    for level, form in enumerate(("NFC", "NFD")):
        for k in range(2):
            save_picture(tmp_path / unicodedata.normalize(form, "gü") / f"{k:03}.png", level)
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system takes the two names for one")
    assert levels(open_dataset(str(tmp_path), {})) == {"gü": 0, "gu\\xcc\\x88": 1}


# fingerprints


def test_a_file_replaced_by_another_of_its_size_and_time_has_another_fingerprint(tmp_path: Path) -> None:
    frames = [save_picture(tmp_path / "set" / "walk" / f"{k:05}.bmp", 1) for k in range(3)]
    still = save_picture(tmp_path / "set" / "a.bmp", 1)
    for path in (*frames, still):
        os.utime(path, ns=(0, 1))
    before = [item.fingerprint for item in open_dataset(str(tmp_path / "set"), {}).items]
    for path in (still, frames[1]):
        other = save_picture(tmp_path / "other.bmp", 2)
        os.utime(other, ns=(0, 1))
        assert other.stat().st_size == path.stat().st_size
        other.replace(path)
    after = [item.fingerprint for item in open_dataset(str(tmp_path / "set"), {}).items]
    assert len({*before, *after}) == 4


def test_a_file_rewritten_in_place_with_its_time_put_back_has_another_fingerprint(tmp_path: Path) -> None:
    file = save_picture(tmp_path / "a.bmp", 1)
    item = open_dataset(str(file), {}).items[0]
    before, seen = item.fingerprint, file.stat()
    while file.stat().st_ctime_ns == seen.st_ctime_ns:  # the clock of a file system ticks some hundred times a second
        save_picture(file, 2)
        os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert item.fingerprint != before


def test_what_was_replaced_since_the_listing_is_read_under_the_stamp_it_has_now(tmp_path: Path) -> None:
    item = open_dataset(str(save_picture(tmp_path / "a.png", 1)), {}).items[0]
    listed = item.fingerprint
    save_picture(tmp_path / "b.png", 2).replace(tmp_path / "a.png")
    sample, fingerprint = read_stable(item, FIRST)
    assert sample.pixels.max() == 2
    assert fingerprint == item.fingerprint != listed


class Restless:
    """A source that is another after each of the first `changes` reads."""

    def __init__(self, changes: int, error: str = "") -> None:
        self.changes, self.error, self.reads = changes, error, 0

    def item(self) -> Item:
        return Item("a", lambda: str(min(self.reads, self.changes)), self.read)

    def read(self, _: Sampling) -> Sample:
        self.reads += 1
        if self.error:
            raise UnreadableSample(self.error)
        return Sample("a", np.full((3, 1, 16, 16), self.reads, np.uint8))


@pytest.mark.parametrize("changes", [0, 1, 2])
def test_a_file_that_changes_while_it_is_read_is_read_again(changes: int) -> None:
    source = Restless(changes)
    sample, fingerprint = read_stable(source.item(), FIRST)
    assert (source.reads, sample.pixels.max(), fingerprint) == (changes + 1, changes + 1, str(changes))


@pytest.mark.parametrize("error", ["", "a: half written"])
def test_a_file_that_never_keeps_still_is_refused_after_three_reads(error: str) -> None:
    source = Restless(99, error)
    with pytest.raises(UnreadableSample, match="a: changes while it is read"):
        read_stable(source.item(), FIRST)
    assert source.reads == 3


def test_a_broken_file_that_keeps_still_is_read_once() -> None:
    source = Restless(0, "a: broken")
    with pytest.raises(UnreadableSample, match="a: broken"):
        read_stable(source.item(), FIRST)
    assert source.reads == 1


# names


def test_any_folder_file_glob_or_data_set_may_be_given_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("a/val/a.png", "b/val/b.png", "x=y/c.png", "deep=1/val/d.png"):
        save_picture(tmp_path / file)
    for spec, name, found in (
        ("mine=a/val", "mine", ["a.png"]),
        ("b/val", "val", ["b.png"]),
        ("two words=b/val/b.png", "two words", ["b.png"]),
        ("x=y", "x=y", ["c.png"]),
        ("deep=1/val", "val", ["d.png"]),
        ("z=x=y", "z", ["c.png"]),
        ("w=a/*", "w", ["val/a.png"]),
    ):
        dataset = open_dataset(spec, {})
        assert (dataset.name, ids(dataset)) == (name, found)
    scenes = open_dataset("mine=sample-images", {})
    assert (scenes.name, len(scenes.items)) == ("mine", 8)


def test_a_name_is_split_off_where_the_whole_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x=y").mkdir()
    assert labelled("mine=a/val") == ("mine", "a/val")
    for spec in ("a/val", "x=y", "./q=r", "davis=a", "=a", ""):
        assert labelled(spec) == ("", spec)
