"""Write docs/zoo.md, the table of all models, from their entries.

python benchmarks/write_zoo_page.py > docs/zoo.md
"""

from cvbench.models import MODELS
from cvbench.models.about import NOT_STATED, licence_of, shares_of, weights_of
from cvbench.models.entry import ModelEntry

HEAD = """# All models

Made from the entries by `python benchmarks/write_zoo_page.py > docs/zoo.md`; `cvbench list models` narrows it down:
`cvbench list models --task video --discrete`, `cvbench list models --compatible-with wan-2.1`,
`cvbench list models --compression 4x8x8 --licence apache --downloaded`.

"shares" is the model whose latents a network takes and gives, raw as its encoder gives them or scaled as its diffusion
model takes them; of a decoder alone also the model that encodes for it. Bits are nominal: 16 a latent value, log2 of
the codebook a token. Weights have a hash or a revision where one is published (`cvbench weights list`).

| model | what | encoder + decoder | t×s×s | latents | frames | bits/px | shares | licence | weights |
|---|---|---|---|---|---|---|---|---|---|
"""


def line(name: str, entry: ModelEntry) -> str:
    """Return a model's line of the table."""
    traits, bits = entry.traits, entry.traits.bits_per_pixel
    parameters = " + ".join(f"{count:,}" for count in entry.params) if entry.params and sum(entry.params) else "–"
    codes = f"{traits.codebook:,} codes" if traits.codebook else f"{traits.channels or '–'}"
    latents = f"{traits.tokens} of {codes}" if traits.tokens else codes
    cells = (
        f"`{name}`", entry.about, parameters, f"{traits.temporal}×{traits.spatial}×{traits.spatial}", latents,
        str(traits.frame_rule), f"{bits:.3g}" if bits else "–", shares_of(entry) or "–",
        licence_of(entry) or NOT_STATED, weights_of(entry),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def page() -> str:
    """Return the page."""
    return HEAD + "\n".join(line(name, entry) for name, entry in MODELS.items()) + "\n"


if __name__ == "__main__":
    print(page(), end="")
