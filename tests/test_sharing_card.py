from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cvbench.cli import run_program
from cvbench.core.errors import Unavailable
from cvbench.core.records import read_records
from cvbench.sharing import files
from cvbench.sharing.bundle import bundle
from cvbench.sharing.push import push

SHIPPED = Path(__file__).parent.parent / "reports" / "baseline"


def test_a_card_holds_the_scores_of_the_records(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["card", "tiny-video", "--from", str(SHIPPED)]) == 0
    text = capsys.readouterr().out
    (record,) = [r for r in read_records([SHIPPED]) if r.model.name == "tiny-video"]
    _, front, body = text.split("---\n", 2)
    (model,) = yaml.safe_load(front)["model-index"]
    assert model["name"] == "tiny-video"
    (result,) = model["results"]
    assert result["dataset"]["revision"] == record.data.manifest[:12]
    assert result["task"]["type"] == "video-to-video"
    assert {m["type"]: m["value"] for m in result["metrics"]} == {n: s.value for n, s in record.scores.items()}
    assert f"{record.scores['psnr'].value:.2f}" in body
    assert "cvbench run --models tiny-video --data sample" in body


def test_a_card_is_of_one_model_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["card", "--from", str(SHIPPED)]) == 2
    assert "name one" in capsys.readouterr().err
    assert run_program(["card", "tiny-vidoe", "--from", str(SHIPPED)]) == 2
    assert "tiny-video" in capsys.readouterr().err


class Hub:
    """What the hub's API is asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, repo: str, **given: Any) -> None:
        self.calls.append((repo, given))

    def upload_folder(self, **given: Any) -> SimpleNamespace:
        names = sorted(p.relative_to(given["folder_path"]).as_posix() for p in given["folder_path"].rglob("*.json"))
        self.calls.append(("upload", {**given, "names": names}))
        return SimpleNamespace(commit_url="https://hub/commit", pr_url=None)


def test_a_bundle_is_uploaded_whole_under_its_hash(tmp_path: Path) -> None:
    files.write(bundle(SHIPPED), tmp_path / "b.zip")
    hub = Hub()
    with files.opened(tmp_path / "b.zip") as held:
        said = push(held, "me/scores", "dataset", private=True, request=False, api=hub)
        assert said == "https://hub/commit"
        (repo, made), (_, sent) = hub.calls
        assert (repo, made) == ("me/scores", {"repo_type": "dataset", "private": True, "exist_ok": True})
        assert sent["path_in_repo"] == f"cvbench/{held.sha256[:16]}"
        assert set(sent["names"]) == {n for n in [*held.manifest.files, files.MANIFEST] if n.endswith(".json")}
        hub.create_repo = lambda *_, **__: (_ for _ in ()).throw(ConnectionError("no route"))  # type: ignore[method-assign]
        with pytest.raises(Unavailable, match=r"hf:me/scores did not take it: no route; is there a network"):
            push(held, "me/scores", "dataset", private=False, request=False, api=hub)


def test_what_is_no_address_or_does_not_agree_is_not_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = bundle(SHIPPED)
    files.write({**held, "extra.txt": b"x"}, tmp_path / "b.zip")
    assert run_program(["push", str(tmp_path / "b.zip"), "me/scores"]) == 2
    assert "hf:OWNER/REPO" in capsys.readouterr().err
    assert run_program(["push", str(tmp_path / "b.zip"), "hf:me/scores"]) == 1
    assert "extra.txt" in capsys.readouterr().err
