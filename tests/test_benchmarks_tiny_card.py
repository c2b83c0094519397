"""Model cards of the small models, and the table of hashes."""

import ast
import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import record, signature
from safetensors.torch import save_file

from cvbench.core.errors import UsageError
from cvbench.core.protocol import PROTOCOLS
from cvbench.core.records import ModelFacts, RunRecord, Score
from cvbench.engine.subject import Listed, Setting
from cvbench.models import tiny_entries
from cvbench.models.tiny_entries import SHA256, TINY

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import tiny_card
import train_tiny
from tiny_recipes import RECIPES

LOGS = {
    "tiny-image": "step,loss,l1,kl\n1,0.6,0.599700,0.000300\n18000,0.1,0.099700,0.000300\n",
    "tiny-video-both": "step,loss,l1,kl,decoder,encoder\n1,1,1,1,1,1\n2000,0.6,0.1,0.00003,0.2,0.3\n",
    "tiny-video-none": "step,loss,l1,kl,lpips,adversary\n2000,0.6,0.1,0.00003,0.02,0.1\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, log in LOGS.items():
        save_file({"weight": torch.ones(3).half()}, tmp_path / f"{name}.safetensors")
        (tmp_path / f"{name}.csv").write_text(log)
    return tmp_path


def scored(name: str, psnr: float, role: str = "network", key: str = "1" * 64) -> RunRecord:
    scores = {
        "psnr": Score(psnr, psnr - 0.5, psnr + 0.5, 1, signature("psnr", data="sample")),
        "ssim": Score(0.5, 0.45, 0.55, 1, signature("ssim", data="sample")),
        "bpp": Score(1.0, 1.0, 1.0, 1, signature("bpp", data="sample")),
    }
    made = record(data="sample", scores=scores, speed={"encode_fps": 3.0})
    return replace(made, model=ModelFacts(name, key, role))


def measured(folder: Path) -> RunRecord:
    """A record of tiny-image with the weights in `folder`."""
    given = {"tiny-image": folder / "tiny-image.safetensors"}
    facts = Listed("tiny-image", Setting(PROTOCOLS["cvvae-2405"], torch.device("cpu"), given)).facts
    return scored("tiny-image", 21.25, key=facts.digest)


def test_a_card_says_what_the_model_is_and_how_it_was_made(folder: Path) -> None:
    text = tiny_card.card("tiny-image", folder, [])
    for words in (
        "# tiny-image\n",
        "AutoencoderKL) with 8, 16, 24, 24 channels",
        "| compression | 1×8×8, 4 latent channels |",
        "58,160 + 93,483",
        hashlib.sha256((folder / "tiny-image.safetensors").read_bytes()).hexdigest(),
        "Apache-2.0",
        "no photographs, no third-party data",
        "18,000 steps",
        f"Seed {RECIPES['tiny-image'].seed}. Starts at random, but the first four channels",
        "| l1 | of the reconstruction | 1 | 0.0997 |",
        "| 3e-05 | 0.0003 |",
        "LPIPS was not used",
        "No discriminator was used",
        "Not a tokenizer for production",
    ):
        assert words in text
    assert "## Scores" not in text


def test_a_card_names_what_held_the_latents(folder: Path) -> None:
    text = tiny_card.card("tiny-video-both", folder, [])
    for words in (
        "CV-VAE (arXiv 2405.20279), 2D+3D, with 8, 16, 24, 24 channels",
        "| frames | 1 + 4k |",
        "2 × 17 × 32",
        "held by the frozen encoder and decoder of tiny-image, random mapping.",
        "against the frames chosen | 1 | 0.2 |",
        "of the frames chosen | 1 | 0.3 |",
    ):
        assert words in text


def test_a_card_names_the_losses_that_were_used(folder: Path) -> None:
    text = tiny_card.card("tiny-video-none", folder, [])
    for words in ("LPIPS was used. A discriminator was used.", "nothing holds its latent space"):
        assert words in text
    assert "--no-lpips" not in text


def test_a_card_shows_the_models_scores_beside_the_floors(folder: Path) -> None:
    others = [scored("pool-8x8", 20.5, "floor"), scored("jpeg", 30.0, "codec"), scored("tiny-video", 22.0)]
    text = tiny_card.card("tiny-image", folder, [*others, measured(folder)])
    lines = [line for line in text.split("## Scores")[1].splitlines() if line.startswith("|")]
    assert "PSNR" in lines[0]
    assert "SSIM" in lines[0]
    assert "fps" not in lines[0]
    assert [line.split()[1] for line in lines[2:]] == ["tiny-image", "pool-8x8"]
    for number in ("21.25", "20.75", "21.75"):
        assert number in lines[2]
    assert "20.50" in lines[3]
    assert "Signature: `psnr:1, ssim:1 data=sample#1 n=" in text


def test_a_card_is_written_the_same_again(folder: Path) -> None:
    (folder / "a.json").write_text(measured(folder).to_json())
    first = tiny_card.write("tiny-image", folder, [folder / "a.json"]).read_bytes()
    assert tiny_card.write("tiny-image", folder, [folder / "a.json"]).read_bytes() == first
    assert (folder / "tiny-image.md").read_bytes() == first


def test_records_of_other_weights_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"other weights than .*tiny-image\.safetensors: run it again"):
        tiny_card.card("tiny-image", folder, [scored("tiny-image", 21.0)])
    with pytest.raises(UsageError, match="none of the records is of tiny-image: pool-8x8"):
        tiny_card.card("tiny-image", folder, [scored("pool-8x8", 21.0, "floor")])


def test_a_card_needs_weights_and_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train_tiny.py", "--card", "tiny-video", "--into", str(folder)])
    with pytest.raises(SystemExit, match=r"tiny-video\.safetensors is not there: train tiny-video first"):
        train_tiny.main()


def test_hashes_are_entered_into_the_source_of_the_entries(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(tiny_entries.__file__).read_text(encoding="utf-8")
    assert tiny_card.with_hashes(source, SHA256) == source
    (folder / "tiny_entries.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(tiny_entries, "__file__", str(folder / "tiny_entries.py"))
    monkeypatch.setattr(sys, "argv", ["train_tiny.py", "--hashes", "--into", str(folder)])
    train_tiny.main()
    table = (folder / "tiny_entries.py").read_text(encoding="utf-8").split("SHA256: dict[str, str] = ")[1]
    written = ast.literal_eval(table.split("}")[0] + "}")
    digests = {name: hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest() for name in LOGS}
    assert written == digests
    assert list(written) == [name for name in TINY if name in LOGS]


def test_a_source_without_the_table_is_refused() -> None:
    with pytest.raises(UsageError, match="one table SHA256, not 0"):
        tiny_card.with_hashes("SHA = {}", {})


def test_steps_are_those_of_the_log(folder: Path) -> None:
    (folder / "tiny-image.csv").write_text(LOGS["tiny-image"].replace("18000", "50000"))
    assert "50,000 steps" in tiny_card.card("tiny-image", folder, [])
