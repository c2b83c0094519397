import re
import shlex
from pathlib import Path

import pytest

from cvbench.cli import cli, run_program

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def test_the_model_of_the_docs_page_runs(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "bring-your-own-model.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page.split("From a training loop")[0], re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("my_vae.py").write_text(code)
    command = ["run", "--models", "my_vae.py:MyVAE", "--data", str(pictures), "--metrics", "psnr", "--set", "size=48"]
    assert run_program([*command, "--out", "out", "--device", "cpu"]) == 0
    assert len([line for line in code.splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_in_the_docs_parses(page: Path) -> None:
    for line in re.findall(r"^(?:\S*/)?cvbench (.+)$", page.read_text(), re.MULTILINE):
        words = shlex.split(line.replace("\\\n", " "), comments=True)
        if words and words[0] in cli.commands and not words[0].startswith("["):
            context = cli.commands[words[0]].make_context(words[0], list(words[1:]), resilient_parsing=True)
            assert context.command.name == words[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
