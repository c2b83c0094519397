import hashlib
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cvbench.cli import run_program
from cvbench.core.records import RunRecord
from cvbench.sharing import files, rerun
from cvbench.sharing.bundle import bundle

SHIPPED = Path(__file__).parent.parent / "reports" / "baseline"
RUN = ["run", "--models", "pool-8x8,identity", "--data", "sample", "--limit", "3", "--metrics", "psnr,ssim"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a bundle of a real run with pictures."""
    folder = tmp_path_factory.mktemp("run") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVBENCH_CACHE", str(folder.parent / "cache"))
        assert run_program([*RUN, "--out", str(folder), "--pictures", "2", "--device", "cpu", "-q"]) == 0
    return bundle(folder)


def reseal(held: dict[str, bytes]) -> dict[str, bytes]:
    return files.sealed({name: content for name, content in held.items() if name != files.MANIFEST})


def change(text: bytes, edit: Callable[[dict], None]) -> bytes:
    raw = json.loads(text)
    edit(raw)
    return json.dumps(raw).encode()


def one_row(raw: dict) -> None:
    raw["samples"][0]["rows"]["psnr"][0] += 0.5


def one_score(raw: dict) -> None:
    raw["scores"]["psnr"]["value"] += 0.01


def one_interval(raw: dict) -> None:
    raw["scores"]["ssim"]["low"] -= 0.01


def one_pixel_hash(raw: dict) -> None:
    raw["samples"][0]["sha256"] = "f" * 64


def one_signature(raw: dict) -> None:
    raw["scores"]["psnr"]["signature"]["version"] = "7"


def rows_of_none(raw: dict) -> None:
    for sample in raw["samples"]:
        del sample["rows"]["psnr"]
    raw["scores"]["psnr"]["value"] = 77.7


def rows_of_the_best(raw: dict) -> None:
    """Keep the best sample's rows, and make the score of them."""
    value = {i: np.mean(sample["rows"]["psnr"]) for i, sample in enumerate(raw["samples"])}
    best = max(value, key=value.__getitem__)
    for i, sample in enumerate(raw["samples"]):
        if i != best:
            del sample["rows"]["psnr"]
    raw["scores"]["psnr"].update(value=value[best], low=None, high=None, n=1)


def pixels_hidden_by_a_generated_score(raw: dict) -> None:
    one_pixel_hash(raw)
    raw["scores"]["fid"] = raw["scores"]["psnr"]


def other_protocol(raw: dict) -> None:
    raw["protocol"]["size"] = 64


def changes_that_are_none(raw: dict) -> None:
    raw["protocol"]["name"] += "+size=large"


def check(tmp_path: Path, held: dict[str, bytes], name: str = "b.zip") -> int:
    files.write(held, tmp_path / name)
    return run_program(["verify", str(tmp_path / name)])


@pytest.mark.parametrize("name", ["b.zip", "b"])
def test_a_bundle_agrees_with_itself(
    made: dict[str, bytes], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {"table.md", "table.csv", "samples.csv", "report.html", "environment.json", "records/.order"} <= made.keys()
    assert any(name.endswith(".webp") for name in made)
    assert not any("run.log" in name for name in made)
    assert check(tmp_path, made, name) == 0
    seal = hashlib.sha256(made[files.MANIFEST]).hexdigest()
    assert f"sha256:{seal}\tagrees" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (one_row, "psnr: the rows give"),
        (one_score, "psnr: the rows give"),
        (one_interval, "ssim: the rows give the interval"),
        (one_pixel_hash, "the samples give the manifest"),
        (one_signature, "its signature has version 7"),
        (rows_of_none, "psnr: has a score, and no sample has rows of it"),
        (rows_of_the_best, "psnr: 1 of 3 samples have rows, and the record does not say why"),
        (other_protocol, "the protocol is not what its name says: size is 64, not 256"),
        (changes_that_are_none, "the protocol is not what its name says"),
        (pixels_hidden_by_a_generated_score, "the samples give the manifest"),
    ],
)
@pytest.mark.parametrize("sealed_again", [False, True])
def test_a_record_that_was_edited_is_refused_and_named(
    made: dict[str, bytes],
    edit: Callable[[dict], None],
    named: str,
    sealed_again: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = next(name for name in made if "pool-8x8" in name and name.endswith(".json") and "records" in name)
    held = {**made, name: change(made[name], edit)}
    assert check(tmp_path, reseal(held) if sealed_again else held) == 1
    said = capsys.readouterr().err
    assert named in said
    assert "pool-8x8 on sample" in said
    assert (f"{name} is not what the manifest says" in said) is not sealed_again


def test_pictures_tables_and_files_that_were_touched_are_named(
    made: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = next(name for name in made if name.endswith(".webp"))
    lacking = {name: content for name, content in made.items() if name != picture}
    cases = [
        ({**made, picture: made[picture][:-1] + b"x"}, f"{picture} is not what the manifest says"),
        (lacking, f"{picture} is missing"),
        (reseal(lacking), "a picture which is not in that folder"),
        ({**made, "extra.txt": b"x"}, "extra.txt is not in the manifest"),
        (reseal({**made, "pictures/stray.webp": made[picture]}), "stray.webp is a picture that no index names"),
        (reseal({**made, "table.csv": made["table.csv"] + b"x"}), "table.csv is not what the records give"),
    ]
    wrong_hash = json.loads(made[files.MANIFEST])
    wrong_hash["files"]["table.md"]["sha256"] = "0" * 64
    cases.append(({**made, files.MANIFEST: json.dumps(wrong_hash).encode()}, "table.md is not what the manifest says"))
    for i, (held, named) in enumerate(cases):
        assert check(tmp_path, held, f"{i}.zip") == 1, named
        assert named in capsys.readouterr().err


def test_what_is_no_bundle_ends_with_2(
    made: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def packed(name: str, *entries: zipfile.ZipInfo) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for entry in entries:
                file.writestr(entry, "x")
        return tmp_path / name

    link = zipfile.ZipInfo("records/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "empty").mkdir()
    linked = tmp_path / "linked"
    files.write(made, linked)
    (linked / "more").symlink_to("/")
    for path, named in [
        (packed("up.zip", zipfile.ZipInfo("../up")), "leads out of it"),
        (packed("root.zip", zipfile.ZipInfo("/root")), "leads out of it"),
        (packed("link.zip", link), "is a link"),
        (packed("none.zip", zipfile.ZipInfo("a")), "has no manifest.json"),
        (tmp_path / "text.zip", "no bundle"),
        (tmp_path / "empty", "has no manifest.json"),
        (linked, "more is a link"),
    ]:
        assert run_program(["verify", str(path)]) == 2
        assert named in capsys.readouterr().err
    assert not (tmp_path.parent / "up").exists()


def test_a_bundle_too_large_is_not_unpacked(
    made: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 1000)
    assert check(tmp_path, made) == 2


def test_samples_measured_again_agree_and_a_forged_one_does_not(
    made: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write(made, tmp_path / "b.zip")
    assert run_program(["verify", str(tmp_path / "b.zip"), "--rerun", "1", "--device", "cpu"]) == 0
    assert "values agree" in capsys.readouterr().out
    with files.opened(tmp_path / "b.zip") as opened:
        record = next(r for r in rerun_records(opened.folder) if r.model.name == "pool-8x8")
    (sample,) = rerun.picked(record, 1)
    sample.rows["psnr"][0] += 1  # type: ignore[index]
    found = rerun.repeat(record, 1, {}, {}, "cpu")
    assert len(found.wrong) == 1
    assert "psnr is" in found.wrong[0]


@pytest.mark.parametrize(
    "spec",
    [
        "subprocess:getoutput@cmd=touch MARKER",
        "x=subprocess:getoutput@cmd=touch MARKER",
        "identity@HERE/own.py:build",
        "HERE/own.py:build",
        "hf:OWNER/REPO",
        "HERE/weights.safetensors@as=tiny-video",
    ],
)
@pytest.mark.parametrize("field", ["spec", "name"])
def test_code_that_a_bundle_names_is_not_run(
    made: dict[str, bytes], spec: str, field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "own.py").write_text(f"open({str(marker)!r}, 'w')\n")
    text = spec.replace("MARKER", str(marker)).replace("HERE", str(tmp_path))
    name = next(name for name in made if "pool-8x8" in name and name.endswith(".json") and "records" in name)
    record = RunRecord.from_json(change(made[name], lambda raw: raw["model"].update({field: text})))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.json").write_text(record.to_json())
    files.write(bundle(tmp_path / "run"), tmp_path / "b.zip")
    assert run_program(["verify", str(tmp_path / "b.zip"), "--rerun", "1", "--device", "cpu"]) == 0
    assert "its model is not of the registry" in capsys.readouterr().out
    assert not marker.exists()
    assert rerun.beyond(record, trusted=True) == ""


def rerun_records(folder: Path) -> list:
    from cvbench.core.records import read_records

    return read_records([folder])


def test_shipped_records_agree(tmp_path: Path) -> None:
    assert run_program(["bundle", str(SHIPPED), "-o", str(tmp_path / "b.zip")]) == 0
    assert run_program(["verify", str(tmp_path / "b.zip")]) == 0


def test_samples_without_rows_that_the_record_accounts_for_are_no_fault(pictures: Path, tmp_path: Path) -> None:
    run = ["run", "--models", "identity", "--data", str(pictures), "--metrics", "psnr,flicker", "-q"]
    assert run_program([*run, "--set", "size=32", "--device", "cpu", "--out", str(tmp_path / "run")]) == 0
    (record,) = rerun_records(tmp_path / "run")
    assert record.unavailable["flicker"].startswith("3 of 4 samples")
    assert run_program(["bundle", str(tmp_path / "run"), "-o", str(tmp_path / "b.zip")]) == 0
    assert run_program(["verify", str(tmp_path / "b.zip")]) == 0


def test_a_folder_in_use_is_left_alone(made: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / files.MANIFEST).write_text("{}")
    assert run_program(["bundle", str(SHIPPED), "-o", str(tmp_path / "mine")]) == 2
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [files.MANIFEST]
    files.write(made, tmp_path / "b")
    files.write(made, tmp_path / "b")
    (tmp_path / "b" / "thesis.tex").write_text("x")
    assert run_program(["bundle", str(SHIPPED), "-o", str(tmp_path / "b")]) == 2
    assert (tmp_path / "b" / "thesis.tex").is_file()


@pytest.mark.large
def test_samples_that_a_generator_drew_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["run", "-s", "t2i", "-m", "gaussian-t2i,gaussian-t2i+tiny-video", "--limit", "2", "--no-speed"]
    assert run_program([*line, "--pictures", "0", "--out", str(tmp_path / "run")]) == 0
    assert run_program(["bundle", str(tmp_path / "run"), "-o", str(tmp_path / "b.zip")]) == 0
    capsys.readouterr()
    assert run_program(["verify", str(tmp_path / "b.zip")]) == 0, capsys.readouterr().out
