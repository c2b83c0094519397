from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cvbench
from cvbench.core.errors import BadRange, NothingScored, Unavailable, UnknownName, UsageError
from cvbench.core.protocol import EvalProtocol, derive
from cvbench.data import dataset
from cvbench.metrics import METRICS

SMALL = EvalProtocol("small", 1, frames=5, stride=1, size=48)


class Toy(nn.Module):
    """Blurs; a network with weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv3d(3, 3, 1)
        nn.init.constant_(self.net.bias, 0.0)
        with torch.no_grad():
            self.net.weight.copy_(torch.eye(3).view(3, 3, 1, 1, 1) * 0.9)

    def encode(self, videos: torch.Tensor) -> torch.Tensor:
        return self.net(videos)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents


class Failing(Toy):
    """Fails, and counts how often."""

    tried = 0

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        Failing.tried += 1
        raise RuntimeError("no decoder")


def evaluate(folder: Path, model: Any = None, **more: Any) -> Any:
    return cvbench.evaluate(model or Toy(), **{"data": str(folder), "metrics": ["psnr"], "protocol": SMALL, **more})


def test_a_second_call_decodes_no_file_and_gives_the_same(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = evaluate(pictures)

    def refuse(*_args: object) -> None:
        raise AssertionError("a file is decoded again")

    monkeypatch.setattr(dataset, "read_named", refuse)
    monkeypatch.setattr("cvbench.data.frames.read_file", refuse)
    monkeypatch.setattr("cvbench.data.frames.read_numbered", refuse)
    second = evaluate(pictures)
    assert [s.rows for s in second.samples] == [s.rows for s in first.samples]
    assert second.scores == first.scores


def test_a_file_that_has_changed_is_read_again(pictures: Path) -> None:
    first = evaluate(pictures)
    (pictures / "image0.png").write_bytes((pictures / "image1.png").read_bytes())
    second = evaluate(pictures)
    by_id = {s.id: s.sha256 for s in second.samples}
    assert by_id["image0.png"] == by_id["image1.png"]
    assert second.data.manifest != first.data.manifest


def test_prepared_clips_are_kept_within_their_bytes(pictures: Path) -> None:
    from cvbench.data import open_dataset
    from cvbench.engine.kept import KeptClips

    items = open_dataset(str(pictures), {}).items
    kept = KeptClips(most=3 * 48 * 48 * 2)
    pixels = [kept(i, item, SMALL).pixels for i, item in enumerate(items)]
    assert 0 < kept.size <= kept.most
    again = [kept(i, item, SMALL).pixels for i, item in enumerate(items)]
    assert all(np.array_equal(a, b) for a, b in zip(pixels, again, strict=True))  # type: ignore[arg-type]


def test_each_seed_and_each_name_has_the_frames_that_it_draws(pictures: Path, tmp_path: Path) -> None:
    """A random start is drawn by seed and name: one store and one memory must not give the frames of another draw."""
    from dataclasses import replace

    from cvbench.data import open_dataset
    from cvbench.engine.kept import KeptClips
    from cvbench.engine.loop import in_windows, prepared_key, recalled
    from cvbench.store import FileStore

    store, kept = FileStore(tmp_path / "store"), KeptClips()
    item = next(i for i in open_dataset(str(pictures), {}).items if "walk" in i.id)
    drawn = [derive(SMALL, ["frames=1", "start=random", f"seed={seed}"]) for seed in range(8)]
    for chosen in drawn:
        true = kept(0, item, chosen, store).sha256
        assert true == KeptClips()(0, item, chosen).sha256
        known = recalled(0, item, chosen, store)
        assert known is not None
        assert known.sha256 == true
    assert len({kept(0, item, chosen, store).sha256 for chosen in drawn}) > 1
    assert prepared_key(item, drawn[0]) != prepared_key(replace(item, id="other"), drawn[0])
    assert prepared_key(item, SMALL) == prepared_key(replace(item, id="other"), derive(SMALL, ["seed=1"]))
    assert in_windows(item, derive(drawn[0], ["windows=all"]), store)


@pytest.fixture
def apart(pictures: Path) -> list[str]:
    """The images and the clip as data sets of their own."""
    (pictures / "walks").mkdir()
    (pictures / "walk").rename(pictures / "walks" / "walk")
    return [f"images={pictures}/*.png", f"clips={pictures}/walks"]


def test_several_data_sets_give_a_record_each(pictures: Path, apart: list[str]) -> None:
    images, clips = evaluate(pictures, data=apart)
    assert (images.data.name, clips.data.name) == ("images", "clips")
    whole = evaluate(pictures)
    assert {s.sha256 for s in whole.samples} == {s.sha256 for r in (images, clips) for s in r.samples}


def test_a_metric_that_suits_one_of_the_data_sets_is_no_mistake(pictures: Path, apart: list[str]) -> None:
    images, clips = evaluate(pictures, data=apart, metrics=["psnr", "flicker"])
    assert "flicker" in clips.scores
    assert "flicker" not in images.scores


def test_protocol_seed_dtype_and_changes_are_signed(pictures: Path) -> None:
    record = evaluate(pictures, changes={"size": 32, "antialias": False}, seed=3, dtype="bf16")
    assert record.protocol.name == "small+size=32+antialias=false+dtype=bf16+seed=3"
    assert record.scores["psnr"].signature.protocol.seed == 3
    assert {s.height for s in record.samples} == {32}
    with pytest.raises(UnknownName, match="size"):
        evaluate(pictures, changes={"sise": 32})


def test_label_and_step_name_the_model_and_out_keeps_its_record(pictures: Path, tmp_path: Path) -> None:
    for step in (10, 20):
        evaluate(pictures, label="mine", step=step, out=tmp_path / "run")
    loaded = cvbench.load(tmp_path / "run")
    assert sorted(loaded.scores["model"].unique()) == ["mine@step=10", "mine@step=20"]
    assert evaluate(pictures, step=3).model.name == "Toy@step=3"


def test_reconstructions_come_back_beside_the_record(pictures: Path) -> None:
    record, pairs = evaluate(pictures, return_samples=2)
    assert len(pairs) == 2
    assert record.data.n == 4
    for pair in pairs:
        assert pair.target.dtype == pair.reconstruction.dtype == np.uint8
        error = pair.target.astype(float) - pair.reconstruction
        frames = -10 * np.log10((error**2).mean((0, 2, 3)) / 255**2)
        rows = next(s.rows["psnr"] for s in record.samples if s.id == pair.id)
        assert frames == pytest.approx(rows, abs=1e-3)


def test_progress_is_told(pictures: Path) -> None:
    told: list[tuple[str, int, int]] = []
    evaluate(pictures, progress=lambda *step: told.append(step))
    assert told[0][1:] == (0, 4)
    assert told[-1][1:] == (4, 4)


@pytest.mark.parametrize(
    ("more", "error", "text"),
    [
        ({"metrics": ["psrn"]}, UnknownName, "psnr"),
        ({"metrics": ["lpips"]}, Unavailable, "lpips-vgg cannot be measured"),
        ({"metrics": ["rfid"]}, Unavailable, "rfid cannot be measured"),
        ({"metrics": ["fid"]}, UsageError, "cvbench score"),
        ({"weights": {"vae": "x"}}, UnknownName, "vae"),
        ({"device": "tpu"}, UsageError, "tpu"),
        ({"data": "nosuch"}, UnknownName, "nosuch"),
        ({"model": nn.Linear(2, 2)}, UsageError, "Linear is no model"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_work(
    more: dict[str, Any], error: type[Exception], text: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr("cvbench.tasks.reconstruction.code", refuse)
    with pytest.raises(error, match=text):
        evaluate(pictures, **more)


def test_an_object_that_fails_on_every_sample_is_given_up_early(pictures: Path) -> None:
    Failing.tried = 0
    with pytest.raises(NothingScored, match="Failing failed on each of the first 3 samples: RuntimeError: no decoder"):
        evaluate(pictures, Failing())
    assert Failing.tried == 3


def test_one_that_fails_on_few_samples_is_a_plain_error(pictures: Path) -> None:
    with pytest.raises(NothingScored, match="no decoder"):
        evaluate(pictures, Failing(), limit=2)


def test_a_wrong_value_range_is_raised_as_such(pictures: Path) -> None:
    class Bytes(Toy):
        def decode(self, latents: torch.Tensor) -> torch.Tensor:
            return latents * 255

    with pytest.raises(BadRange):
        evaluate(pictures, Bytes())


def test_lpips_is_left_out_where_nobody_asked_for_it(pictures: Path) -> None:
    record = evaluate(pictures, metrics=None)
    assert "lpips-vgg" in record.unavailable
    assert {"psnr", "ssim"} <= record.scores.keys()


def test_asking_for_a_score_that_is_not_there_names_those_that_are(pictures: Path) -> None:
    record = evaluate(pictures)
    with pytest.raises(UnknownName, match="no score of this record is called 'psrn'; try psnr"):
        record.scores["psrn"]
    assert record.values == {name: record.scores[name].value for name in METRICS if name in record.scores}


def test_a_metric_without_any_score_is_an_error(pictures: Path) -> None:
    with pytest.raises(Unavailable, match="flicker has no score"):
        evaluate(pictures, data=f"{pictures}/*.png", metrics=["psnr", "flicker"])
