"""Model cards and hashes of the tiny models, made from what training and measuring left."""

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tiny_data import FIRST
from tiny_recipes import RECIPES, Recipe

from cvbench import tables
from cvbench.core.errors import UsageError
from cvbench.core.protocol import PROTOCOLS
from cvbench.core.records import RunRecord, read_records
from cvbench.engine.subject import Listed, Setting
from cvbench.models import tiny_entries
from cvbench.models.tiny_entries import FORM, IMAGE, TINY
from cvbench.store import write_text

METRICS = ("psnr", "ssim")
TABLE = re.compile(r"^(SHA256: dict\[str, str\] = )\{[^}]*\}", re.MULTILINE)
MEANING = {
    "l1": "of the reconstruction",
    "square": "mean square error of the reconstruction",
    "colour": "L1 of the pixels' deviation from grey",
    "kl": "divergence of the posterior from the standard normal, mean over latents",
    "lpips": "of the reconstruction, VGG16",
    "adversary": "minus the verdict of a 3-D PatchGAN discriminator, trained along with the hinge loss",
    "decoder": "L1: the frozen image decoder's frames of this model's latents, against the frames chosen",
    "encoder": "L1: this model's reconstruction of the frozen image encoder's latents of the frames chosen",
}


def write(name: str, folder: Path, records: Sequence[Path]) -> Path:
    """Write NAME.md beside the weights in `folder`. Raises UsageError as `card` does, or for files that are missing."""
    file = folder / f"{name}.md"
    for needed in (file.with_suffix(".safetensors"), file.with_suffix(".csv")):
        if not needed.is_file():
            raise UsageError(f"{needed} is not there: train {name} first")
    write_text(file, card(name, folder, read_records(records) if records else []))
    return file


def card(name: str, folder: Path, records: Sequence[RunRecord]) -> str:
    """Return the model card, in Markdown."""
    weights = (folder / f"{name}.safetensors").read_bytes()
    with (folder / f"{name}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    parts = [
        f"# {name}",
        f"{TINY[name].about[0].upper()}{TINY[name].about[1:]}. One of the small models that ship with cvbench, "
        f"for demonstrations, regression gates and ablations: `cvbench run --models {name} --data sample`.",
        facts(name, weights),
        *training(name, rows),
        *(["## Scores", scores(name, folder, records)] if records else []),
        "## Limits",
        f"{widths(name)} channels and a short training on procedural pictures: reconstructions are soft and colours "
        "approximate. Not a tokenizer for production, and no measure of what the architecture can do.",
    ]
    return "\n\n".join(parts) + "\n"


def facts(name: str, weights: bytes) -> str:
    """Return the table of what the model is."""
    entry, traits = TINY[name], TINY[name].traits
    encoder, decoder = entry.params or (0, 0)
    lines = [
        ("architecture", architecture(name)),
        ("compression", f"{traits.temporal}×{traits.spatial}×{traits.spatial}, {traits.channels} latent channels"),
        ("frames", str(traits.frame_rule)),
        ("parameters", f"{encoder:,} + {decoder:,} (encoder + decoder)"),
        ("weights", f"`{name}.safetensors`, fp16, {len(weights):,} bytes"),
        ("SHA-256", f"`{hashlib.sha256(weights).hexdigest()}`"),
        ("licence", "Apache-2.0"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in lines)])


def widths(name: str) -> str:
    """Return the channels of the levels, from the pixels down."""
    if RECIPES[name].image:
        return ", ".join(str(FORM["channels"] * each) for each in FORM["multipliers"])
    return ", ".join(map(str, IMAGE["block_out_channels"]))


def architecture(name: str) -> str:
    """Say what the network is."""
    if not RECIPES[name].image:
        return (
            f"Stable Diffusion's autoencoder (diffusers' AutoencoderKL) with {widths(name)} channels, one block a level"
        )
    about = re.search(r"\((.*?)\)", TINY[name].about)
    return f"CV-VAE (arXiv 2405.20279), {about[1] if about else ''}, with {widths(name)} channels, one block a level"


def training(name: str, rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Yield the paragraphs on data, optimisation and losses."""
    recipe, steps = RECIPES[name], int(rows[-1]["step"])
    shapes = ", ".join(" × ".join(map(str, shape)) for shape in recipe.shapes)
    yield "## Training"
    yield (
        "Data: falling leaves and print, drawn by a program (`benchmarks/tiny_data.py`) anew for every step from seed "
        f"{recipe.seed}; no photographs, no third-party data. The scenes have seeds from {FIRST} upwards, those of "
        "the data set `sample` lie below: no scene that the model is measured on was trained on."
    )
    yield (
        f"{steps:,} steps of Muon (kernels and matrices, momentum 0.95) at rate {recipe.rate:g} and of Adam (the rest, "
        f"β 0.9 and 0.99) at a third of it, after {recipe.warmup} steps of warm-up, down to a hundredth along a "
        f"cosine; gradients clipped to norm 1. Each step takes one of these batches (clips × frames × side): {shapes}. "
        f"Seed {recipe.seed}. {beginning(recipe)}"
    )
    yield losses(recipe, rows)
    yield used(name, rows[0])


def used(name: str, row: Mapping[str, str]) -> str:
    """Say which optional losses a logged step has, and how to train again."""
    lpips = "LPIPS was used" if "lpips" in row else "LPIPS was not used: its network's weights were not at hand"
    adversary = "A discriminator was used" if "adversary" in row else "No discriminator was used"
    command = f"python benchmarks/train_tiny.py {name} --into FOLDER{'' if 'lpips' in row else ' --no-lpips'}"
    return f"{lpips}. {adversary}. Losses of every step or fifty: `{name}.csv`. To train it again: `{command}`."


def beginning(recipe: Recipe) -> str:
    """Say what the weights were at first, and what held the latent space."""
    if not recipe.image:
        return "Starts at random, but the first four channels pass all convolutions (`tiny_nets.let_through`)."
    start = f"Starts from {recipe.image}, inflated"
    if not recipe.regularize:
        return f"{start}; nothing holds its latent space."
    parts = " and ".join(recipe.regularize)
    return f"{start}; its latent space is held by the frozen {parts} of {recipe.image}, {recipe.mapping} mapping."


def losses(recipe: Recipe, rows: Sequence[Mapping[str, str]]) -> str:
    """Return the table of losses: what each is, its weight, its value at the end."""
    own = asdict(recipe)
    terms = {term: own.get(term, recipe.hold) for term in rows[0] if term in MEANING}
    last = rows[-1]
    lines = [f"| {term} | {MEANING[term]} | {weight:g} | {float(last[term]):.3g} |" for term, weight in terms.items()]
    head = "| loss | what | weight | at the end, weighted |"
    return "\n".join([head, "|---|---|---|---|", *lines])


def scores(name: str, folder: Path, records: Sequence[RunRecord]) -> str:
    """Return the table of this model and the floors, with 95 % intervals.

    Raises UsageError where no record is of this model, or one is of other weights.
    """
    own = [record for record in records if record.model.name == name]
    if not own:
        raise UsageError(f"none of the records is of {name}: {', '.join(sorted({r.model.name for r in records}))}")
    setting = Setting(PROTOCOLS["cvbench-1"], torch.device("cpu"), {name: folder / f"{name}.safetensors"})
    if any(record.model.digest != Listed(name, setting).facts.digest for record in own):
        raise UsageError(
            f"a record of {name} was made with other weights than {folder / name}.safetensors: run it again"
        )
    floors = [record for record in records if record.model.role == "floor"]
    return tables.markdown(tables.build([bare(record) for record in own + floors], intervals=True)).rstrip("\n")


def bare(record: RunRecord) -> RunRecord:
    """Return a record of PSNR and SSIM alone; speed differs from run to run."""
    kept = {metric: score for metric, score in record.scores.items() if metric in METRICS}
    return replace(record, scores=kept, unavailable={}, speed=None)


def enter_hashes(folder: Path) -> None:
    """Write the SHA-256 of the weights in `folder` into the source of the entries."""
    source = Path(tiny_entries.__file__)
    write_text(source, with_hashes(source.read_text(encoding="utf-8"), hashes(folder)))


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the weights that are there."""
    files = {name: folder / f"{name}.safetensors" for name in TINY}
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items() if file.is_file()}


def with_hashes(text: str, found: dict[str, str]) -> str:
    """Return the source of the entries with another table of hashes. Raises UsageError where it has none."""
    lines = "".join(f'    "{name}": "{value}",\n' for name, value in found.items())
    table, count = TABLE.subn(lambda match: f"{match[1]}{{\n{lines}}}" if lines else f"{match[1]}{{}}", text)
    if count != 1:
        raise UsageError(f"tiny_entries.py should hold one table SHA256, not {count}")
    return table
