"""Options: repeated or with commas, refused where they would do nothing."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import click
import pytest
from conftest import scored
from test_core_records import record

from cvbench.cli import cli, run_program
from cvbench.commands import COMMANDS, console
from cvbench.commands.options import count_of, data_names, metric_names, model_names
from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.records import read_records
from cvbench.metrics import METRICS
from cvbench.store import write_record

FAST = ("--set", "frames=2", "--set", "size=48", "--no-speed", "--device", "cpu", "--pictures", "0")


@pytest.mark.parametrize("texts", [[""], [","], ["", " , "]])
def test_a_list_of_nothing_is_refused_and_not_the_default(texts: list[str]) -> None:
    for names, option in ((model_names, "--models"), (metric_names, "--metrics")):
        with pytest.raises(UsageError, match=option):
            names(texts, ["identity"])
    with pytest.raises(UsageError, match="--data"):
        data_names(texts, {})


def test_all_and_patterns_stand_for_metrics_and_data_sets(tmp_path: Path) -> None:
    metrics = metric_names(["all"])
    assert metrics == tuple(name for name, m in METRICS.items() if m.task == "reconstruction")
    assert metric_names(["psnr,lpips-*", "psnr"]) == ("psnr", *(m for m in metrics if m.startswith("lpips-")))
    roots = {"davis": tmp_path, "msrvtt": tmp_path}
    assert data_names(["all"], roots) == ("davis", "msrvtt", "msrvtt-val")
    assert data_names(["sample*,davis"], roots) == ("sample", "sample-images", "sample-clips", "davis")
    assert data_names(["ms*"], roots) == ("msrvtt", "msrvtt-val")
    with pytest.raises(UnknownName, match="no metric is called 'zz"):
        metric_names(["zz*"])
    with pytest.raises(UnknownName, match="data set with a folder"):
        data_names(["all"], {})


def test_a_comma_in_the_name_of_a_file_that_is_there_splits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a,b").mkdir()
    assert data_names(["a,b", "c,d", "x=a,b", "c"], {}) == ("a,b", "c", "d", "x=a,b")


@pytest.mark.parametrize("text", ["²", "٣", "0", "-1", "1.5", "", "1e3", "9" * 5000, "Auto", "１"])
def test_what_is_no_batch_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--batch"):
        count_of("--batch", text)


def test_repeated_models_metrics_and_data_add_up(pictures: Path, tmp_path: Path) -> None:
    other = shutil.copytree(pictures, tmp_path / "other")
    line = ["-m", "identity", "-m", "pool-8x8,jpeg", "--metrics", "psnr", "--metrics", "ssim"]
    line += ["-d", f"{pictures},{other}", "--out", str(tmp_path / "out")]
    assert run_program(["run", *line, *FAST]) == 0
    records = read_records([tmp_path / "out"])
    assert {r.model.name for r in records} == {"identity", "pool-8x8", "jpeg"}
    assert all({"psnr", "ssim"} <= set(r.scores) for r in records)
    assert len({r.data.name for r in records}) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("run --suite compat --speed", "--speed: the suite compat"),
        ("run --suite compat --batch 4", "--batch: the suite compat"),
        ("run --suite compat --pictures 3", "--pictures: the suite compat"),
        ("run --suite compat --pictures 1 --batch 2 --speed", "--speed and --batch and --pictures: "),
        ("run --models ,", "--models names nothing"),
        ("run --metrics ''", "--metrics names nothing"),
        ("score -g X --metrics frame-consistency --prompts p.csv", "--prompts: frame-consistency would not look at it"),
        ("score -g X -r Y --metrics fvd --first-frames X", "--first-frames: fvd would not"),
        ("score -g X -r Y --metrics frame-consistency", "--reference: frame-consistency"),
        ("run --set size=64 --set size=32", "size is both 64 and 32"),
        ("run --set dtype=bf16 --dtype fp16", "dtype is both bf16 and fp16"),
        ("score -g X -r Y --seed 1 --set seed=2", "seed is both 2 and 1"),
        ("run --weights a=x --weights a=y", "a is both x and y"),
        ("score -g X -r Y --metrics fvd --init random --weights i3d=p.csv", "untrained networks"),
        ("table RUN --from RUN", "--from goes with a published table"),
        ("table 5 --intervals", "--intervals and --allow-mixed are about records"),
        ("table 5 --published --allow-mixed", "are about records"),
        ("check RUN --against RUN --speed-reference jpeg", "--tolerance speed="),
        ("interpolate p.csv --model interp-linear --out o --weights rife=p.csv", "which has no weights"),
        ("interpolate p.csv --model rife --out o --weights rief=p.csv", "is called 'rief'; try rife"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    arguments: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.csv").write_text("name,prompt\na,b\n")
    write_record(Path("RUN"), record())
    typed = ["" if word == "''" else word for word in arguments.split()]
    assert run_program(typed) == 2
    assert words in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["RUN", "p.csv"]


def test_an_option_that_asks_for_what_happens_anyway_is_taken(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["run", "--suite", "compat", "-m", "pool-8x8", "-m", "pool-4x8x8", "-d", str(pictures), "--metrics", "psnr"]
    assert run_program([*line, *FAST, "--batch", "auto"]) in (0, 3)


@pytest.mark.parametrize(("long", "short", "least"), [("--out", "-o", 9), ("--quiet", "-q", 7), ("--data", "-d", 3)])
def test_one_option_has_one_short_name(long: str, short: str, least: int) -> None:
    def options(command: click.Command) -> Iterator[click.Parameter]:
        yield from command.params
        for inner in command.commands.values() if isinstance(command, click.Group) else ():
            yield from options(inner)

    commands = [found for name in COMMANDS if (found := cli.get_command(click.Context(cli), name))]
    found = [option.opts for command in commands for option in options(command) if long in option.opts]
    assert len(found) >= least
    assert all(short in names for names in found)


def test_quiet_shows_no_progress_and_may_stand_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "_lines", lambda: nullcontext("lines"))
    explain = cli.get_command(click.Context(cli), "explain")
    assert explain is not None

    def shown(*words: str) -> bool:
        with explain.make_context("explain", ["cvvae-2405", "cvbench-1", *words]), console.progress_bar() as progress:
            return progress == "lines"

    assert (shown(), shown("-q")) == (True, False)
    Path("cvbench.toml").write_text("[defaults.explain]\nquiet = true\n")
    assert not shown()


def test_names_that_hold_what_was_typed_are_near(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["run", "--models", "tiny", "--data", "sample"]) == 2
    assert "try tiny-image, " in capsys.readouterr().err
    assert run_program(["run", "--models", "identity", "--data", "mine=clipz"]) == 2
    assert "no file, folder or data set is called 'clipz'" in capsys.readouterr().err


def git(*words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not on this machine")
def test_a_baseline_is_read_at_a_ref_of_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_record(Path("base"), scored({"psnr": [float(i) for i in range(30, 46)]}))
    git("init", "-q", "-b", "main")
    git("add", "base")
    git("commit", "-qm", "x")
    shutil.move("base", "run")
    assert run_program(["check", "run", "--against", "main:base"]) == 0
    assert run_program(["check", "run", "--against", "base"]) == 2
    for wrong in ("main:bas", "mian:base", "--output=x:base", ":base"):
        capsys.readouterr()
        assert run_program(["check", "run", f"--against={wrong}"]) == 2
        assert "no file or folder" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {".git", "run"}
    assert run_program(["baseline", "show", "run"]) == 0
    assert "37.50" in capsys.readouterr().out
