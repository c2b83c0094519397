"""The pages' templates: everything escaped, and nothing in a name that would not be seen."""

from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from cvbench.core.text import visible


def asset(name: str) -> str:
    """Return a text file of this package."""
    return files("cvbench.report").joinpath(name).read_text(encoding="utf-8")


def template(name: str) -> Template:
    """Return a template of this package."""
    environment = Environment(
        loader=FunctionLoader(asset), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined, finalize=_shown,
    )  # fmt: skip
    return environment.get_template(name)


def _shown(value: object) -> object:
    """Make what a name says safe to look at; markup of ours stays what it is."""
    return visible(value) if type(value) is str else value
