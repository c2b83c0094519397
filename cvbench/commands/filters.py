"""What `cvbench list models` can be narrowed to."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from cvbench import weights
from cvbench.commands.options import configured_weights
from cvbench.core.errors import UnknownName, UsageError
from cvbench.models import MODELS
from cvbench.models.about import NOT_STATED, licence_of
from cvbench.models.entry import ModelEntry

Test = Callable[[str, ModelEntry], bool]

OPTIONS = (
    click.option("--task", type=click.Choice(["image", "video"]), help="Models of single frames, or of clips."),
    click.option("--discrete", is_flag=True, help="Those that code indices of a codebook."),
    click.option("--compatible-with", metavar="MODEL", help="Those that share the latents of this one."),
    click.option("--compression", metavar="TxSxS", help="Those that compress so, as 4x8x8."),
    click.option("--licence", metavar="TEXT", help="Those whose licence has this in its name."),
    click.option("--downloaded", is_flag=True, help="Those whose weights are on this machine, or need none."),
)


def options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the filters to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def given(narrowing: Mapping[str, Any]) -> bool:
    """Tell whether any filter is."""
    return any(value not in (None, False) for value in narrowing.values())


def selected(narrowing: Mapping[str, Any]) -> dict[str, ModelEntry]:
    """Return the models that all filters admit.

    Raises UnknownName for another model, UsageError for what is no compression, and for a compression or a licence
    that no model has.
    """
    tests = [TESTS[name](value) for name, value in narrowing.items() if value not in (None, False)]
    return {name: entry for name, entry in MODELS.items() if all(test(name, entry) for test in tests)}


def _of_task(task: str) -> Test:
    return lambda _, entry: entry.of_videos == (task == "video")


def _of_licence(text: str) -> Test:
    known = {word for entry in MODELS.values() for word in _licence(entry).split(" ", 1)[:1] if word}
    if not text or not any(text.lower() in _licence(entry).lower() for entry in MODELS.values()):
        raise UsageError(f"no model's licence has {text!r} in its name; there are {', '.join(sorted(known))}")
    return lambda _, entry: text.lower() in _licence(entry).lower()


def _licence(entry: ModelEntry) -> str:
    return licence_of(entry) or (NOT_STATED if entry.source else "")


def _compressing(text: str) -> Test:
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(f"--compression takes TIMExHEIGHTxWIDTH, as 4x8x8, got {text!r}")
    wanted = tuple(int(part) for part in parts)
    known = sorted({_compression(entry) for entry in MODELS.values()})
    if wanted not in known:
        raise UsageError(f"no model compresses {text}; there are {', '.join('x'.join(map(str, one)) for one in known)}")
    return lambda _, entry: _compression(entry) == wanted


def _compression(entry: ModelEntry) -> tuple[int, ...]:
    return entry.traits.temporal, entry.traits.spatial, entry.traits.spatial


def _sharing(name: str) -> Test:
    """Admit a model, its base, and all that have the same base; nothing where a model has none and is none."""
    if name not in MODELS:
        raise UnknownName("model", name, MODELS)
    base = MODELS[name].base or name
    return lambda other, entry: base in (other, entry.base)


def _is_here(_: bool) -> Test:
    held = configured_weights()

    def is_here(name: str, entry: ModelEntry) -> bool:
        whole = not entry.encoder or is_here(entry.encoder, MODELS[entry.encoder])
        return whole and (entry.source is None or weights.locate(name, entry.source, held) is not None)

    return is_here


TESTS: Mapping[str, Callable[[Any], Test]] = {
    "task": _of_task,
    "discrete": lambda _: lambda name, entry: bool(entry.traits.codebook),
    "compatible_with": _sharing,
    "compression": _compressing,
    "licence": _of_licence,
    "downloaded": _is_here,
}
