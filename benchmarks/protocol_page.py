"""Write docs/protocols.md from the protocols' files and the fields: python benchmarks/protocol_page.py."""

from collections.abc import Iterator
from pathlib import Path

from cvbench.core.fields import as_text, choices, settable
from cvbench.core.protocol import ORIGINS, PROTOCOLS, Origin

PAGE = Path(__file__).parents[1] / "docs" / "protocols.md"
HEAD = """# Protocols

<!-- made by benchmarks/protocol_page.py from benchmarks/protocols/*.toml and cvbench/core/fields.py -->

A protocol is all that changes a number: which frames are read, how they are resized, how the model is fed, how pixels
become bytes, how rows become a score. `cvbench list protocols` and `cvbench list fields` print what stands here; why
two of them give different numbers is on [another page](why-your-number-differs.md).

```
cvbench run --models my_vae.py:build --data clips/ --protocol wfvae-2411
cvbench run --models h264@crf=28 --data clips/ --protocol vidtok-2412 --set size=128
cvbench run --models h264@crf=28 --data clips/ --protocol wfvae-2411+through=none
cvbench explain cvvae-2405 wfvae-2411
```

A protocol of your own is a TOML file: the fields that differ from the defaults, or from a `base`. It goes by its path:

```toml
base = "wfvae-2411"
about = "WF-VAE's, without the file"

[fields]
through = "none"
```

Scores of two protocols never share a column. Where a clip has fewer frames than a protocol with `short=skip` takes, it
is left out and a footnote says how many. `mode`, `fp32` and the rest are as in the paper's protocol wherever a
project's code says nothing else.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *_fields(), *(part for name in ORIGINS for part in _protocol(name, ORIGINS[name]))]) + "\n"


def _fields() -> Iterator[str]:
    yield "## The fields\n"
    yield "In the order of the way of the data. The default is what cvbench's own protocols have always done.\n"
    for f in settable():
        values = ", ".join(f"`{value}`" for value in choices(f))
        at = " and ".join(f.metadata["stages"])
        yield f"- **`{f.name}`** ({at}; {values}; default `{as_text(f.default)}`): {f.metadata['about']}."
    yield ""


def _protocol(name: str, origin: Origin) -> Iterator[str]:
    p = PROTOCOLS[name]
    yield f"## {name}\n"
    source = f"{origin.repository} at {origin.commit} ({', '.join(origin.files)})"
    yield f"{origin.about}. Source: {source}. Data: {origin.data}.\n"
    fields = [f"`{f.name}={as_text(getattr(p, f.name))}`" for f in settable() if getattr(p, f.name) != f.default]
    yield f"Fields: {', '.join(fields)}.\n"
    kinds = (
        ("Said in papers and notes, not in the code", origin.doc), ("Not known", origin.open),
        ("What the script does that nobody meant", origin.faults), ("What no field expresses", origin.beyond),
    )  # fmt: skip
    for title, texts in kinds:
        if texts:
            yield f"{title}:\n"
            yield "\n".join(f"- {text}." for text in texts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
