"""The one way in which keys are made of values."""

import hashlib
import json


def digest(value: object) -> str:
    """SHA-256 of `value` in canonical JSON. Raises ValueError for NaN and infinity, TypeError for what JSON lacks."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
