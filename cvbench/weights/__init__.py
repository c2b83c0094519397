"""Finding, fetching and reading weights: hashes checked, part of a file never taken for the whole, no pickle executed.

`sources` knows where weights come from, `checkpoints` what is in a file, `holdings` what a person wants to see.
"""

from cvbench.weights.checkpoints import count, fit, network, read_checkpoint, read_tensors, tensors_of, weights_file
from cvbench.weights.holdings import COLUMNS, Holding, listing, verify
from cvbench.weights.sources import (
    Progress,
    Source,
    fetch,
    file_digest,
    git_blob,
    locate,
    missing_text,
    path_digest,
    path_of,
)

__all__ = [
    "COLUMNS",
    "Holding",
    "Progress",
    "Source",
    "count",
    "fetch",
    "file_digest",
    "fit",
    "git_blob",
    "listing",
    "locate",
    "missing_text",
    "network",
    "path_digest",
    "path_of",
    "read_checkpoint",
    "read_tensors",
    "tensors_of",
    "verify",
    "weights_file",
]
