"""The filters of `cvbench list models`, and the page of all models."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from cvbench.cli import run_program
from cvbench.commands.filters import selected
from cvbench.core.errors import UnknownName, UsageError
from cvbench.models import MODELS

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("given", "among", "not_among"),
    [
        ({"task": "video"}, {"wan-2.1", "taehv", "h264", "svd", "taesdv"}, {"flux1", "identity", "jpeg"}),
        ({"task": "image"}, {"flux1", "jpeg", "titok-l32"}, {"hevc", "av1", "svd"}),
        ({"licence": "not stated"}, {"eq-vae", "turbo-vaed-ltx"}, {"taef2", "identity"}),
        ({"licence": "tencent"}, {"hunyuan-video", "turbo-vaed-hunyuan"}, {"turbo-vaed-ltx"}),
        ({"compatible_with": "vae-sd21"}, {"cvvae", "consistency-decoder", "svd"}, {"vae-vc2", "sdxl-vae"}),
        ({"discrete": True}, {"vqgan", "ibq-16384", "titok-l32"}, {"titok-ll32-vae", "wan-2.1"}),
        ({"compatible_with": "wan-2.1"}, {"wan-2.1", "lightvae-w2.1", "lighttae-w2.1"}, {"wan-2.2", "flux2"}),
        ({"compatible_with": "taef2"}, {"taef2", "flux2", "flux2-small-decoder"}, {"taesd"}),
        ({"compression": "1x32x32"}, {"taesana", "dc-ae-f32c32"}, {"dc-ae-f64c128"}),
        ({"licence": "NVIDIA"}, {"cosmos-dv8x16x16"}, {"taef2"}),
        ({"downloaded": True}, {"identity", "tiny-video"}, {"wan-2.1"}),
        (
            {"task": "image", "discrete": True, "compression": "1x8x8"},
            {"llamagen-ds8"},
            {"llamagen-ds16", "vidtok-fsq"},
        ),
    ],
)
def test_filters_admit_what_they_say(given: dict[str, Any], among: set[str], not_among: set[str]) -> None:
    found = set(selected(given))
    assert among <= found
    assert not not_among & found


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"compatible_with": "wan"}, UnknownName),
        ({"compression": "8x8"}, UsageError),
        ({"compression": "4x8x²"}, UsageError),
        ({"compression": "4x8x16"}, UsageError),
        ({"compression": ""}, UsageError),
        ({"licence": "mitt"}, UsageError),
        ({"licence": ""}, UsageError),
        ({"compatible_with": ""}, UnknownName),
    ],
)
def test_filters_that_name_nothing_are_refused(given: dict[str, Any], error: type[UsageError]) -> None:
    with pytest.raises(error):
        selected(given)


def test_the_command_lists_what_filters_and_names_admit(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["list", "models", "--discrete", "--task", "image", "vqgan*"]) == 0
    assert {line.split("\t")[0] for line in capsys.readouterr().out.splitlines()} == {"model", "vqgan", "vqgan-f16"}
    assert run_program(["list", "data", "--discrete"]) == 2
    assert run_program(["list", "models", "networks", "--task", "video", "--discrete", "--compression", "4x8x8"]) == 0
    names = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert "tats" in names
    assert "tiny-video" not in names
    assert run_program(["list", "models", "identity", "--discrete"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1  # the heading


def test_a_decoder_is_here_only_with_its_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVBENCH_WEIGHTS", str(tmp_path))
    (tmp_path / "turbo-vaed-ltx.pth").write_bytes(b"some")
    assert "turbo-vaed-ltx" not in selected({"downloaded": True})
    (tmp_path / "ltx.safetensors").write_bytes(b"some")
    assert {"turbo-vaed-ltx", "ltx"} <= set(selected({"downloaded": True}))


def test_bases_and_encoders_are_models() -> None:
    for name, entry in MODELS.items():
        assert {entry.base, entry.encoder} <= {"", *MODELS}, name


def test_the_page_of_all_models_is_that_of_the_entries() -> None:
    spec = importlib.util.spec_from_file_location("write_zoo_page", ROOT / "benchmarks" / "write_zoo_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8") == module.page()
