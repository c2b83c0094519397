"""Published numbers: listed, beside a run's table, and as the verdict of a reproduction."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import record, scene
from PIL import Image

from cvbench.cli import run_program
from cvbench.commands import reproduce
from cvbench.core import published as published_data
from cvbench.core.errors import UnknownName
from cvbench.core.protocol import PROTOCOLS
from cvbench.core.published import Published, find, published
from cvbench.core.records import Failure, RunRecord, Score
from cvbench.metrics import ALIASES, METRICS, resolve
from cvbench.store import write_record
from cvbench.tables import Beside, beside
from cvbench.tables.table import signed

NOT_OURS = ("gfid of SiT-XL", "gfid of SiT-B", "ifid", "fid", "clip", "pic", "fvd", "kvd", "frame_consistency",
            "text_alignment")  # fmt: skip


def test_every_published_score_is_of_a_known_protocol_and_says_where_it_stands() -> None:
    assert len(published()) > 80
    for score in published():
        assert score.protocol in PROTOCOLS
        assert score.source
        assert score.cells
        assert all(name in METRICS or name in ALIASES or name in NOT_OURS for name in score.cells), score
    (cell,) = find("dcae-2410", "dc-ae-f64c128")
    assert (cell.value("rfid"), cell.value("psnr"), cell.n) == (0.2168, 26.149, 50000)
    assert [s.cells["psnr"] for s in find("wfvae-2411", "cvvae")] == ["30.76", "30.18"]
    assert [s.cells["psnr"] for s in find("cvvae-2405", "cvvae", "webvid-val")] == ["28.5"]


def test_a_list_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["list", "published", "vidtok-kl16"]) == 0
    shown = capsys.readouterr().out
    assert "psnr=35.13" in shown
    assert "cvvae" not in shown
    assert run_program(["list", "published", "nobody"]) == 2
    assert "published scores" in capsys.readouterr().err


THEIRS = Published("m", "wfvae-2411", "d", "a paper", 10, "", {"psnr": "30.0", "ssim": "0.9"})


@pytest.mark.parametrize(("value", "low", "high", "word"), [
    (30.2, 29.8, 30.6, "agrees"), (30.2, 30.02, 30.6, "agrees"), (30.2, 30.06, 30.6, "differs"),
    (30.06, None, None, "agrees"), (30.08, None, None, "differs"),
])  # fmt: skip
def test_numbers_agree_within_rounding_and_what_n_allows(
    value: float, low: float | None, high: float | None, word: str
) -> None:
    made = record()
    score = Score(value, low, high, 10, made.scores["psnr"].signature)
    assert reproduce.verdict(replace(made, scores={"psnr": score}), THEIRS, "psnr")[-1] == word
    assert reproduce.verdict(replace(made, scores={"psnr": score}), THEIRS, "ssim")[-1] == "not measured"


def ours(**changes: object) -> RunRecord:
    """Return a record of cvvae on webvid-val under WF-VAE's protocol."""
    made = replace(record("cvvae", "webvid-val"), protocol=PROTOCOLS["wfvae-2411"])
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_published_score_stands_in_the_cell_of_the_same_protocol_and_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ours()
    theirs = replace(THEIRS, model="cvvae", data="webvid-val", n=len(made.samples), open="the order")
    for module in (published_data, beside):
        monkeypatch.setattr(module, "published", lambda: [theirs])
    write_record(tmp_path, made)
    measured = made.scores["psnr"].value
    shown = {}
    for form in ("md", "csv", "html", "latex", "json"):
        assert run_program(["table", str(tmp_path), "--published", "--format", form]) == 0
        shown[form] = capsys.readouterr().out
    aside = f"(30.0; {signed(measured - 30, 1)})"
    assert all(aside in shown[form] for form in ("md", "html"))
    assert "a paper, n = " in shown["md"]
    assert "left open: the order" in shown["md"]
    (line,) = csv.DictReader(io.StringIO(shown["csv"]))
    assert (line["PSNR published"], float(line["PSNR difference"])) == ("30.0", pytest.approx(measured - 30))
    assert run_program(["report", str(tmp_path), "--published"]) == 0
    assert aside in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert run_program(["report", str(tmp_path)]) == 0
    assert "(30.0" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert Beside().cell(made, "psnr") == "30.0"
    for other, word in (
        (ours(protocol=PROTOCOLS["vidtok-2412"]), ""), (ours(data=replace(made.data, name="clips")), ""),
        (ours(protocol=replace(made.protocol, through="none")), ""), (ours(samples=made.samples[1:]), "samples, not"),
        (ours(model=replace(made.model, init="random")), "untrained"),
        (ours(failures=[Failure("x", "gone")]), "1 samples failed"),
    ):  # fmt: skip
        assert Beside().cell(other, "psnr") == Beside("wfvae-2411").cell(other, "psnr") == ""
        assert word in " ".join(Beside().remarks([other]))


def test_what_stands_beside_nothing_says_why() -> None:
    assert "psnr 30.76" in Beside("wfvae-2411").remarks([ours()])[1]
    (_, line) = Beside("wfvae-2411").remarks([ours(protocol=replace(ours().protocol, through="none"))])
    assert "through differ" in line
    assert "30.76" not in line
    (line,) = Beside("wfvae-2411").remarks([ours(data=replace(ours().data, name="clips"))])
    assert line.startswith("nothing is published")
    with pytest.raises(UnknownName, match="wfvae-2411"):
        Beside("wfvae-2412").remarks([ours()])


TARGETS = {
    "cvvae": "vidtok-2412 wfvae-2411 osp-1.2 cvvae-2405", "sd-vae-ft-mse": "osp-1.2 wfvae-2411",
    "svd": "osp-1.2 wfvae-2411", "vae-osp-1.1": "osp-1.2 opensora-1.2",
    "vae-osp-1.2": "osp-1.2 osp-1.3 wfvae-2411 vidtok-2412", "allegro": "wfvae-2411",
    "cogvideox": "wfvae-2411 vidtok-2412 tokenbench-2501", "wf-vae": "wfvae-2411", "cosmos": "tokenbench-2501",
    "vidtok-kl16": "vidtok-2412", "vidtok-fsq": "vidtok-2412", "leanvae-4": "leanvae-2503",
    "leanvae-16": "leanvae-2503", "dc-ae-f64c128": "dcae-2410", "vae-sd3": "ifid-2603 cvvae-2405",
    "flux1": "ifid-2603", "qwen-image": "ifid-2603",
}  # fmt: skip
"""The protocols under which scores are published, by model."""


@pytest.mark.parametrize("model", TARGETS)
def test_every_target_can_be_asked_for(model: str) -> None:
    assert {score.protocol for score in published() if score.model == model} == set(TARGETS[model].split())
    for score in published():
        if score.model == model:
            assert score in reproduce.wanted(score.protocol, [], [score.data])
            assert {s.model for s in reproduce.wanted(score.protocol, [model], [score.data])} == {model}
            asked = reproduce.metrics_of([score])
            own = resolve(asked, PROTOCOLS[score.protocol])  # or it raises
            assert len(own) == (0 if score.protocol == "ifid-2603" else len(score.cells))
            assert all(0 < score.half(name) <= 0.5 for name in score.cells)
            assert reproduce.label(f"{score.data}=/somewhere") == score.data


def test_the_last_digit_says_how_a_number_was_rounded() -> None:
    (cell,) = find("vidtok-2412", "cogvideox", "mcl-jcv")
    assert (cell.cells["ssim"], cell.half("ssim")) == ("0.930", 0.0005)


def test_what_cvbench_has_no_measure_for_needs_no_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run_program(["reproduce", "ifid-2603", "--data", f"imagenet-val={tmp_path}"]) == 3
    shown = capsys.readouterr().out
    assert "37.13" in shown
    assert "not measured" in shown
    for words, says in (
        (["ifid-2603", "--data", str(tmp_path)], "vae-sd3 on imagenet-val"),
        (["ifid-2603", "--models", "cvvae", "--data", f"imagenet-val={tmp_path}"], "flux1 on imagenet-val"),
        (["cvbench-1", "--data", str(tmp_path)], "nothing is published"), (["ifid-2604", "--data", "x"], "ifid-2603"),
    ):  # fmt: skip
        assert run_program(["reproduce", *words]) == 2
        assert says in capsys.readouterr().err


@pytest.fixture
def reproduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Reproduces 80 dB, published of three pictures, on three."""
    for k in range(3):
        Image.fromarray(scene(1, 48, 64, k)[:, 0].transpose(1, 2, 0)).save(tmp_path / f"{k}.png")

    def reproduce_them(*words: str, psnr: float = 80.0, n: int = 3) -> int:
        stated = Published("pool-8x8", "dcae-2410", "pics", "a paper", n, "much", {"psnr": str(psnr)})
        monkeypatch.setattr(reproduce, "find", lambda base, model="", data="": [stated] if base == "dcae-2410" else [])
        said = ["reproduce", "dcae-2410", "--models", "pool-8x8", "--data", f"pics={tmp_path}", *words]
        return run_program(said)

    return reproduce_them


def test_a_reproduction_that_does_not_agree_exits_1(
    reproduced: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduced() == 1
    shown = capsys.readouterr().out
    assert "differs" in shown
    ours = float(next(line for line in shown.splitlines() if "psnr" in line).split()[3].strip("|"))
    assert reproduced(psnr=round(ours, 1)) == 0
    assert reproduced(n=0) == 1  # nobody says how many
    assert run_program(["reproduce", "cvbench-1", "--data", str(tmp_path)]) == 2


@pytest.mark.parametrize(("words", "n", "why"), [
    (["--set", "size=64"], 3, "size differ from dcae-2410"), (["--limit", "2"], 2, "--limit 2"),
    ([], 50000, "3 samples, not their 50000"), (["--set", "psnr_mean=set"], 3, "psnr_mean differ"),
])  # fmt: skip
def test_what_was_not_measured_as_theirs_has_no_verdict(
    words: list[str], n: int, why: str, reproduced: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for psnr in (80.0, 20.0):
        assert reproduced(*words, psnr=psnr, n=n) == 3
        shown = capsys.readouterr()
        assert "no verdict" in shown.out
        assert why in shown.err
        assert "agrees" not in shown.out
        assert "differs" not in shown.out


def test_a_sample_that_failed_leaves_no_verdict(
    reproduced: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "3.png").write_bytes(b"no picture")
    assert reproduced() == 3
    assert "1 samples failed" in capsys.readouterr().err
