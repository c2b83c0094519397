"""What there is, whole or chosen."""

import pytest

from cvbench.cli import run_program
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
