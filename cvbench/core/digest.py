"""The one way in which keys are made of values."""

import hashlib
import json
from json.encoder import encode_basestring as quoted

__all__ = ["canonical", "digest", "quoted", "text_digest"]


def canonical(value: object) -> str:
    """Return `value` in canonical JSON. Raises ValueError for NaN and infinity, TypeError for what JSON lacks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: object) -> str:
    """SHA-256 of `value` in canonical JSON. Raises as `canonical` does."""
    return text_digest(canonical(value))


def text_digest(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
