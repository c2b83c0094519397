"""Whether two models share a latent space: encode with one, decode with the other, and describe the latents.

`plan` says which crossings a pair of models allows, `evaluate` runs them and leaves records.
"""

from cvbench.tasks.crossdecoding.evaluate import run
from cvbench.tasks.crossdecoding.plan import Cross, crossings, mismatch

__all__ = ["Cross", "crossings", "mismatch", "run"]
