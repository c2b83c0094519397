from dataclasses import replace
from pathlib import Path

import pytest
from conftest import record, signature

from cvbench.core.errors import UsageError
from cvbench.core.records import DataFacts, Failure, ModelFacts, RunRecord, SampleRecord, Score, read_records
from cvbench.store import write_record


def of(names: str, *metrics: str, digest: str = "1", data: str = "d", init: str = "weights") -> RunRecord:
    """A record of one-letter samples, with rows and scores of metrics."""
    samples = [SampleRecord(n, 1, 8, 8, n * 64, {}, {m: [float(ord(n))] for m in metrics}) for n in names]
    scores = {m: Score(1.0, None, None, len(names), signature(m)) for m in metrics}
    facts = ModelFacts("m", digest, init=init)
    return replace(record(), model=facts, data=DataFacts(data, names, len(names)), samples=samples, scores=scores)


def held(folder: Path) -> RunRecord:
    (found,) = read_records([folder])
    return found


def test_a_run_of_fewer_samples_leaves_the_fuller_record_and_says_so(tmp_path: Path) -> None:
    write_record(tmp_path, of("abc", "psnr"))
    word = write_record(tmp_path, of("ab", "psnr")).word
    assert held(tmp_path) == of("abc", "psnr")
    assert "all 3 stays" in word


def test_a_run_that_failed_on_samples_it_scored_before_replaces_the_record(tmp_path: Path) -> None:
    write_record(tmp_path, of("abc", "psnr"))
    failed = replace(of("ab", "psnr"), failures=[Failure("c", "NaN", "BadOutput")])
    assert "superseded" in write_record(tmp_path, failed).word
    assert held(tmp_path) == failed


def test_metrics_of_the_same_samples_add_up(tmp_path: Path) -> None:
    write_record(tmp_path, of("ab", "psnr", "ssim"))
    assert write_record(tmp_path, of("ab", "psnr", "flicker")).word == ""
    found = held(tmp_path)
    assert set(found.scores) == {"psnr", "ssim", "flicker"}
    assert set(found.samples[0].rows) == {"psnr", "ssim", "flicker"}


def test_more_samples_replace_fewer(tmp_path: Path) -> None:
    write_record(tmp_path, of("ab", "psnr"))
    assert write_record(tmp_path, of("abc", "psnr", "ssim")) == (tmp_path / "records" / "m--d--p.json", "")
    assert held(tmp_path) == of("abc", "psnr", "ssim")


@pytest.mark.parametrize("new", [of("ab", "psnr", digest="2"), of("bcd", "psnr"), of("abc", digest="2")])
def test_what_replaces_another_models_or_other_samples_moves_them_aside(new: RunRecord, tmp_path: Path) -> None:
    write_record(tmp_path, of("abc", "psnr"))
    assert "superseded" in write_record(tmp_path, new).word
    assert held(tmp_path) == new
    assert read_records([tmp_path / "records" / "superseded"]) == [of("abc", "psnr")]


def test_a_model_that_no_longer_runs_replaces_its_scores_which_are_moved_aside(tmp_path: Path) -> None:
    write_record(tmp_path, of("abc", "psnr"))
    failed = record(model="m", scores={}, samples=[], error="weights are missing")
    write_record(tmp_path, failed)
    assert held(tmp_path).error == "weights are missing"
    assert read_records([tmp_path / "records" / "superseded"]) == [of("abc", "psnr")]
    write_record(tmp_path, of("abc", "psnr"))
    assert held(tmp_path) == of("abc", "psnr")


def test_an_untrained_model_has_a_place_of_its_own(tmp_path: Path) -> None:
    write_record(tmp_path, of("abc", "psnr"))
    assert write_record(tmp_path, of("abc", "psnr", digest="3", init="random")).word == ""
    assert {r.model.init for r in read_records([tmp_path])} == {"weights", "random"}


def test_another_data_set_of_the_same_name_is_refused(tmp_path: Path) -> None:
    write_record(tmp_path, of("abc", "psnr"), "/a/clips")
    with pytest.raises(UsageError, match="--data NAME=PATH"):
        write_record(tmp_path, of("xyz", "psnr"), "/b/clips")
    assert held(tmp_path) == of("abc", "psnr")


def test_nothing_beside_records_is_taken_for_one(tmp_path: Path) -> None:
    path = write_record(tmp_path, of("abc", "psnr"), "/a/clips").path
    path.with_name("._m--d--p.json").write_bytes(b"\0\5\x16\7")
    assert held(tmp_path) == of("abc", "psnr")
    assert [p.name for p in path.parent.glob("[!.]*.json")] == [path.name]


def test_data_that_changed_where_they_lie_replace_the_old_and_moved_data_are_the_same(tmp_path: Path) -> None:
    write_record(tmp_path, of("abc", "psnr"), "/a/clips")
    assert "other samples" in write_record(tmp_path, of("xyz", "psnr"), "/a/clips").word
    assert write_record(tmp_path, of("xyz", "psnr"), "/moved/clips").word == ""
    assert held(tmp_path) == of("xyz", "psnr")


def test_an_unreadable_record_is_moved_aside(tmp_path: Path) -> None:
    path = write_record(tmp_path, of("abc", "psnr")).path
    path.write_text("{")
    write_record(tmp_path, of("abc", "psnr"))
    assert held(tmp_path) == of("abc", "psnr")
    assert [p.read_text() for p in (path.parent / "superseded").iterdir()] == ["{"]
