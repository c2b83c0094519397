"""Whether two models share a latent space: encode with one, decode with the other, and describe the latents.

`plan` says which cross-decodings a pair of models allows, `task` runs them and leaves records; `dropin` holds decoders
against that of the first model, on its latents.
"""

from cvbench.tasks.crossdecoding.dropin import run as run_drop_in
from cvbench.tasks.crossdecoding.plan import CrossDecoding, cross_decodings, mismatch
from cvbench.tasks.crossdecoding.task import run

__all__ = ["CrossDecoding", "cross_decodings", "mismatch", "run", "run_drop_in"]
