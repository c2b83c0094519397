import importlib.metadata
import sys
from pathlib import Path

import pytest

from cvbench.commands import packages
from cvbench.commands.doctor import PACKAGES
from tests.test_cli import run


def installed(folder: Path, name: str, *requirements: str) -> None:
    (folder / f"{name}.py").write_text("raise RuntimeError('loaded')")
    info = folder / f"{name}-1.5.dist-info"
    info.mkdir()
    needs = "".join(f"Requires-Dist: {each}\n" for each in requirements)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n{needs}")


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        ("numpy (>=1.0)", ""),
        ("numpy<1", "odd needs numpy<1, here is {numpy}: pip install 'numpy<1'"),
        ("numpy<1; python_version < '3'", ""),
        ("numpy<1; extra == 'old'", ""),
        ("numpy ~~ what", ""),
        ("nothing-of-the-kind>=2", ""),
    ],
)
def test_versions_that_do_not_fit_are_told_without_loading(
    requirement: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "odd", requirement)
    monkeypatch.syspath_prepend(tmp_path)
    assert packages.why_not("odd") == reason.format(numpy=importlib.metadata.version("numpy"))
    assert packages.version("odd") == "odd 1.5"
    assert "odd" not in sys.modules


def test_what_cvbench_itself_needs_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "cvbench", "scipy>=1000", "numpy>=1000")
    monkeypatch.syspath_prepend(tmp_path)
    assert packages.why_not("scipy").startswith("cvbench needs scipy>=1000, here is 1.")
    assert packages.why_not("av") == ""


def test_modules_that_are_not_there_or_of_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stray_module.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert packages.why_not("no_such_module") == "not installed: pip install 'no_such_module'"
    assert packages.why_not("no_such_module", "cvbench[pic]") == "not installed: pip install 'cvbench[pic]'"
    assert packages.why_not("stray_module") == "not installed as a package: pip install 'stray_module'"
    assert [packages.why_not(name) for name in PACKAGES] == [""] * len(PACKAGES)


def test_doctor_names_what_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed(tmp_path, "cvbench", "torchvision<0.1")
    monkeypatch.syspath_prepend(tmp_path)
    code, text, _ = run(capsys, "doctor")
    assert code == 3
    assert "MISSING  packages  torchvision: cvbench needs torchvision<0.1, here is " in text
    assert ": pip install 'torchvision<0.1'\n" in text
