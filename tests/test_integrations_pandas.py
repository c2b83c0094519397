import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import scored
from pandas.testing import assert_frame_equal

import cvbench
from cvbench import tables
from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.records import Failure, RunRecord, SampleRecord
from cvbench.store import write_record


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two models on clips: one has failed on a clip, lacks LPIPS and was timed."""
    rng = np.random.default_rng(0)
    good = scored({"psnr": rng.normal(30, 2, 12).tolist(), "ssim": rng.uniform(0.5, 1, 12).tolist()}, "good")
    poor = scored({"psnr": rng.normal(25, 2, 12).tolist(), "ssim": rng.uniform(0.5, 1, 12).tolist()}, "=poor")
    more = SampleRecord("film", 3, 8, 8, "f" * 64, {"stride": 3}, {"psnr": [20.0, 21.0, 0.1 + 0.2], "ssim": [0.5]})
    poor = dataclasses.replace(
        poor,
        samples=[*poor.samples, more],
        failures=[Failure("broken.mp4", "cut short")],
        unavailable={"lpips-vgg": "no weights"},
        speed={"encode_fps": 10.0, "decode_fps": 5.0, "device": "cpu"},
    )
    for record in (good, poor):
        write_record(tmp_path / "run", record)
    records = cvbench.read_records([tmp_path / "run"])
    (tmp_path / "run" / "table.csv").write_text(tables.to_csv(tables.lay_out(records)))
    (tmp_path / "run" / "samples.csv").write_text(tables.samples_csv(records))
    return tmp_path / "run"


def test_what_it_gives_and_what_pandas_reads_of_the_files_agree_column_by_column(run: Path) -> None:
    results = cvbench.load(run)
    assert_frame_equal(results.table(), pd.read_csv(run / "table.csv"))
    assert_frame_equal(results.samples, pd.read_csv(run / "samples.csv"))
    assert {"PSNR", "SSIM"} <= set(results.table().select_dtypes("number").columns)


def test_scores_are_those_of_the_records(run: Path) -> None:
    results, records = cvbench.load(str(run)), cvbench.read_records([run])
    scores = results.scores.set_index(["model", "metric"])
    for record in records:
        for name, score in record.scores.items():
            row = scores.loc[(record.model.name, name)]
            assert (row["value"], row["n"], row["signature"]) == (score.value, score.n, score.signature.text)
    assert list(results.scores.columns[:9]) == [
        "model", "data", "protocol", "metric", "value", "low", "high", "n", "signature"
    ]  # fmt: skip


def test_samples_are_means_of_frames_to_the_last_bit(run: Path) -> None:
    results = cvbench.load(run)
    film = results.frames[results.frames["sample"] == "film"]
    assert film["psnr"].tolist() == [20.0, 21.0, 0.1 + 0.2]
    assert film["ssim"].isna().all()  # one value for three frames belongs to none of them
    sample = results.samples[results.samples["sample"] == "film"]
    assert sample["psnr"].item() == (20.0 + 21.0 + (0.1 + 0.2)) / 3
    assert results.samples["error"].dropna().tolist() == ["cut short"]


def test_nothing_that_is_missing_is_lost(run: Path) -> None:
    results = cvbench.load(run)
    assert results.missing[["what", "name", "why"]].to_numpy().tolist() == [
        ["metric", "lpips-vgg", "no weights"],
        ["sample", "broken.mp4", "cut short"],
    ]
    assert results.speed[["model", "encode_fps"]].to_numpy().tolist() == [["=poor", 10.0]]


def test_two_models_are_compared_on_their_common_samples(run: Path) -> None:
    found = cvbench.load(run).compare("good", "=poor")
    psnr = found.set_index("metric").loc["psnr"]
    records = {r.model.name: r for r in cvbench.read_records([run])}
    values = [[s.rows["psnr"][0] for s in records[name].samples[:12]] for name in ("good", "=poor")]
    assert psnr["change"] == pytest.approx(np.mean(values[1]) - np.mean(values[0]))
    assert psnr["n"] == 12
    assert psnr["low"] < psnr["change"] < psnr["high"] < 0
    assert any("film" in text for text in found.attrs["unpaired"])
    with pytest.raises(UnknownName, match="good"):
        cvbench.load(run).compare("goof", "=poor")


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no record"):
        cvbench.load(tmp_path)
    with pytest.raises(UsageError, match="name a run"):
        cvbench.load()


def test_views_of_nothing_have_their_columns() -> None:
    from cvbench.integrations.pandas import Results

    nothing = Results([])
    assert list(nothing.frames.columns) == ["model", "data", "protocol", "sample", "frame"]
    assert nothing.scores.empty
    assert nothing.speed.empty
    assert nothing.missing.empty


def many(folder: Path, models: int, clips: int, frames: int) -> None:
    rng = np.random.default_rng(0)
    for m in range(models):
        record = scored({"psnr": [30.0] * clips, "ssim": [0.9] * clips, "lpips-vgg": [0.1] * clips}, f"model{m:02}")
        samples = [
            dataclasses.replace(s, frames=frames, rows={name: rng.random(frames).tolist() for name in s.rows})
            for s in record.samples
        ]
        write_record(folder, dataclasses.replace(record, samples=samples))


@pytest.mark.large
def test_twenty_models_on_a_thousand_clips_load_in_three_seconds(tmp_path: Path) -> None:
    many(tmp_path, 20, 1000, 17)
    program = (
        "import sys, time, cvbench; start = time.process_time(); results = cvbench.load(sys.argv[1]); "
        "print(len(results.samples), len(results.frames), len(results.scores), len(results.table())); "
        "assert time.process_time() - start < 3"
    )
    made = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True, text=True)
    assert made.stdout.split() == ["20000", "340000", "60", "20"]


def test_a_table_imports_no_pandas() -> None:
    program = "import sys, cvbench.commands.table, cvbench.commands.compare; assert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_records_survive_the_way_through_a_frame(run: Path) -> None:
    results = cvbench.load(run)
    assert all(isinstance(record, RunRecord) for record in results.records)
    assert repr(results) == "2 records: 2 models on d"
