"""Text of strangers made safe to show: names of files, models and records may hold anything."""

import codecs
import unicodedata
from collections.abc import Mapping
from typing import Any

from cvbench.core.errors import UsageError

STAND_INS = {
    "–": "-", "−": "-", "—": "-", "…": "...", "→": "->", "↑": "^", "↓": "v", "×": "x", "✓": "yes", "±": "+-",
    "·": ".", "•": "*", "σ": "sigma", "‘": "'", "’": "'", "“": '"', "”": '"', "≤": "<=", "≥": ">=",
}  # fmt: skip
"""What stands for a sign of ours where the encoding of an output does not hold it."""
CONTROLS = ("Cc", "Cs", "Zl", "Zp")
"""Kinds of characters that end a line, steer a terminal, or are none."""
TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Characters that turn the direction of what follows, so that a line reads otherwise than it is."""
SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
BREAKS = "\n\t\u2028\u2029"
JOINERS = "\u200c\u200d"
"""Invisible, but part of how words and emoji are written."""


def check_name(name: str) -> None:
    """Raise UsageError for a name that would not be read as it is: with control characters or turned directions."""
    if any(unicodedata.category(sign) in CONTROLS or unicodedata.bidirectional(sign) in TURNS for sign in name):
        raise UsageError(f"the name {name!r} holds control characters; leave them out")


def visible(text: str) -> str:
    """Return text whose control characters, direction marks and lone surrogates are written as JSON escapes.

    Line breaks and tabs stay. So a name can neither move the cursor, colour a terminal, nor turn the order of what
    follows; and what is valid JSON stays so.
    """
    return text if text.isascii() and text.isprintable() else text.translate(SHOWN)


def one_line(text: str) -> str:
    """Return text in one line: as `visible` does, line breaks of every kind and tabs too."""
    return "".join(escaped(c) if c in BREAKS else c for c in visible(text))


def legible(value: Any) -> Any:
    """Return a JSON value with every text and key as `visible` makes it."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(key)): legible(inner) for key, inner in value.items()}
    return [legible(inner) for inner in value] if isinstance(value, list | tuple) else value


class Shown(dict[int, str]):
    """What is shown of each character, found out when it is first met."""

    def __missing__(self, code: int) -> str:
        """Return a character, or its escape where it is not seen."""
        character = chr(code)
        self[code] = escaped(character) if _unseen(character) else character
        return self[code]


SHOWN = Shown()


def _unseen(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cf", "Cs") and character not in "\n\t" + JOINERS


def escaped(character: str) -> str:
    """Return a character as JSON writes it in ASCII."""
    if character in SHORT:
        return SHORT[character]
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def fitting(text: str, encoding: str | None) -> str:
    """Return text that an encoding holds; what it does not hold gets a stand-in of ASCII or a JSON escape."""
    try:
        return text.encode(encoding or "utf-8", ERRORS).decode(encoding or "utf-8")
    except LookupError:  # an encoding that this Python does not have
        return text.encode("ascii", ERRORS).decode("ascii")


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Handle what cannot be encoded, as `codecs.register_error` asks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(STAND_INS.get(c) or escaped(c) for c in lost), error.end


ERRORS = "cvbench"
"""Name of the error handler, for streams."""
codecs.register_error(ERRORS, _replace)
