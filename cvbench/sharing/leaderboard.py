"""A site of pages without a server, made from bundles: no number on it without the bundle that proves it."""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from cvbench import report
from cvbench.core.digest import digest
from cvbench.core.errors import CvbenchError, UsageError
from cvbench.core.records import RunRecord, read_records
from cvbench.metrics import METRICS
from cvbench.report.board import Change, Source
from cvbench.sharing import files
from cvbench.sharing.verify import verify
from cvbench.store import atomic, file_name, write_text


class Disagrees(CvbenchError):
    """A bundle that does not agree with itself is on no leaderboard."""


@dataclass(frozen=True)
class Entry:
    """A record and the bundle that it came in."""

    record: RunRecord
    sha256: str
    pictures: Path

    @property
    def board(self) -> str:
        """Name of the page of its protocol and data: scores of one page were measured alike, on the same pixels."""
        r = self.record
        return file_name(r.protocol.name, digest(r.protocol.as_dict())[:8], r.data.name, r.data.manifest[:8])

    @property
    def page(self) -> str:
        """Name of the page of its model."""
        facts = self.record.model
        return file_name(facts.name + ("+random" if facts.init == "random" else ""))


def build(bundles: Sequence[Path], out: Path, title: str) -> list[Path]:
    """Write the site and return its pages, the first one first.

    Raises Disagrees for a bundle that does not agree with itself, UsageError for what is no bundle, and for an `out`
    that holds something else.
    """
    if out.exists() and not _is_ours(out):
        raise UsageError(f"{out} is there and is no leaderboard; name another place to write to")
    with contextlib.ExitStack() as stack:
        opened = {path: _checked(path, stack.enter_context(files.opened(path))) for path in bundles}
        entries = [entry for bundle in opened.values() for entry in _entries(bundle)]
        pages = dict(_pages(entries, title))
        for path, bundle in opened.items():
            _keep(path, bundle, out)
        for name, text in pages.items():
            write_text(out / name, text)
        _tidy(out, {*pages, *(archive(bundle.sha256) for bundle in opened.values())})
    return [out / name for name in pages]


def _checked(path: Path, bundle: files.Opened) -> files.Opened:
    if wrong := verify(bundle).wrong:
        raise Disagrees(f"{path} does not agree with itself: {wrong[0]}; `cvbench verify {path}` says all")
    return bundle


def _entries(bundle: files.Opened) -> list[Entry]:
    return [Entry(record, bundle.sha256, bundle.folder / "pictures") for record in read_records([bundle.folder])]


def _keep(path: Path, bundle: files.Opened, out: Path) -> None:
    """Put a bundle on the site, as one file."""
    target = out / archive(bundle.sha256)
    if path.is_dir():
        names = [files.MANIFEST, *sorted(bundle.manifest.files)]
        files.write({name: (bundle.folder / name).read_bytes() for name in names}, target)
        return
    with atomic(target) as file:
        file.write(path.read_bytes())


def _is_ours(out: Path) -> bool:
    """Tell whether a folder is empty, or holds an earlier build."""
    if not out.is_dir() or not any(out.iterdir()):
        return out.is_dir()
    first = out / "index.html"
    return first.is_file() and report.GENERATOR in first.read_text(encoding="utf-8", errors="replace")


def _tidy(out: Path, kept: set[str]) -> None:
    """Remove what an earlier build left and this one does not have."""
    made = ("boards/*.html", "models/*.html", f"bundles/{'[0-9a-f]' * 16}.zip")
    for path in [path for pattern in made for path in out.glob(pattern)]:
        if path.relative_to(out).as_posix() not in kept:
            path.unlink()


def archive(sha256: str) -> str:
    """Return the place of a bundle on the site."""
    return f"bundles/{sha256[:16]}.zip"


def _pages(entries: Sequence[Entry], title: str) -> Iterator[tuple[str, str]]:
    boards = _grouped([entry for entry in entries if entry.record.scores], "board")
    models = {name: _newest(own) for name, own in _grouped(entries, "page").items()}
    yield "index.html", report.index(title, [_summary(name, own) for name, own in boards.items()])
    yield from ((f"boards/{name}.html", _board(own, entries, title)) for name, own in boards.items())
    yield from ((f"models/{name}.html", _model(own, boards, title)) for name, own in models.items())


def _board(own: Sequence[Entry], entries: Sequence[Entry], title: str) -> str:
    shown = _newest(own)
    return report.render(
        [entry.record for entry in shown],
        title=_link(own[0])[0],
        links=[(title, "../index.html")],
        sources=[_source(entry) for entry in shown],
        changes=list(_changes(entries, shown)),
    )


def _model(own: Sequence[Entry], boards: Collection[str], title: str) -> str:
    return report.render(
        [entry.record for entry in own],
        list(dict.fromkeys(entry.pictures for entry in own if entry.pictures.is_dir())),
        own[0].record.model.name,
        links=[(title, "../index.html"), *(_link(entry) for entry in own if entry.board in boards)],
        sources=[_source(entry) for entry in own],
    )


def _link(entry: Entry) -> tuple[str, str]:
    return f"{entry.record.data.name} · {entry.record.protocol.name}", f"../boards/{entry.board}.html"


def _grouped(entries: Sequence[Entry], key: str) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(getattr(entry, key), []).append(entry)
    return found


def _newest(entries: Sequence[Entry]) -> list[Entry]:
    """Return of each model, data set and protocol the newest record, in the order in which they first appear."""
    found: dict[tuple[str, str], Entry] = {}
    for entry in sorted(entries, key=lambda e: (e.record.created, e.sha256)):
        found[entry.page, entry.board] = entry
    order = {(entry.page, entry.board): entry for entry in entries}
    return [found[key] for key in order]


def _summary(name: str, own: Sequence[Entry]) -> Mapping[str, object]:
    record, shown = own[0].record, _newest(own)
    return {
        "address": f"boards/{name}.html",
        "data": record.data.name,
        "protocol": record.protocol.name,
        "samples": record.data.n,
        "manifest": record.data.manifest[:12],
        "newest": max(entry.record.created for entry in shown),
        "models": [(entry.record.model.name, f"models/{entry.page}.html") for entry in shown],
        "bundles": list(dict.fromkeys((archive(entry.sha256), entry.sha256) for entry in shown)),
    }


def _source(entry: Entry) -> Source:
    return Source(entry.record, f"../models/{entry.page}.html", f"../{archive(entry.sha256)}", entry.sha256)


def _changes(entries: Sequence[Entry], shown: Sequence[Entry]) -> Iterator[Change]:
    """Yield what is otherwise in a newer record of a model, data set and protocol of one name, newest first."""
    for entry in shown:
        versions = sorted((e for e in entries if _same(e, entry)), key=lambda e: (e.record.created, e.sha256))
        for old, new in reversed(list(pairwise(versions))):
            for name in (n for n in new.record.scores if n in old.record.scores and n in METRICS):
                a, b = old.record.scores[name], new.record.scores[name]
                why = a.signature.difference(b.signature) or _why(old.record, new.record)
                ends = [(f"../{archive(e.sha256)}", e.sha256) for e in (old, new)]
                change = Change(entry.record.model.name, name, a.value, b.value, why, *ends)
                if change.is_seen or a.signature != b.signature:
                    yield change


def _same(a: Entry, b: Entry) -> bool:
    return _identity(a) == _identity(b) and bool(a.record.scores)


def _identity(entry: Entry) -> tuple[str, str, str]:
    return entry.page, entry.record.data.name, entry.record.protocol.name


def _why(old: RunRecord, new: RunRecord) -> str:
    if old.model.digest != new.model.digest:
        return "other weights, options or code of the model"
    names = [n for n in {**old.environment, **new.environment} if old.environment.get(n) != new.environment.get(n)]
    return f"another {', '.join(names)}" if names else "nothing that the records name"
