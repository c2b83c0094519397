"""Generators, whose latents are the samples that VAEs decode: by name, and `GENERATOR[+VAE[@OPTION=VALUE,...]]`.

Entries stand in files without torch, what draws in others.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from cvbench.core.errors import UnknownName, UsageError
from cvbench.generators.entries import GAUSSIAN, PUBLISHED
from cvbench.generators.entry import Condition, Generator, GeneratorEntry, GeneratorLoading, Settings, Task
from cvbench.models import MODELS, resolve
from cvbench.models.interp_entries import INTERPOLATION
from cvbench.weights import Source

__all__ = [
    "GENERATORS", "Condition", "Generator", "GeneratorEntry", "GeneratorLoading", "Row", "Settings", "Task", "build",
    "find", "parse", "source_of", "weights_name",
]  # fmt: skip

GENERATORS: dict[str, GeneratorEntry] = {**PUBLISHED, **GAUSSIAN}
SHORT = {"svd-image": "svd+vae-sd21"}
"""Rows with a name of their own: SVD with the image decoder that its authors ship beside the temporal one."""
Decode = Literal["together", "each", "after"]
"""Latent frames are decoded together, each alone, or by the generator's own VAE, whose frames are interpolated."""


@dataclass(frozen=True)
class Row:
    """A row of a table of generation: a generator, and the VAE that decodes its latents ("" for its own).

    `space` is the one the VAE is said to want, "" where its entry tells. With `condition` own the VAE encodes the first
    frame too: its latents are then others than those of the other rows.
    """

    name: str
    generator: str
    vae: str = ""
    decode: Decode = "together"
    space: str = ""
    condition: str = "generator"


def parse(name: str) -> Row:
    """Read `GENERATOR[+VAE]`; the VAE's options may hold those of OWN_OPTIONS.

    Raises UnknownName for a generator that is none, UsageError for another value of these.
    """
    generator, plus, vae = SHORT.get(name, name).partition("+")
    if not generator.startswith("hf:"):  # of the hub it is asked when it is used
        find(generator)
    if plus and not vae:
        raise UsageError(f"{name!r}: no VAE behind the +; leave both out for the generator's own")
    vae, options = _split(name, vae)
    if vae.partition("@")[0] in INTERPOLATION:
        if options:
            raise UsageError(f"{name}: interpolation works on frames, not on latents: it takes no {', '.join(options)}")
        return Row(name, generator, vae, "after")
    condition = options.get("condition", "generator")
    if condition == "own" and find(generator).task != "i2v":
        raise UsageError(f"{name}: condition=own is of generators that make videos of first frames; leave it out")
    return Row(name, generator, vae, _decode(options.get("decode", "together")), options.get("space", ""), condition)


OWN_OPTIONS = {"decode": get_args(Decode)[:2], "space": ("raw", "scaled"), "condition": ("generator", "own")}
"""Options of a row: which latent frames are decoded at once, in which space, and whose encoder codes a first frame."""


def _split(name: str, vae: str) -> tuple[str, dict[str, str]]:
    """Take the options of a row from those of its VAE."""
    head, _, tail = vae.partition("@")
    pairs = [pair for pair in tail.split(",") if pair]
    mine = dict(pair.split("=", 1) for pair in pairs if pair.partition("=")[0] in OWN_OPTIONS and "=" in pair)
    for key, value in mine.items():
        if value not in OWN_OPTIONS[key]:
            raise UsageError(f"{name}: {key} is {' or '.join(OWN_OPTIONS[key])}, not {value!r}")
    rest = ",".join(pair for pair in pairs if pair.partition("=")[0] not in mine)
    return f"{head}@{rest}" if rest else head, mine


def _decode(text: str) -> Decode:
    return "each" if text == "each" else "together"


def find(name: str) -> GeneratorEntry:
    """Return the entry of a generator by its name, or by hf:OWNER/REPO where it is a pipeline on the hub.

    Raises UnknownName, and what `cvbench.generators.hub` raises.
    """
    if name.startswith("hf:"):
        from cvbench.generators.hub import hub_entry

        return hub_entry(name)
    if name not in GENERATORS:
        kind = f"generator (a model: `cvbench run --models {name}` reconstructs)" if name in MODELS else "generator"
        raise UnknownName(kind, name, GENERATORS)
    return GENERATORS[name]


def weights_name(name: str) -> str:
    """Return what --weights calls the weights of a generator: there are models of the same names."""
    return f"{name}-pipeline"


def source_of(entry: GeneratorEntry) -> Source | None:
    """Return where a generator's weights come from, None for one without."""
    file = entry.config.get("file", "model.ckpt" if entry.repo == "VideoCrafter/VideoCrafter2" else "model_index.json")
    return Source((file,), entry.repo, entry.revision, gated=entry.gated) if entry.repo else None


def build(entry: GeneratorEntry, loading: GeneratorLoading) -> Generator:
    """Build a generator. Raises what it raises: BadWeights, Unavailable, UsageError for settings out of range."""
    made: Any = resolve(entry.build)(loading)
    generator: Generator = made
    return generator
