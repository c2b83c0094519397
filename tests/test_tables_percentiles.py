"""Percentiles of samples, by hand."""

import csv
import io

import numpy as np
import pytest
from conftest import scored

from cvbench import tables
from cvbench.core.errors import UsageError
from cvbench.core.records import RunRecord
from cvbench.tables.percentiles import checked


def columns(records: list[RunRecord], *names: str) -> dict[str, list[str]]:
    table = tables.lay_out(records, percentiles=checked(names))
    return {c.key: [row[i].text for row in table.rows] for i, c in enumerate(table.columns)}


def test_names_are_read_and_others_refused() -> None:
    assert checked(["p5", "worst", "p5", "p99.9", "p100"]) == ("p5", "worst", "p99.9", "p100")
    for name in ("5", "p101", "p-1", "best", "p", "p5 ", "p٥"):
        with pytest.raises(UsageError, match="p5,p95,worst"):
            checked([name])


@pytest.fixture
def made() -> RunRecord:
    return scored({"psnr": [20.0, 30.0, 40.0, 50.0], "lpips-vgg": [0.1, 0.2, 0.3, 0.4]})


def test_they_stand_behind_the_mean_and_worst_goes_by_the_direction(made: RunRecord) -> None:
    found = columns([made], "p5", "p50", "worst")
    names = [name for name in found if name.startswith("psnr")]
    assert names == ["psnr", "psnr-p5", "psnr-p50", "psnr-worst"]
    assert [found[name] for name in names[1:]] == [["21.50"], ["35.00"], ["20.00"]]
    assert found["lpips-vgg-worst"] == ["0.400"]
    assert float(found["psnr-p5"][0]) == pytest.approx(np.percentile([20, 30, 40, 50], 5))


def test_every_format_has_them(made: RunRecord) -> None:
    table = tables.lay_out([made], percentiles=("worst",))
    row = next(csv.DictReader(io.StringIO(tables.to_csv(table))))
    assert row["PSNR worst"] == "20.0"
    assert all("20.00" in tables.FORMATS[form](table) for form in ("md", "html", "latex"))
    chosen = tables.arranged(table, ["psnr-worst"])
    assert [column.label for column in chosen.columns] == ["Model", "PSNR worst ↑"]
