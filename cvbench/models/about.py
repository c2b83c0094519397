"""What lists and records say of an entry in words."""

from cvbench.models import find
from cvbench.models.entry import ModelEntry

NOT_STATED = "not stated"


def licence_of(entry: ModelEntry) -> str:
    """Return the licence of the weights, "" where none is stated; of a decoder alone also that of its encoder."""
    if not entry.encoder:
        return entry.licence
    return f"{find(entry.encoder).licence or NOT_STATED} (encoder), {entry.licence or NOT_STATED} (decoder)"


def shares_of(entry: ModelEntry) -> str:
    """Return whose latents it takes and gives, in which form, and who encodes for it; "" where it has its own."""
    return f"{entry.base}, {entry.latents}{', encoded by it' if entry.encoder else ''}" if entry.base else ""


def weights_of(entry: ModelEntry) -> str:
    """Return where the weights come from, with the revision where that is a certain one."""
    source = entry.source
    if source is None:
        return "none"
    if source.bundled:
        return "in the package"
    if source.unpublished:
        return f"unpublished: {source.unpublished}"
    at = f"@{source.revision[:7]}" if source.repo and source.revision != "main" else ""
    gated = " (gated)" if source.gated else ""
    return (
        f"{source.repo or source.url or source.page}{at}{gated}{f'; encoder: {entry.encoder}' if entry.encoder else ''}"
    )
