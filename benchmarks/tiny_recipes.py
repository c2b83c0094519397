"""How each of the tiny models is trained."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from cvbench.models.tiny_entries import TINY

Part = Literal["encoder", "decoder"]


@dataclass(frozen=True)
class Recipe:
    """How one model is trained. `shapes` are (clips, frames, side), one drawn for each step.

    `image` names the image VAE that a video VAE starts from. `regularize` names the parts of it, frozen, that the
    latent space is held by, with weight `hold`; `mapping` takes the clip to the frames that part is compared on.
    Weight 0 leaves a loss out. `l1` and `square` weigh mean absolute and mean square error of the reconstruction; the
    second is what PSNR counts. `colour` weighs L1 of the pixels' deviation from grey: by plain L1 four channels code
    luma in detail and one axis of colour. `warmup` is in steps.
    """

    config: dict[str, Any]
    steps: int
    seed: int
    shapes: tuple[tuple[int, int, int], ...]
    image: str = ""
    regularize: tuple[Part, ...] = ()
    mapping: str = "random"
    hold: float = 1.0
    l1: float = 1.0
    square: float = 0.0
    colour: float = 2.0
    kl: float = 3e-5
    lpips: float = 0.1
    adversary: float = 0.0
    rate: float = 2e-3
    warmup: int = 100


STILLS = ((4, 1, 48), (2, 1, 64), (9, 1, 32), (1, 1, 96), (1, 1, 128))
CLIPS = ((2, 17, 32), (2, 9, 48), (2, 5, 64))


def config(name: str) -> dict[str, Any]:
    """Return what the entry of a model says of its network."""
    return dict(TINY[name].config)


PICTURE = Recipe(config("tiny-image"), 5_000, 1, STILLS, rate=6e-3, warmup=400)
LARGER = (*CLIPS, (2, 17, 64))
MOVING = Recipe(config("tiny-video"), 900, 2, CLIPS, image="tiny-image", regularize=("decoder",), rate=3e-3)
LONG = replace(MOVING, steps=4_000, shapes=LARGER, l1=0.3, square=3.0, colour=0.7)

RECIPES = {
    "tiny-image": PICTURE,
    "tiny-image-z16": replace(PICTURE, config=config("tiny-image-z16"), seed=3),
    "tiny-video": LONG,
    "tiny-video-random": MOVING,
    "tiny-video-none": replace(MOVING, regularize=()),
    "tiny-video-encoder": replace(MOVING, regularize=("encoder",)),
    "tiny-video-both": replace(MOVING, regularize=("encoder", "decoder")),
    "tiny-video-first": replace(MOVING, mapping="first"),
    "tiny-video-average": replace(MOVING, mapping="average"),
    "tiny-video-slice": replace(MOVING, mapping="slice"),
    "tiny-video-3d": replace(MOVING, config=config("tiny-video-3d")),
    "tiny-video-z16": replace(LONG, config=config("tiny-video-z16"), image="tiny-image-z16"),
}
