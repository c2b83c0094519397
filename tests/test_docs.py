import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cvbench import generators
from cvbench.cli import cli, run_program
from cvbench.commands import COMMANDS
from cvbench.core.errors import UsageError
from cvbench.core.protocol import protocol
from cvbench.core.suites import load_suite
from cvbench.data import DATASETS
from cvbench.metrics import ALIASES, METRICS
from cvbench.models import MODELS
from cvbench.models.naming import expanded, split

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FILES = {
    *(".csv", ".json", ".jsonl", ".txt", ".tsv", ".mp4", ".py", ".toml", ".xml", ".html", ".png", ".tex", ".md"),
    ".zip",
}


def test_the_model_of_the_docs_page_runs(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "bring-your-own-model.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page.split("From a training loop")[0], re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("my_vae.py").write_text(code)
    command = ["run", "--models", "my_vae.py:MyVAE", "--data", str(pictures), "--metrics", "psnr", "--set", "size=48"]
    assert run_program([*command, "--out", "out", "--device", "cpu"]) == 0
    assert len([line for line in code.splitlines() if line.strip()]) <= 15


def command_lines(text: str) -> Iterator[list[str]]:
    """Every command line of a page, as the words behind `cvbench`: those in blocks, and those in running text."""
    blocks = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
    for block in blocks.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            yield from invocations(line)
    for span in re.findall(r"`([^`]+)`", blocks.sub("", text)):
        yield from invocations(" ".join(span.split()))


def invocations(line: str) -> Iterator[list[str]]:
    """The calls of the program in a line of a shell: behind variables, pipes, `python -m` and a YAML key too."""
    if not re.search(r"(^|[\s/])cvbench\s", line):
        return
    words = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    words.whitespace_split, words.commenters = True, "#"
    parts: list[list[str]] = [[]]
    for word in words:
        if set(word) <= set("|&;<>()"):
            parts.append([])
        else:
            parts[-1].append(word)
    for part in parts:
        here = [i for i, word in enumerate(part) if word == "cvbench" or word.endswith("/cvbench")]
        if here and all("=" in word or word in RUNNERS or word.endswith(":") for word in part[: here[0]]):
            yield part[here[0] + 1 :]


RUNNERS = {"python", "python3", "-m", "torchrun", "srun", "$", "time", "-", "sbatch", "--wrap"}


def parse(words: list[str]) -> click.Context | None:
    """Parse a command line whole, in the current folder, where the files that it names are made first.

    None for a command that is only named. Raises what a user would see.
    """
    command: click.Command | None = cli
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        command = command.get_command(click.Context(command), name)
        if command is None:
            raise click.UsageError(f"no command {name}")
    if command is None or not rest:
        return None
    for word in rest:
        make(word.rpartition("=")[2] if "=" in word else word)
    context = command.make_context(words[0], rest)
    check_names(context)
    return context


def make(word: str) -> None:
    """Make the file or folder that a word of a command line names."""
    path = Path(word)
    if word.startswith("-") or path.is_absolute() or path.exists() or "*" in word:
        return
    if path.suffix in FILES:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    elif "/" in word or word.isupper() or word in ("baseline",):
        path.mkdir(parents=True, exist_ok=True)


def is_row(spec: str) -> bool:
    """Tell a generator, alone or with a VAE."""
    try:
        return spec.partition("+")[2].partition("@")[0] in ("", *MODELS) and bool(generators.parse(spec))
    except UsageError:
        return False


def check_names(context: click.Context) -> None:
    """Raise UsageError for a name that stands in no registry; words in capitals stand for any."""
    given = context.params
    if "suite" in given and not given["suite"].endswith(".toml"):
        load_suite(given["suite"])
    if given.get("changes") is not None:
        protocol(given.get("protocol") or "cvbench-1", [c for c in given["changes"] if not c.isupper()])
    for name, known in (("models", MODELS), ("metrics", [*METRICS, *ALIASES])):
        for spec in expanded(split(given.get(name) or (), MODELS), MODELS):
            known_row = name == "models" and is_row(spec)
            if not (
                known_row
                or spec.isupper()
                or spec.partition("@")[0] in known
                or re.search(r"\.py:|^hf:|[/=]|:\w+$", spec)
            ):
                raise click.UsageError(f"no {name} {spec}")
    for spec in given.get("data") or ():
        place = spec.partition("=")[2] or spec
        if not (spec.isupper() or spec.partition("=")[0] in DATASETS or Path(place).exists() or "*" in spec):
            raise click.UsageError(f"no data {spec}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_in_the_docs_parses(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    Path("cvbench.toml").write_text("\n".join(re.findall(r"```toml\n(\[defaults\].*?)```", text, re.DOTALL)))
    for words in command_lines(text):
        try:
            parse(words)
        except click.exceptions.Exit:  # --help
            continue
        except Exception as error:
            pytest.fail(f"{page.name}: cvbench {shlex.join(words)}: {error}")


def test_the_pages_hold_command_lines() -> None:
    found = [words for page in PAGES for words in command_lines(page.read_text(encoding="utf-8"))]
    assert len(found) > 40
    assert {"run", "score", "table", "check", "baseline", "compare", "report"} <= {words[0] for words in found}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_in_the_help_parses(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help is not None
    lines = [line.strip() for line in command.help.splitlines() if line.strip().startswith("cvbench ")]
    for words in (words for line in lines for words in invocations(re.split(r"\s{2,}", line)[0])):
        parse(words)
    assert lines


@pytest.mark.parametrize(
    "line",
    [
        "cvbench run --modles identity", "cvbench run --dtype fp8", "cvbench runn", "cvbench run tiny models",
        "cvbench table reports/recon --format docx", "cvbench weights get vae-sd21", "cvbench run --limit none",
        "cvbench score --metrics fvd", "cvbench run --set frmaes=3", "cvbench run --suite reco",
        "A=1 cvbench run --models nosuch | tee x", "cvbench run --metrics psrn", "cvbench run --data coco-vla",
        "run: .venv/bin/cvbench check reports/x", "x && python -m cvbench list model # cvbench list models",
        "cvbench run --protocol cvbench-2 --set size=64", "cvbench baseline save --too x",
    ],
)  # fmt: skip
def test_a_wrong_line_would_be_found(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cvbench.core.errors import UsageError

    monkeypatch.chdir(tmp_path)
    for text in (f"```\n{line}\n```", f"see `{line}`" if "|" not in line and "#" not in line else f"```\n{line}\n```"):
        (words,) = command_lines(text)
        with pytest.raises((click.UsageError, UsageError)):
            parse(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", ["training.md", "python.md"])
def test_every_snippet_of_a_page_runs(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # they read reports/baseline
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), {"__name__": page})


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    monkeypatch.chdir(ROOT / "docs")
    cells = json.loads(Path("data-frames.ipynb").read_text(encoding="utf-8"))["cells"]
    shown: dict[str, object] = {}
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        assert not cell["outputs"], "outputs are made when the site is built"
        exec(compile("".join(cell["source"]), "data-frames.ipynb", "exec"), shown)
    assert len(shown["difference"]) == 3  # type: ignore[arg-type]


def test_the_site_has_every_page() -> None:
    """Building it, without a warning, is a step of `.ci/run`; it executes the notebook, too."""
    listed = set(re.findall(r"[\w-]+\.(?:md|ipynb)", (ROOT / ".ci" / "mkdocs.yml").read_text()))
    assert {page.name for kind in ("*.md", "*.ipynb") for page in (ROOT / "docs").glob(kind)} <= listed
