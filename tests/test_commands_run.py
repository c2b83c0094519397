from pathlib import Path

import pytest
from test_cli import run

from cvbench.commands.run import default_metrics
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
