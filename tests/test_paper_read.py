"""Tables that users write: what is wrong is named with file and field."""

import re
from pathlib import Path

import pytest

from cvbench import paper
from cvbench.cli import run_program
from cvbench.core.errors import UsageError

GOOD = """
source = "a paper"
caption = "Table"
protocol = "cvbench-1"
facts = ["params", "fcr", "comp"]
notes = ["a note"]
[[columns]]
data = "davis"
metric = "psnr"
[[columns]]
data = "davis"
metric = "score"
better = "lower"
digits = 2
label = "Score"
[[rows]]
method = "Ours"
model = "identity"
published = [30.10, 5]
params = [1, 2.5]
fcr = 4
comp = "yes"
[data.davis]
heading = "DAVIS"
samples = 30
[question]
reference = "Ours"
role = "a choice"
data = "davis"
metric = "psnr"
"""


def load(tmp_path: Path, text: str | bytes) -> paper.PaperTable:
    path = tmp_path / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return paper.load_table(str(path))


def test_a_table_keeps_what_it_says(tmp_path: Path) -> None:
    block = load(tmp_path, GOOD).main
    assert block.rows[0].published == ("30.10", "5")
    assert block.rows[0].facts == {"params": "1M + 2.5M", "fcr": "4", "comp": "✓"}
    assert (block.samples, block.columns[0].heading, block.columns[1].info.better) == ({"davis": 30}, "DAVIS", "lower")


CHANGES = [
    ('source = "a paper"', "", "no 'source'"),
    ('source = "a paper"', "source = 3", "source: must be a text, got 3"),
    ('caption = "Table"', "caption = ['x']", "caption: must be a text, got ['x']"),
    ('caption = "Table"', "captoin = 'x'", "no field is called 'captoin'; try caption"),
    ('"cvbench-1"', '"cvbench-2"', "protocol: no protocol is called 'cvbench-2'; try cvbench-1"),
    ('"fcr", "comp"]', '"frc"]', "facts[1]: no fact is called 'frc'; try fcr"),
    ('facts = ["params", "fcr", "comp"]', 'facts = "params"', "facts: must be a list"),
    ('["a note"]', "[1]", "notes[0]: must be a text, got 1"),
    ('metric = "psnr"\n[[columns]]', 'metric = "pnsr"\n[[columns]]', "no metric is called 'pnsr'; try psnr"),
    ('metric = "score"\n', "", "columns[1]: no 'metric'"),
    ('better = "lower"', 'better = "down"', "columns[1].better: must be higher or lower, got 'down'"),
    ("digits = 2", "digits = 2.5", "columns[1].digits: must be a whole number"),
    ("digits = 2", "digits = -1", "columns[1].digits: must be 0 to 12"),
    ("digits = 2", "digits = true", "columns[1].digits: must be a whole number"),
    ('label = "Score"', "label = 1", "columns[1].label: must be a text"),
    ('method = "Ours"', "", "rows[0]: no 'method'"),
    ("published = [30.10, 5]", "publised = [30.10, 5]", "rows[0]: no field is called 'publised'; try published"),
    ("[30.10, 5]", '["a", 5]', "rows[0].published[0]: must be a number, got 'a'"),
    ("[30.10, 5]", "[nan, 5]", "rows[0].published[0]: must be a number"),
    ("[30.10, 5]", "[true, 5]", "rows[0].published[0]: must be a number, got True"),
    ("[30.10, 5]", "30.1", "rows[0].published: must be a list"),
    ("[30.10, 5]", "[30.1]", "Ours has 1 published cells for 2 columns"),
    ("params = [1, 2.5]", "params = 3", "rows[0].params: must be a list"),
    ("params = [1, 2.5]", "params = ['1']", "rows[0].params[0]: must be a number"),
    ('comp = "yes"', "comp = ['yes']", "rows[0].comp: must be a text or a number"),
    ("fcr = 4", "fcr = {a = 1}", "rows[0].fcr: must be a text or a number"),
    ("fcr = 4", "reproducible = 1", "rows[0].reproducible: must be true or false"),
    ("[data.davis]", "[data.dvais]", "data.dvais: no data set of the columns is called 'dvais'; try davis"),
    ("samples = 30", "samples = '30'", "data.davis.samples: must be a whole number"),
    ("samples = 30", "smaples = 30", "data.davis: no field is called 'smaples'; try samples"),
    ('[data.davis]\nheading = "DAVIS"\nsamples = 30', "[data]\ndavis = 30", "data.davis: must be a table"),
    ('reference = "Ours"', 'reference = "Theirs"', "question: it is about a row or column that it does not have"),
    ('role = "a choice"', "", "question: no 'role'"),
    ("[[rows]]", "[rows]", "rows: must be a list"),
    ("[question]", "[small]\n[question]", "small: no 'columns'"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "words"), CHANGES)
def test_what_is_wrong_with_a_table_is_named_by_file_and_field(
    old: str, new: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(UsageError, match=re.escape(words)):
        load(tmp_path, GOOD.replace(old, new))
    assert run_program(["table", str(tmp_path / "mine.toml"), "--published"]) == 2
    assert "mine.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe", b"a = [" * 10_000, b"a = " + b"[" * 100_000, b"a = " + b"9" * 5000, b"caf\xe9 = 1", b"a = 1\0",
        b"a" * 200_000, b"[" + b"a." * 50_000 + b"b]", b"a = 1e99999999999999999999", b"",
        b"source='s'\ncaption='c'\ncolumns=[3]\nrows=[]", b"source='s'\ncaption='c'\ncolumns=[]\nrows=['x']",
    ],
)  # fmt: skip
def test_no_content_of_a_table_is_an_error_of_cvbench(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mine\.toml"):
        load(tmp_path, content)


@pytest.mark.parametrize("name", ["x" * 5000 + ".toml", ".toml", "a/b.toml"])
def test_a_table_that_cannot_be_opened_is_a_message(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["table", name]) == 2
    assert "cannot be read" in capsys.readouterr().err
