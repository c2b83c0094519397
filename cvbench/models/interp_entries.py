"""Entries of frame interpolation as a codec in time: every `factor`-th frame is kept, the others are interpolated.

Of a clip of 1 + factor · k frames 1 + k are coded as they are, so that interpolation stands beside a video VAE of the
same temporal compression. It is a comparison at equal frames, not at equal bits: the kept pixels count as 3 channels at
full size, at factor 4 that is 16 · 3 / 4 = 12 nominal bits a pixel (6 as the 8-bit pixels they are), against 0.25 of a
4×8×8 VAE with 4 channels.
"""

from dataclasses import replace

from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.types import FrameRule, Traits
from cvbench.models.entry import ModelEntry
from cvbench.weights import Source

FACTOR = 4
HUB = "hzwer/RIFE"
_MODULE = "cvbench.models.interp"


def traits_at(factor: int) -> Traits:
    """Return the traits of keeping every `factor`-th frame. Raises UsageError for a factor below 2."""
    if isinstance(factor, bool) or not isinstance(factor, int) or factor < 2:
        raise UsageError(f"interpolation keeps one frame in `factor`, a whole number from 2 upwards; got {factor!r}")
    return Traits(temporal=factor, spatial=1, channels=3, frame_rule=FrameRule(1, factor))


def _network(about: str, layout: str, source: Source, params: int, *, halves: bool = False) -> ModelEntry:
    return ModelEntry(
        about,
        f"{_MODULE}:Rife",
        traits_at(FACTOR),
        options={"factor": FACTOR},
        config={"layout": layout, "halves": halves},
        source=source,
        params=(0, params),
        licence="MIT",
        compatible="-",
    )


def _floor(about: str, build: str) -> ModelEntry:
    return ModelEntry(about, f"{_MODULE}:{build}", traits_at(FACTOR), "floor", options={"factor": FACTOR})


INTERPOLATION: dict[str, ModelEntry] = {
    "rife": _network(
        "keeps one frame in `factor`; between them RIFE 4.26 (Practical-RIFE)",
        "v4.26",
        Source(
            ("RIFEv4.26_0921.zip",),
            repo=HUB,
            revision="01fdc7e97404120c243c3ea7b427046e5dc7643e",
            sha256="1fa9b9cda3d9b8c3e301359e2595960902f97bf926c08598b0e9957a3f3f760e",
        ),
        5_664_776,
    ),
    "rife-m": _network(
        "keeps one frame in `factor`; between them RIFE_m of ECCV 2022, any timestep",
        "m",
        Source(
            ("RIFE_m_train_log.zip",),
            repo=HUB,
            revision="19b0c859634efaf9dc63d56e7118c8c7bdfa5960",
            sha256="8cb49709fde0d53de8167273986458db1b15ff45b947a042026f1d383c99c8d7",
        ),
        10_073_710,
    ),
    "rife-eccv2022": _network(
        "keeps one frame in `factor`; between them RIFE of ECCV 2022, middles of middles",
        "eccv2022",
        Source(("RIFE_train_log.zip",), repo=HUB),
        10_071_550,
        halves=True,
    ),
    "interp-repeat": _floor("keeps one frame in `factor`, shown until the next: the floor of interpolation", "Repeat"),
    "interp-linear": _floor("keeps one frame in `factor`, cross-fades: the floor of what sees no motion", "Linear"),
}
"""At factor 4; `at_factor` gives the entry at another."""


def at_factor(name: str, factor: int) -> ModelEntry:
    """Return the entry called `name` with the traits and the option of `factor`.

    Raises UnknownName for another name, UsageError for a factor below 2 and, of RIFE of 2022 without timestep, for
    one that is no power of two.
    """
    if name not in INTERPOLATION:
        raise UnknownName("interpolation model", name, INTERPOLATION)
    entry, traits = INTERPOLATION[name], traits_at(factor)
    if entry.config.get("halves") and factor.bit_count() != 1:
        raise UsageError(f"{name} only halves: its factor is a power of two, not {factor}; rife and rife-m take any")
    return replace(entry, traits=traits, options={**entry.options, "factor": factor})
