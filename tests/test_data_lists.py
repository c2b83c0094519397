"""Lists that come with data sets: wrong bytes, wrong types and wrong shapes are named, with the file and the field."""

import json
from pathlib import Path

import pytest
from PIL import Image

from cvbench.core.errors import UsageError
from cvbench.data import open_dataset
from cvbench.data.lists import load_csv, load_text

WEBVID = "results_val.csv"
COCO = "annotations/captions_val2017.json"
MSRVTT = "test_videodatainfo.json"
HEAD = b"videoid,page_dir,name\n"
GOOD = {"videos": [{"video_id": "video1", "split": "test"}]}


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("webvid-val", WEBVID, HEAD + b"1,a,caf\xe9\n", "no UTF-8 text: byte 0xe9 in line 2"),
        ("webvid-val", WEBVID, HEAD.decode().encode("utf-16"), "no UTF-8 text: byte 0xff in line 1"),
        ("webvid-val", WEBVID, HEAD + b"1,a,b\0c\n", "holds NUL characters"),
        ("webvid-val", WEBVID, HEAD + b"1,a," + b"x" * 140000, "after line 1: field larger"),
        ("webvid-val", WEBVID, b"", "no column videoid, page_dir, name"),
        ("coco-val", COCO, b'{"annotations": [{"id": 1}]}', r"annotations\[0\]: image_id is missing or null"),
        ("coco-val", COCO, b'{"annotations": [{"id": "x"}]}', r"annotations\[0\]: id is text \('x'\); .*whole number"),
        ("coco-val", COCO, b'{"annotations": {"a": 1}}', "annotations is an object; it must be a list"),
        ("coco-val", COCO, b'{"annotations": [[1]]}', r"annotations\[0\] is a list; it must be an object"),
        ("coco-val", COCO, b'{"annotations": [{"id": 1, "image_id": 2.5}]}', r"image_id is a number \('2.5'\)"),
        ("coco-val", COCO, b'{"annotations": [{"id": true}]}', "id is true or false"),
        ("coco-val", COCO, b"[" * 100_000, "nested too deeply"),
        ("coco-val", COCO, b'{"a": ' + b"9" * 5000 + b"}", "is no JSON: Exceeds the limit"),
        ("coco-val", COCO, b'{"annotations": "caf\xe9"}', "no UTF-8 text"),
        ("msrvtt", MSRVTT, b'{"videos": [3], "sentences": []}', r"videos\[0\] is a number"),
        ("msrvtt", MSRVTT, json.dumps({**GOOD, "sentences": [{"sen_id": []}]}).encode(), "sen_id is a list"),
        ("msrvtt", MSRVTT, b'{"videos": [{"split": "test"}], "sentences": []}', "video_id is missing"),
        ("davis", "ImageSets/2017/val.txt", b"caf\xe9\n", r"val\.txt is no UTF-8 text"),
    ],
)
def test_a_list_of_wrong_bytes_or_types_is_named_with_the_field(
    tmp_path: Path, name: str, file: str, content: bytes, message: str
) -> None:
    for folder in ("val2017", "JPEGImages/480p", str(Path(file).parent)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 24)).save(tmp_path / "val2017" / "000000000001.jpg")
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        open_dataset(f"{name}={tmp_path}", {})
    assert str(tmp_path / file) in str(caught.value)


def test_a_row_that_names_no_possible_file_is_counted_as_missing(tmp_path: Path) -> None:
    """A folder longer than file systems take, a row without a folder, a row cut short."""
    (tmp_path / WEBVID).write_bytes(HEAD + b"1," + b"a" * 5000 + b",long\n2,,none\n3,p,here\n4\n")
    (tmp_path / "videos/p").mkdir(parents=True)
    (tmp_path / "videos/p/3.mp4").write_bytes(b"clip")
    dataset = open_dataset(f"webvid-val={tmp_path}", {})
    assert ([item.id for item in dataset.items], dataset.note) == (["3"], "1 of 4 clips found")


def test_a_byte_order_mark_is_no_part_of_the_first_column_and_line_ends_within_quotes_stay(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbfpath,prompt\r\na.png,"two\nlines, one \xe2\x80\xa8 field"\r\n')
    assert load_csv(tmp_path / "a.csv", "path") == [{"path": "a.png", "prompt": "two\nlines, one \u2028 field"}]


def test_a_list_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_text(tmp_path)
