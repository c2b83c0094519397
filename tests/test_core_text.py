import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvbench.core.text import fitting, legible, one_line, visible

ANY = st.text(st.characters())
STRANGE = "\x00\x07\x1b[31m\x7f\x85\u200e\u202e\u2066\ufeff\u2028\udce9\U000e0041"


@pytest.mark.parametrize("character", "\x00\x07\x1b\x7f\x9b\r\u200b\u200e\u202a\u202e\u2066\ufeff\udce9\U000e0041")
def test_what_a_terminal_would_obey_is_written_out(character: str) -> None:
    shown = visible(f"a{character}b")
    assert character not in shown
    assert shown.isascii()
    assert json.loads(f'"{shown}"') == f"a{character}b"


def test_what_is_only_unusual_stays() -> None:
    text = "日本語 ü é 👩‍🚀 – ✓ a\u200cb\tc\nd"
    assert visible(text) == text


@given(ANY)
def test_one_line_is_one_line_that_utf8_holds(text: str) -> None:
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    assert "\t" not in shown
    assert shown.encode().decode() == shown


@given(ANY, st.sampled_from(["ascii", "latin-1", "cp1252", "utf-8", "cp437", "shift-jis", None, "no such encoding"]))
def test_text_fits_every_encoding(text: str, encoding: str | None) -> None:
    known = "ascii" if encoding == "no such encoding" else encoding or "utf-8"
    fitted = fitting(text, encoding)
    assert fitted.encode(known).decode(known) == fitted
    if text.isascii():
        assert fitted == text


def test_signs_of_ours_have_stand_ins() -> None:
    assert fitting("PSNR ↑ – 25 → 97 ✓", "ascii") == "PSNR ^ - 25 -> 97 yes"
    assert fitting("é – ↑", "latin-1") == "é - ^"


@given(ANY)
def test_json_stays_the_same_json(text: str) -> None:
    written = json.dumps({"name": text}, ensure_ascii=False)
    assert json.loads(visible(written)) == {"name": text}


def test_every_text_of_a_value_is_made_legible() -> None:
    assert legible({"a\n": [STRANGE, 1, None, ("\x1b",)]}) == {"a\n": [visible(STRANGE), 1, None, ["\\u001b"]]}
