from pathlib import Path

import pytest
from test_cli import run

from cvbench.cli import run_program
from cvbench.commands.drawing import request_of
from cvbench.commands.run import default_metrics
from cvbench.core.config import Config
from cvbench.core.protocol import PROTOCOLS, protocol
from cvbench.core.records import RunRecord
from cvbench.core.suites import load_suite


def test_a_run_without_weights_is_whole_and_says_what_it_leaves_out(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = ("--set", "frames=2", "--set", "size=64", "--no-speed", "--pictures", "0", "--device", "cpu")
    out = tmp_path / "out"
    code, text, err = run(capsys, "run", "-m", "jpeg", "-d", str(pictures), "--out", str(out), *frames)
    (record,) = (RunRecord.load(path) for path in (out / "records").glob("*.json"))
    assert (code, list(record.scores)) == (0, ["psnr", "ssim", "xpsnr", "bpp"])
    assert "XPSNR" in text
    assert "lpips-vgg is left out, for vgg16-397923af.pth is not on this machine" in err


def test_lpips_joins_where_its_weights_are(tmp_path: Path) -> None:
    suite, p = load_suite("recon"), protocol("cvvae-2405", ["lpips=alex"])
    (tmp_path / "alex.pth").write_bytes(b"weights, as far as looking for them goes")
    assert default_metrics(suite, PROTOCOLS["cvbench-1"], {})[0] == suite.metrics
    assert default_metrics(suite, p, {"lpips-alex": tmp_path / "alex.pth"}) == ((*suite.metrics, "lpips-alex"), [])


def test_generators_take_the_samples_that_pick_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {
        "protocol": None, "changes": (), "seed": None, "limit": 2, "pick": "hash", "workers": "3", "device": "cpu",
        "weights": (), "prompts": None,
    }  # fmt: skip
    request = request_of(given, ["gaussian-t2i"], ["sample-images"], (), Config(), tmp_path, speed=False)
    assert (request.pick, request.workers) == ("hash", 3)
    (tmp_path / "p.csv").write_text("name,prompt\na,b\n")
    asked = ["run", "--suite", "t2i", "--models", "gaussian-t2i", "--prompts", str(tmp_path / "p.csv")]
    assert run_program([*asked, "--pick", "hash", "--out", str(tmp_path / "o")]) == 2
    assert "--pick is of data sets" in capsys.readouterr().err
