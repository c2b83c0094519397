"""Finding, fetching and reading weights: hashes checked, part of a file never taken for the whole, no pickle executed.

`sources` knows where weights come from, `checkpoints` what is in a file, `digests` by what they are known, `holdings`
what a person wants to see.
"""

from cvbench.weights.checkpoints import (
    config_beside,
    config_in,
    count,
    files_of_weights,
    files_read,
    fit,
    network,
    read_checkpoint,
    read_halves,
    read_tensors,
    shards_in,
    sound_settings,
    tensors_of,
    weights_file,
)
from cvbench.weights.digests import Identity, file_digest, identity, path_digest
from cvbench.weights.holdings import COLUMNS, Holding, listing, verify
from cvbench.weights.sources import (
    Progress,
    Source,
    fetch,
    git_blob,
    locate,
    missing_text,
    path_of,
)

__all__ = [
    "COLUMNS",
    "Holding",
    "Identity",
    "Progress",
    "Source",
    "config_beside",
    "config_in",
    "count",
    "fetch",
    "file_digest",
    "files_of_weights",
    "files_read",
    "fit",
    "git_blob",
    "identity",
    "listing",
    "locate",
    "missing_text",
    "network",
    "path_digest",
    "path_of",
    "read_checkpoint",
    "read_halves",
    "read_tensors",
    "shards_in",
    "sound_settings",
    "tensors_of",
    "verify",
    "weights_file",
]
