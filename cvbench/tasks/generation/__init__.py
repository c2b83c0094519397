"""Generators draw latents once a sample; every VAE decodes the same ones, and what it makes of them is measured.

`request` is what a run is asked for, `drawing` makes latents, `decoding` rows of them, `gate` tells which VAEs can
decode them, `record` assembles, `cost` says beforehand what it takes.
"""

from cvbench.tasks.generation.request import GenerationRequest
from cvbench.tasks.generation.task import draw, run

__all__ = ["GenerationRequest", "draw", "run"]
