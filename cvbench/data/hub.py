"""Data sets on the hub, hf:datasets/OWNER/NAME[@REVISION][/FILES][#PICTURES[:CAPTIONS]]: their Parquet files.

A revision is resolved to its commit once, and all is read from that; the commit stands in the record. No script of a
repository is executed, and none is fetched.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import NamedTuple

from cvbench.core.errors import UsageError
from cvbench.data.dataset import Dataset
from cvbench.data.files import Reader
from cvbench.data.folder import natural
from cvbench.data.packed import every_number, gathered
from cvbench.data.parquet import ENDING, columns_of, rows_of

PREFIX = "hf:datasets/"
FORM = f"{PREFIX}OWNER/NAME, with @REVISION and /FILES behind it where wanted"
SPEC = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>refs/(?:convert|pr)/[\w.-]+|[^/@]+))?(?:/(?P<files>.+))?", re.ASCII
)
NUMBERED = re.compile(r"[-_]?\d+(?:-of-\d+)?(?:-[0-9a-f]{16})?$", re.ASCII)
"""What tells files of one part of a data set apart, as in train-00000-of-00005."""
CONVERTED = "refs/convert/parquet"
"""Where the hub keeps what it made of data sets in other formats."""
NAMED = 8
SECONDS = 20


class Repository(NamedTuple):
    """A data set as it was at a commit, and its Parquet files."""

    name: str
    commit: str
    files: Sequence[str]


def on_hub(text: str) -> bool:
    """Tell a data set of the hub."""
    return text.startswith(PREFIX)


def open_hub(text: str, reader: Reader) -> tuple[Dataset, str]:
    """Open a data set of the hub; return with it the place, by the commit, where it lies.

    Raises UsageError for another form, a repository or files that are not there, several parts of which none is named,
    and where the hub cannot be asked.
    """
    spec, columns = columns_of(text)
    match = SPEC.fullmatch(spec.removeprefix(PREFIX))
    if not match:
        raise UsageError(f"{text!r}: name a data set of the hub as {FORM}")
    repository = _asked(text, match["repo"], match["revision"])
    files = _chosen(text, repository, match["files"])
    base = f"{repository.name}@{repository.commit}"
    items = rows_of([f"hf://datasets/{base}/{file}" for file in files], columns, reader)
    note = f"{len(files)} files of commit {repository.commit}"
    return gathered(text, items, note), f"{PREFIX}{base}/{match['files'] or ''}"


def _asked(text: str, repo: str, revision: str | None) -> Repository:
    """Ask the hub which commit a revision is, and what files it has."""
    from huggingface_hub import HfApi, errors

    try:
        told = HfApi().dataset_info(repo, revision=revision, timeout=SECONDS)
    except errors.GatedRepoError as error:
        raise UsageError(f"{text}: the data set is gated; accept its terms on its page and log in") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise UsageError(f"{text}: the hub has no data set {repo}, or none that you may read") from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(f"{text}: {repo} has no revision {revision}") from error
    except Exception as error:  # hub and network libraries raise many kinds
        raise UsageError(
            f"{text}: the hub cannot be asked ({type(error).__name__}: {error}); on a machine with network run "
            f"`hf download --repo-type dataset {repo}`, and give the files that it makes: --data 'FOLDER/*{ENDING}'"
        ) from error
    names = [each.rfilename for each in told.siblings or () if each.rfilename.endswith(ENDING)]
    return Repository(repo, told.sha or "", sorted(names, key=natural))


def _chosen(text: str, repository: Repository, wanted: str | None) -> list[str]:
    """Return the files that are meant: those named, or all where they are of one part."""
    if not repository.files:
        there = f"{PREFIX}{repository.name}@{CONVERTED}"
        raise UsageError(f"{text}: no Parquet files there; the hub's own conversion, where it made one, is {there}")
    parts = {part_of(file): file for file in repository.files}
    if wanted:
        patterns = every_number(wanted)
        files = [file for file in repository.files if any(fnmatchcase(file, each) for each in patterns)]
        if files:
            return files
    elif len(parts) == 1:
        return list(repository.files)
    what = f"no file matches {wanted}" if wanted else "it has several parts"
    examples = ", ".join(f"{text.partition('#')[0].removesuffix(f'/{wanted}')}/{part}" for part in list(parts)[:NAMED])
    more = f" and {len(parts) - NAMED} more" if len(parts) > NAMED else ""
    raise UsageError(f"{text}: {what}; name one, in quotes: {examples}{more}")


def part_of(file: str) -> str:
    """Return the pattern that the files of one part match, as data/train-*.parquet."""
    path = PurePosixPath(file)
    stem = NUMBERED.sub("", path.stem)
    start = f"{stem}-" if stem and stem != path.stem else ""
    name = path.name if stem == path.stem else f"{start}*{ENDING}"
    return (path.parent / name).as_posix()
