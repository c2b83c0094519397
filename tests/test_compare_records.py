from dataclasses import replace

from conftest import record

from cvbench.compare.records import left_over, said
from cvbench.compare.walked import Change, Row, Walked


def test_what_two_records_differ_in_beside_their_protocols_is_the_rest() -> None:
    a, b = record("m", value=31.0), record("other", value=34.0)
    change = Row("geometry", "size=32", {"psnr": Change(32.0, 1.0)}, 2, 2)
    walked = Walked("m", "d", "a", "b", ["psnr"], [Row("", "a", {"psnr": Change(31.0, None)}, 2, 2), change])
    (line,) = left_over(walked, a, b)
    assert line.startswith("PSNR: the records differ by +3.000, the walk by +1.000; the rest, +2.000")
    elsewhere = replace(walked, rows=[Row("", "a", {"psnr": Change(29.0, None)}, 2, 2), change])
    assert "the walk begins at 29.000, and the record of A says 31.000" in left_over(elsewhere, a, b)[1]
    assert left_over(replace(walked, error="gone", rows=[]), a, b) == []
    assert next(words for words in said(a, b) if words.startswith("- ")) == "- model: m → other"
    assert said(a, a)[1] == "- nothing"
