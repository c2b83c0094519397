"""cvbench.toml, NAME=PATH options and the folders of the environment: what is wrong is one error that names it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cvbench.core.config import check_names, folder_named_by, load_config, pairs
from cvbench.core.errors import UnknownName, UsageError

DATA = ("davis", "coco-val", "msrvtt")
WEIGHTS = ("tiny-image", "cvvae", "lpips-alex")


def written(folder: Path, text: str | bytes) -> Path:
    (folder / "cvbench.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_paths_are_those_of_the_file_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = '[data]\ndavis = "videos"\ncoco-val = "/data/coco"\n[weights]\ncvvae = "~/cv.safetensors"\n"hf:a/b" = "b"\n'
    config = load_config(written(tmp_path, text), DATA, WEIGHTS)
    assert config.data == {"davis": tmp_path / "videos", "coco-val": Path("/data/coco")}
    assert config.weights == {"cvvae": tmp_path / "home" / "cv.safetensors", "hf:a/b": tmp_path / "b"}


def test_a_link_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "blob").touch()
    (tmp_path / "net.safetensors").symlink_to(tmp_path / "blob")
    config = load_config(written(tmp_path, '[weights]\ncvvae = "net.safetensors"'), DATA)
    assert config.weights["cvvae"].name == "net.safetensors"


def test_without_a_file_there_is_nothing(tmp_path: Path) -> None:
    config = load_config(tmp_path, DATA, WEIGHTS)
    assert (config.data, config.weights) == ({}, {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data = 5", r"data must be a table.*got a int"),
        ("weights = []", r"weights must be a table.*got a list"),
        ("data.davis = 5", r"\[data\] 'davis' must be a path in quotes \(the folder of a data set\), got a int"),
        ("[weights]\ncvvae = {a = 1}", r"\[weights\] 'cvvae' must be a path.*got a dict"),
        ("[weights]\ncvvae = 1979-05-27", r"\[weights\] 'cvvae' must be a path.*got a date"),
        ('[data]\ndavis = ""', r"\[data\] 'davis' must be a path.*got nothing"),
        ('[data]\ndavis = "~nouser-of-that-name/x"', r"\[data\] 'davis' is no path: '~nouser"),
        ('[weights]\ncvvae = "a\\u0000b"', r"\[weights\] 'cvvae' is no path: 'a\\x00b'"),
        (f'[weights]\ncvvae = "{"x" * 5000}"', r"\[weights\] 'cvvae' is no path"),
        (f"[data]\ndavis = {'9' * 5000}", "is no TOML"),
        (f"[data]\ndavis = 0x{'f' * 5000}", r"\[data\] 'davis' must be a path.*got a int"),
        (f"x = {'[' * 100_000}", "nested too deeply"),
        ("[data", "is no TOML"),
        ("données = 1".encode("latin-1"), "is no TOML"),
        ('[modles]\na = "b"', r"unknown 'modles'; it may hold the tables \[data\], \[weights\], \[defaults\]"),
        ('"\\u001b[2J" = 1', r"unknown '\\x1b\[2J'"),
    ],
    ids=range(16),
)
def test_a_file_that_is_wrong_is_named_with_its_field(text: str | bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        load_config(written(tmp_path, text), DATA, WEIGHTS)
    assert str(tmp_path / "cvbench.toml") in str(refused.value)
    assert len(str(refused.value)) < 500


def as_folder(file: Path) -> None:
    file.mkdir()


def as_dangling_link(file: Path) -> None:
    file.symlink_to("nowhere")


@pytest.mark.parametrize("make", [as_folder, as_dangling_link])
def test_what_is_called_cvbench_toml_and_is_no_file_is_refused(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "cvbench.toml")
    with pytest.raises(UsageError, match=r"cvbench\.toml is no file"):
        load_config(tmp_path, DATA)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '[weights]\ntiny_image = "x"',
            r"no model or metric with weights \(\[weights\] in .*\.toml\) is called 'tiny_image'; try tiny-image",
        ),
        ('[data]\ndavies = "x"', r"no data set \(\[data\] in .*cvbench\.toml\) is called 'davies'; try davis"),
    ],
)
def test_a_name_that_matches_nothing_is_an_error_with_what_was_meant(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=says):
        load_config(written(tmp_path, text), DATA, WEIGHTS)


def test_options_name_weights_that_there_are(tmp_path: Path) -> None:
    assert pairs("--weights", ["cvvae=a=b", "hf:x/y=c"], WEIGHTS) == {"cvvae": Path("a=b"), "hf:x/y": Path("c")}
    with pytest.raises(UnknownName, match=r"\(--weights\) is called 'tiny_image'; try tiny-image"):
        pairs("--weights", ["tiny_image=/nowhere"], WEIGHTS)
    assert pairs("--weights", ["anything=a"]) == {"anything": Path("a")}


@pytest.mark.parametrize("value", ["cvvae", "=a", "cvvae=", "cvvae=~nouser-of-that-name/x", "cvvae=a\0b"])
def test_options_of_another_form_are_refused(value: str) -> None:
    with pytest.raises(UsageError, match="--weights"):
        pairs("--weights", [value], WEIGHTS)


@pytest.mark.parametrize("name", ["hf:", "hf:a", "hf:a/b/../..", "hf:a//b", "hf:a/b\n"])
def test_a_place_on_the_hub_has_its_form(name: str) -> None:
    with pytest.raises(UnknownName):
        check_names([name], WEIGHTS, "model")


def test_names_are_compared_whole() -> None:
    check_names(["cvvae", "hf:a/b"], WEIGHTS, "model")
    with pytest.raises(UnknownName):
        check_names(["cvvae "], WEIGHTS, "model")


@pytest.mark.parametrize("variable", ["CVBENCH_DATA", "CVBENCH_WEIGHTS"])
def test_a_folder_of_the_environment_must_exist(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    assert folder_named_by(variable) == tmp_path
    load_config(tmp_path, DATA)
    for nothing in (tmp_path / "nowhere", written(tmp_path, "") / "cvbench.toml"):
        monkeypatch.setenv(variable, str(nothing))
        with pytest.raises(UsageError, match=f"{variable} is .*no such folder"):
            load_config(tmp_path, DATA)
    monkeypatch.setenv(variable, "")
    assert folder_named_by(variable) is None


def test_data_sets_are_found_in_the_folder_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "davis").mkdir()
    monkeypatch.setenv("CVBENCH_DATA", str(tmp_path))
    assert load_config(tmp_path, DATA).data == {"davis": tmp_path / "davis"}
