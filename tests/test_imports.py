import ast
from pathlib import Path

import cvbench

ORDER = [
    *("types", "errors", "memory", "tensors", "mappings", "protocols", "records", "store", "weights", "data"),
    *(
        "models",
        "probes",
        "reconstruct",
        "contenders",
        "speed",
        "statistics",
        "latents",
        "distances",
        "metrics",
        "config",
        "suites",
        "prefetch",
        "pictures",
        "probing",
        "evaluation",
    ),
    *(
        "bench",
        "compat",
        "scoring",
        "interpolate",
        "tables",
        "paper",
        "compare",
        "pictures",
        "report",
        "listing",
        "doctor",
        "cli",
    ),
]
PACKAGE = Path(cvbench.__file__).parent


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Top-level modules of cvbench that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cvbench":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return found - {"__version__"}


def test_a_module_imports_only_from_its_left() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module = module_of(path)
        if module == "__init__":
            continue
        wrong += [f"{path.name} imports {name}" for name in imported(path) if ORDER.index(name) > ORDER.index(module)]
    assert not wrong


def test_every_module_has_a_place() -> None:
    assert {module_of(path) for path in PACKAGE.rglob("*.py")} == {*ORDER, "__init__"}
