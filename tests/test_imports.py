import ast
from pathlib import Path

import cvbench

ORDER = [
    *("core", "store", "data", "weights", "nets", "models", "generators", "probes", "metrics", "engine", "tasks"),
    *("tables", "paper", "compare", "report", "integrations", "sharing", "commands", "cli"),
]
PACKAGE = Path(cvbench.__file__).parent
FREE = {"__init__", "__main__", "types", "scoring"}
"""The package's public addresses, which may lead anywhere."""


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Folders of cvbench that a file imports from, at its top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cvbench":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return found - {"__version__"}


def test_imports_run_one_way() -> None:
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if place(path) not in FREE]
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in files
        for name in imported(path)
        if ORDER.index(name) > ORDER.index(place(path))
    ]
    assert not wrong
