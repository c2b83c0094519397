"""Files of prompts, and lists of samples, as people really have them."""

import subprocess
import sys
from pathlib import Path

import pytest

from cvbench.core.errors import UsageError
from cvbench.tasks.scoring.pairs import read_prompts
from cvbench.tasks.scoring.sets import open_csv

WRONG = [
    ("p.csv", "name,prompt\n1,café\n".encode("latin-1"), "line 2: byte 0xe9"),
    ("p.csv", "name,prompt\n1,x\n".encode("utf-16"), "line 1: UTF-16"),
    ("p.csv", b"1,a\n2,b\0c\n", "line 2: holds a NUL"),
    ("p.csv", b'1,a\n2,"' + b"x" * 200_000 + b'"\n', "line 2: field larger"),
    ("p.csv", b'1,a\n2,"unclosed\n3,c\n', "line 3: unexpected end"),
    ("p.csv", b"name;prompt\n1;a fox, running\n2;plain\n", "semicolons"),
    ("p.csv", b"1;a fox, running\n2;plain, too\n", "semicolons"),
    ("p.csv", b"1,a fox, running\n", "line 1: .* 3 columns"),
    ("p.csv", b"1,a\n\n1,b\n", "line 3: p.csv names 1 twice"),
    ("p.csv", "u\u0308,a\n\u00fc,b\n".encode(), "twice"),
    ("p.csv", b"name,prompt\n" + b"x" * 5000, "1 columns"),
    ("p.txt", "café\tx".encode("latin-1"), "line 1: byte 0xe9"),
    ("p.txt", b"a,b\nnothing\n", "line 2: 'nothing' has no name"),
    ("p.json", b"[" * 100_000, "nested too deeply|no JSON"),
    ("p.json", b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested too deeply|write"),
    ("p.json", b'{"a": ' + b"1" * 5000 + b"}", "no JSON"),
    ("p.json", b'{"a": "x", "a": "y"}', "names a twice"),
    ("p.json", b'{"a": "x", "b": null}', "entry 2: 'b', None"),
    ("p.json", b'{"a": {"prompt": "x"}}', "entry 1: 'a'"),
    ("p.json", b'[{"name": "a", "prompt": "x"}, {"name": 2, "prompt": "x"}]', "entry 2: 2, 'x'"),
    ("p.json", b'[{"name": "a", "caption": "x"}]', "entry 1"),
    ("p.json", b"3", "entry 1"),
    ("p.json", b"null", "entry 1"),
    ("p.json", b'"text"', "entry 1"),
    ("p.json", b"", "no JSON"),
    ("p.json", b'{"a": NaN}', "entry 1"),
    ("p.json", b'{"a": "\\ud800"}', "half a character"),
    ("p.json", "{'a': 'é'}".encode("latin-1"), "byte 0xe9"),
    ("p.jsonl", b'{"name": "a", "prompt": "x"}\n{"name": "b"}\n', "line 2: 'b', None"),
    ("p.jsonl", b'{"name": "a", "prompt": "x"}\n{', "line 2 is no JSON"),
]


@pytest.mark.parametrize(("name", "content", "words"), WRONG)
def test_prompts_that_cannot_be_meant_are_refused_with_file_and_place(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=words) as raised:
        read_prompts(tmp_path / name)
    assert name in str(raised.value)
    assert len(str(raised.value)) < 600


def test_a_folder_or_a_file_that_is_not_there_is_no_file_of_prompts(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_prompts(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", '\ufeffname,prompt\r\na,"red, ""round"",\r\nthick"\r\nb, blue \r\n'),
        ("p.jsonl", '{"name": "b", "prompt": "blue"}\r\n\r\n{"prompt": "red, \\"round\\",\\r\\nthick", "name": "a"}\n'),
        ("p.json", '{"b": "blue", "a": "red, \\"round\\",\\r\\nthick"}'),
    ],
)
def test_prompts_keep_quotes_commas_and_line_breaks(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert read_prompts(tmp_path / name) == {"a": 'red, "round",\r\nthick', "b": "blue"}


def test_one_name_with_a_semicolon_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("a;b,x\nc,y\n")
    assert read_prompts(tmp_path / "p.csv") == {"a;b": "x", "c": "y"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"path;prompt\na.png;x\n", "semicolons"),
        ("path,prompt\na.png,é\n".encode("latin-1"), "line 2: byte 0xe9"),
        (b"path\na\0.png\n", "line 2: holds a NUL"),
        (b'path\n"' + b"x" * 200_000 + b'"\n', "line 2: field larger"),
        (b"path\n" + b"x" * 5000 + b"\n", "File name too long"),
        (b"path\n~nobody-of-this-name/a.png\n", "home"),
        (b"path,path\na,b\n", "two columns"),
        (b"path\na.png,b\n", "line 2: 2 cells"),
        (b"path\na.png\n\na.png\n", "line 4: a.png stands there more than once"),
        (b"", "no column path"),
    ],
)
def test_lists_of_samples_that_cannot_be_meant_are_refused_with_file_and_place(
    content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(UsageError, match=words):
        open_csv(tmp_path / "list.csv", "pyav")


def test_the_former_address_still_reads_prompts(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("1,x\n")
    code = "import sys, pathlib; from cvbench.scoring.pairs import read_prompts as read"
    line = [sys.executable, "-c", f"{code}; print(read(pathlib.Path(sys.argv[1])))", str(tmp_path / "p.csv")]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout == "{'1': 'x'}\n"
