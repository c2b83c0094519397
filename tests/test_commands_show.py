"""One record on a screen; the cache measured and shrunk; suites of one's own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import record

from cvbench.cli import run_program
from cvbench.commands.run import build_request, command
from cvbench.core.errors import UsageError
from cvbench.core.records import Failure, SampleRecord
from cvbench.core.suites import Suite, load_suite
from cvbench.store import FileStore, cache_root, write_record

LONG = f"weights of lpips-vgg were not found. {'x' * 300}"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    samples = [SampleRecord(f"clip{i}", 2, 8, 8, f"{i:064x}", {}, {"psnr": [20.0 + i, 22.0 + i]}) for i in range(12)]
    full = record("a", samples=samples[::-1], unavailable={"lpips-vgg": LONG}, failures=[Failure("bad", "truncated")])
    for made in (full, record("b"), record("b", "e"), record("c", scores={}, samples=[], error=LONG)):
        write_record(tmp_path, replace(made, model=replace(made.model, spec="my.py:f@x=1")))
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = run_program(["show", *map(str, words)])
    return code, capsys.readouterr().out


def test_a_run_is_a_line_a_record(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = shown(capsys, run)
    assert code == 0
    assert text.splitlines() == [
        "a\td\tp\t12 samples, 1 failed, without lpips-vgg", "b\td\tp\t1 samples", "b\te\tp\t1 samples",
        "c\td\tp\tfailed",
    ]  # fmt: skip


def test_a_record_has_reasons_in_full_and_the_worst_samples_first(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = shown(capsys, run, "--model", "a")
    assert code == 0
    for word in (LONG, "bad: truncated", "my.py:f@x=1", "frames=33", "psnr:1", "30.00 dB [29.00, 31.00] n=1"):
        assert word in text
    places = [text.index(f"clip{i}:") for i in range(8)]
    assert places == sorted(places)
    assert "clip8:" not in text
    assert "clip8:" in shown(capsys, run, "--model", "a", "--all")[1]
    assert shown(capsys, run, "-m", "b", "-d", "e")[1].count("model ") == 1
    assert LONG in shown(capsys, next((run / "records").glob("c--*")))[1]
    assert shown(capsys, run, "-m", "z")[0] == shown(capsys, run, "-d", "z")[0] == 2


def test_the_cache_is_measured_and_shrunk(capsys: pytest.CaptureFixture[str]) -> None:
    store = FileStore(cache_root())
    for i in range(4):
        store.add(f"{i:064x}", {"psnr": np.arange(100.0) + i})
    assert run_program(["cache", "path"]) == run_program(["cache", "size"]) == 0
    path, size = capsys.readouterr().out.splitlines()
    assert path == str(cache_root())
    assert "4 sets of rows" in size
    assert run_program(["cache", "prune", "--older-than", "1d"]) == 0
    assert "0 entries dropped" in capsys.readouterr().out
    assert run_program(["cache", "prune", "--to", "0B"]) == 0
    assert "4 entries dropped" in capsys.readouterr().out
    for wrong in (["--to", "x"], ["--older-than", "30"], ["--to", "-1GB"]):
        assert run_program(["cache", "prune", *wrong]) == 2


def test_a_suite_is_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('models = ["jpeg"]\ndata = ["clips/"]\nmetrics = ["psnr"]\n')
    assert load_suite(str(file)) == Suite("mine", ("jpeg",), ("clips/",), ("psnr",))


def test_a_suite_of_generators_leaves_the_protocol_to_them_or_names_one(tmp_path: Path) -> None:
    file, row = tmp_path / "mine.toml", "gaussian-t2i"
    text = f'task = "generate"\nmakes = "t2i"\nmodels = ["{row}"]\ndata = ["clips/"]\nmetrics = ["psnr"]\n'
    for line, name in (("", "cvbench-gen-1"), ('protocol = "cvvae-t2i-2405"\n', "cvvae-t2i-2405")):
        file.write_text(text + line)
        given = command.make_context("run", ["--suite", str(file), "--set", "seed=3"]).params
        request, _ = build_request(given, load_suite(str(file)), tmp_path)
        assert request.protocol.name == f"{name}+seed=3"
    for text, says in (
        ('models = ["a"]', "missing required field `data`"), ("models = 3", r"Expected `array`"),
        ('modles = ["a"]', "unknown 'modles'"), ("[", "no suite"),
        ('models=[]\ndata=[]\nmetrics=[]\ntask="x"', "one of reconstruct"),
    ):  # fmt: skip
        file.write_text(text)
        with pytest.raises(UsageError, match=says) as refused:
            load_suite(str(file))
        assert str(file) in str(refused.value)
    with pytest.raises(UsageError, match="no suite"):
        load_suite(str(tmp_path / "gone.toml"))


def test_a_suite_of_ones_own_runs(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(f'models = ["pool*"]\ndata = ["{pictures.name}"]\nmetrics = ["psnr"]\n')
    assert run_program(["run", "--suite", "mine.toml", "--set", "size=48", "--set", "frames=2"]) == 0
    assert len(list(Path("reports/mine/records").glob("pool*.json"))) == 2
