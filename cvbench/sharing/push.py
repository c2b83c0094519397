"""A bundle on its way to the hub, by the hub's own library."""

import re
from typing import Any, Literal

from cvbench.core.errors import Unavailable, UsageError
from cvbench.core.text import one_line
from cvbench.sharing.files import Opened

ADDRESS = re.compile(r"hf:([\w.-]+/[\w.-]+)")
Kind = Literal["dataset", "model"]


def repository(address: str) -> str:
    """Return OWNER/REPO of an address. Raises UsageError."""
    if not (found := ADDRESS.fullmatch(address)):
        raise UsageError(f"{address!r} is no address of a repository: hf:OWNER/REPO")
    return found[1]


def push(bundle: Opened, repo: str, kind: Kind, *, private: bool, request: bool, api: Any = None) -> str:
    """Upload a bundle's files into the folder cvbench/HASH of a repository, made where it is not there; return where.

    With `request` as a pull request. `api` is huggingface_hub's HfApi unless given. Raises Unavailable, saying why,
    where the hub does not take it.
    """
    from huggingface_hub import HfApi

    hub, place = api or HfApi(), f"cvbench/{bundle.sha256[:16]}"
    try:
        if not request:
            hub.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
        done = hub.upload_folder(
            repo_id=repo,
            repo_type=kind,
            folder_path=bundle.folder,
            path_in_repo=place,
            commit_message=f"cvbench bundle {bundle.sha256[:16]}",
            create_pr=request,
        )
    except Exception as error:  # hub and network libraries raise many kinds
        raise Unavailable(
            f"hf:{repo} did not take it: {one_line(str(error))[:300]}; is there a network, and `hf auth login` done?"
        ) from error
    return str(getattr(done, "pr_url", None) or getattr(done, "commit_url", None) or f"hf:{repo}/{place}")
