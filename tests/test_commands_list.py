"""What there is, whole or chosen."""

import pytest

from cvbench.cli import run_program
from cvbench.metrics import METRICS
from cvbench.models import MODELS


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[list[str]]:
    assert run_program(["list", *words]) == 0
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()[1:]]


def test_alone_it_tells_what_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys)
    assert [row[0] for row in rows] == [
        "models",
        "generators",
        "data",
        "metrics",
        "suites",
        "protocols",
        "fields",
        "published",
    ]
    assert rows[0][1] == str(len(MODELS))


def test_names_patterns_and_families_choose(capsys: pytest.CaptureFixture[str]) -> None:
    assert [row[0] for row in listed(capsys, "models", "webp", "pool-*")] == ["pool-8x8", "pool-4x8x8", "webp"]
    assert [row[0] for row in listed(capsys, "models", "codecs")] == ["jpeg", "webp", "h264", "hevc", "av1"]
    assert [row[0] for row in listed(capsys, "metrics", "psn*", "ssim")] == ["psnr", "ssim"]
    assert len(listed(capsys, "data")) > 5
    for words in (["models", "nope"], ["data", "nope"], ["metrics", "z*"]):
        assert run_program(["list", *words]) == 2


def test_metrics_say_range_direction_what_must_be_fetched_and_the_cost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = {row[0]: row[2:] for row in listed(capsys, "metrics")}
    assert found["ssim"][:4] == ["-1 … 1", "↑", "–", "no"]
    assert found["vif"][0] == "0 …"
    assert found["psnr"][:3] == ["… 100", "↑", "dB"]
    assert found["cvvdp"][3] == "pip install cvbench[perceptual]"
    assert found["dists"][3] == "vgg16-397923af.pth, weights.pt"
    assert found["pic"][3].endswith("pip install cvbench[pic]")
    measured = [name for name, m in METRICS.items() if m.network != "bpp"]
    assert all(float(found[name][4]) > 0 for name in measured)


def test_the_machine_of_the_costs_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["list", "metrics", "psnr"]) == 0
    assert "100 frames of 256×256 px" in capsys.readouterr().err
