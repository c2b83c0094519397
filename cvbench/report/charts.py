"""How charts look and are drawn: by the page itself, and as SVG for the Markdown report.

Vega-Lite through vl-convert: 0.9 MB inlined (Plotly: 4.8 MB), every mark carries an ARIA label, it runs without `eval`
under a content security policy, and the same specification becomes a static SVG without a browser.
"""

import hashlib
import importlib.metadata
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from cvbench.core.text import legible
from cvbench.store import cache_root, write_text

Spec = dict[str, Any]
BLUE, SKY, VERMILION, ORANGE = "#0072B2", "#56B4E9", "#D55E00", "#E69F00"
"""Okabe and Ito's colours, told apart with every kind of colour blindness."""


def theme(dark: bool) -> Spec:
    """Return the Vega configuration of the light or the dark page."""
    ink, faint, grid = ("#e8eaed", "#9aa3ad", "#363c44") if dark else ("#1c2127", "#5c6670", "#dfe3e8")
    page = "#14171b" if dark else "#ffffff"
    strong, other = (SKY, ORANGE) if dark else (BLUE, VERMILION)
    text = {"labelColor": ink, "titleColor": ink, "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"}
    return {
        "background": "transparent",
        "font": "system-ui, sans-serif",
        "view": {"stroke": None},
        "axis": {**text, "gridColor": grid, "domainColor": faint, "tickColor": faint},
        "legend": {**text, "symbolFillColor": faint, "symbolStrokeColor": faint},
        "title": {"color": ink, "fontSize": 12, "fontWeight": "normal"},
        "style": {
            "front": {"color": strong, "size": 90, "opacity": 1},
            "behind": {"color": other, "size": 70, "strokeWidth": 1.5, "opacity": 1},
            "edge": {"color": strong, "strokeWidth": 2, "opacity": 0.6},
            "interval": {"color": faint, "strokeWidth": 1},
            "name": {"color": ink, "fontSize": 11},
            "halo": {"color": page, "stroke": page, "strokeWidth": 4, "strokeJoin": "round", "fontSize": 11},
            "curve": {"color": strong, "strokeWidth": 2},
            "spread": {"color": strong, "fillOpacity": 0.22},
            "span": {"color": faint, "fillOpacity": 0.2},
        },
    }


def sized(spec: Spec, width: int | str, height: int) -> Spec:
    """Return a specification with its size: pixels, or "container" to fill the page's column."""
    return {**spec, "width": width, "height": height, "autosize": {"type": "fit", "contains": "padding"}}


NOTICE = """/*! Vega, Vega-Lite and Vega-Embed: copyright University of Washington Interactive Data Lab and
contributors, BSD-3-Clause, https://vega.github.io */
"""


@lru_cache(maxsize=1)
def library() -> str:
    """Return the charting library as one module that sets `window.vegaEmbed`; it makes no requests.

    Bundled once for each version of vl-convert, which takes longer than all the rest of a report; then from the cache.
    """
    version = importlib.metadata.version("vl-convert-python")
    path = cache_root() / "charts" / f"vega-{version}.js"
    kept = _kept(path)
    if kept is None:
        kept = _bundle()
        with suppress(OSError):  # a cache that cannot be written costs a second
            write_text(path, f"{_seal(kept)}\n{kept}")
    return kept


def _bundle() -> str:
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return NOTICE + bundle.replace("</script", "<\\/script")


def _kept(path: Path) -> str | None:
    """Return the bundle in the cache, None when there is none or it is not as it was written."""
    try:
        seal, _, text = path.read_bytes().decode().partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return text if seal == _seal(text) else None


def _seal(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def svg(spec: Spec, dark: bool) -> str:
    """Draw a specification."""
    import vl_convert

    return vl_convert.vegalite_to_svg(legible(spec), config=theme(dark))
