"""Whether two models share a latent space: encode with one, decode with the other, and describe the latents.

`plan` says which cross-decodings a pair of models allows, `task` runs them and leaves records.
"""

from cvbench.tasks.crossdecoding.plan import CrossDecoding, cross_decodings, mismatch
from cvbench.tasks.crossdecoding.task import run

__all__ = ["CrossDecoding", "cross_decodings", "mismatch", "run"]
