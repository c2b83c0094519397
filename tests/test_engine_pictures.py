import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import PROTOCOL
from PIL import Image

from cvbench.core.errors import UnsuitableInput, UsageError
from cvbench.core.records import DataFacts, ModelFacts, RunRecord, SampleRecord
from cvbench.engine import pictures
from cvbench.engine.pictures import Shot


def record(model: str, scores: Sequence[float], data: str = "d", role: str = "network", frames: int = 2) -> RunRecord:
    samples = [
        SampleRecord(f"s{i}", frames, 64, 64, "0" * 64, {}, {"psnr": [float(value)] * frames, "bpp": [0.1]})
        for i, value in enumerate(scores)
    ]
    facts = DataFacts(data, "1" * 64, len(samples))
    return RunRecord(ModelFacts(model, f"digest of {model}", role), facts, PROTOCOL, {"psnr": "1"}, {}, samples)


def noise(t: int = 2, side: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, t, side, side), np.uint8)


def shot(name: str, *models: str, t: int = 2, side: int = 64) -> Shot:
    return Shot(name, noise(t, side), {model: noise(t, side, 1 + i) for i, model in enumerate(models)})


def test_worst_median_and_best_are_chosen_first_hardest_first() -> None:
    chosen = pictures.choose([record("a", [30, 10, 50, 20, 40])], 3)
    assert list(chosen) == ["s1", "s0", "s2"]
    assert set(chosen.values()) == {("a",)}


def test_each_models_own_worst_comes_before_anyones_best() -> None:
    a = record("a", [1, 2, 3, 4, 5, 6, 7, 8])
    b = record("b", [8, 2, 3, 4, 5, 6, 7, 1])
    # Means of ranks: s0 and s7 3.5, all others their own place; so common worst s1, median s0, best s6.
    assert set(pictures.choose([a, b], 5)) == {"s1", "s0", "s6", "s7", "s3"}


def test_lower_is_worse_only_where_higher_is_better() -> None:
    def as_lpips(r: RunRecord) -> RunRecord:
        rows = [dataclasses.replace(s, rows={"lpips-vgg": s.rows["psnr"]}) for s in r.samples]
        return dataclasses.replace(r, samples=rows)

    assert list(pictures.choose([as_lpips(record("a", [0.1, 0.9, 0.5]))], 3)) == ["s1", "s2", "s0"]


@pytest.mark.parametrize("n", [0, 1, 2, 7, 40, 1000])
def test_never_more_than_asked_and_all_where_there_are_few(n: int) -> None:
    rng = np.random.default_rng(n)
    chosen = pictures.choose([record(name, rng.normal(30, 3, 40).tolist()) for name in "abcd"], n)
    assert len(chosen) == min(n, 40)
    assert all(models == ("a", "b", "c", "d") for models in chosen.values()) or len(chosen) * 5 > pictures.SERIES


def test_many_models_share_the_common_samples_and_keep_their_own_alone() -> None:
    rng = np.random.default_rng(0)
    records = [record(f"m{i}", rng.normal(30, 3, 100).tolist()) for i in range(20)]
    chosen = pictures.choose(records, 24)
    assert len(chosen) == 24
    assert sum(len(models) == 20 for models in chosen.values()) == 3
    assert sum(map(len, chosen.values())) + len(chosen) < pictures.SERIES
    for r in records:
        worst = min(r.samples, key=lambda s: s.rows["psnr"][0]).id
        assert worst not in chosen or r.model.name in chosen[worst]


def test_a_reference_is_not_pictured_beside_models_and_has_no_say() -> None:
    identity = record("identity", [100, 100, 100], role="reference")
    chosen = pictures.choose([identity, record("a", [30, 10, 20])], 1)
    assert dict(chosen) == {"s1": ("a",)}
    assert set(pictures.choose([identity], 2).values()) == {("identity",)}


def test_models_that_could_not_run_are_left_out_and_no_scores_choose_nothing() -> None:
    gone = dataclasses.replace(record("gone", []), error="no weights")
    assert set(pictures.choose([gone, record("a", [1, 2])], 2).values()) == {("a",)}
    assert pictures.choose([gone], 4) == {}


def test_a_model_is_not_asked_for_a_sample_it_failed_on() -> None:
    whole, lame = record("whole", [3, 1, 2]), record("lame", [3, 1, 2])
    lame = dataclasses.replace(lame, samples=[s for s in lame.samples if s.id != "s1"])
    chosen = pictures.choose([whole, lame], 3)
    assert (chosen["s1"], chosen["s0"]) == (("whole",), ("whole", "lame"))


def test_records_of_two_data_sets_are_refused() -> None:
    with pytest.raises(UsageError, match="one data set at a time"):
        pictures.choose([record("a", [1]), record("a", [1], "other")], 3)


@pytest.mark.parametrize(
    ("total", "count", "indices"),
    [(33, 9, [0, 4, 8, 12, 16, 20, 24, 28, 32]), (5, 9, [0, 1, 2, 3, 4]), (33, 1, [0]), (1, 9, [0]), (10, 2, [0, 9])],
)
def test_frames_are_even_with_both_ends(total: int, count: int, indices: list[int]) -> None:
    assert pictures.evenly(total, count) == indices


def test_stored_pictures_hold_the_very_pixels(tmp_path: Path) -> None:
    records, choice = [record("a", [1, 2]), record('b/"x"', [2, 1])], {"s0": ("a", 'b/"x"')}
    taken = shot("s0", "a", 'b/"x"', t=33)
    pictures.save(tmp_path, records, choice, [taken])
    (gallery,) = pictures.read(tmp_path / "pictures")
    (clip,) = gallery.clips
    assert (clip.frames, clip.total, clip.scale) == ([0, 4, 8, 12, 16, 20, 24, 28, 32], 33, 1)
    for model, files in {"": clip.target, **clip.recons}.items():
        video = taken.recons[model] if model else taken.target
        for frame, name in zip(clip.frames, files, strict=True):
            with Image.open(gallery.folder / name) as image:
                assert np.array_equal(np.asarray(image), video[:, frame].transpose(1, 2, 0))


def test_an_index_is_strict_json_that_a_foreign_reader_understands(tmp_path: Path) -> None:
    path = pictures.save(tmp_path, [record("a", [1])], {"s0": ("a",)}, [shot("s0", "a")])
    raw = json.loads(path.read_text(), parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    assert (raw["data"], raw["protocol"], raw["models"]) == ("d", "p", {"a": "digest of a"})
    files = [*raw["clips"][0]["target"], *raw["clips"][0]["recons"]["a"]]
    assert all((path.parent / raw["folder"] / name).is_file() for name in files)
    assert len(files) == 4


def test_a_finished_run_finds_its_pictures_and_another_model_does_not(tmp_path: Path) -> None:
    records, choice = [record("a", [1, 2])], {"s0": ("a",)}
    assert not pictures.stored(tmp_path, records, choice)
    pictures.save(tmp_path, records, choice, [shot("s0", "a")])
    assert pictures.stored(tmp_path, records, choice)
    retrained = dataclasses.replace(records[0], model=ModelFacts("a", "other weights"))
    assert not pictures.stored(tmp_path, [retrained], choice)
    assert not pictures.stored(tmp_path, records, {"s1": ("a",)})


def test_a_new_choice_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    records = [record("a", [1, 2])]
    pictures.save(tmp_path, records, {"s0": ("a",)}, [shot("s0", "a")])
    pictures.save(tmp_path, records, {"s1": ("a",)}, [shot("s1", "a")])
    (gallery,) = pictures.read(tmp_path / "pictures")
    assert [clip.id for clip in gallery.clips] == ["s1"]
    kept = {path for path in (tmp_path / "pictures").rglob("*") if path.is_file() and path.suffix != ".json"}
    assert kept == {gallery.folder / name for name in [*gallery.clips[0].target, *gallery.clips[0].recons["a"]]}


def test_a_lost_picture_is_noticed(tmp_path: Path) -> None:
    records, choice = [record("a", [1])], {"s0": ("a",)}
    pictures.save(tmp_path, records, choice, [shot("s0", "a")])
    next((tmp_path / "pictures").rglob("*.webp")).unlink()
    assert not pictures.stored(tmp_path, records, choice)
    with pytest.raises(UsageError, match="not in that folder; run with --pictures again"):
        pictures.read(tmp_path / "pictures")


@pytest.mark.parametrize("name", ["../../../secret.webp", "/etc/hostname"])
def test_an_index_cannot_name_files_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.webp").write_bytes(b"secret")
    path = pictures.save(tmp_path, [record("a", [1])], {"s0": ("a",)}, [shot("s0", "a")])
    raw = json.loads(path.read_text())
    raw["clips"][0]["target"] = [name]
    path.write_text(json.dumps(raw))
    with pytest.raises(UsageError, match="not in that folder"):
        pictures.read(tmp_path / "pictures")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1, "clips": [3]}'])
def test_a_damaged_index_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UsageError, match=r"x\.json.*run with --pictures again"):
        pictures.read(tmp_path)


def test_24_clips_of_noise_stay_within_their_bytes_frames_going_before_size(tmp_path: Path) -> None:
    ids = [f"s{i}" for i in range(24)]
    records, choice = [record("a", list(range(24)))], dict.fromkeys(ids, ("a",))
    budget = 24 * 2 * 4 * 128 * 128 * 3  # four incompressible frames of each series
    pictures.save(tmp_path, records, choice, (shot(name, "a", t=17, side=128) for name in ids), budget)
    (gallery,) = pictures.read(tmp_path / "pictures")
    taken = sum(path.stat().st_size for path in gallery.folder.iterdir())
    assert 0.7 * budget < taken <= budget
    assert {clip.scale for clip in gallery.clips} == {1}
    assert {len(clip.frames) for clip in gallery.clips} <= {3, 4}


def test_pictures_shrink_by_averaging_where_three_frames_would_not_fit(tmp_path: Path) -> None:
    taken = shot("s0", "a", t=9, side=128)
    pictures.save(tmp_path, [record("a", [1])], {"s0": ("a",)}, [taken], 2 * 4 * 64 * 64 * 3)
    (gallery,) = pictures.read(tmp_path / "pictures")
    (clip,) = gallery.clips
    assert (clip.scale, clip.height, clip.width) == (2, 128, 128)
    with Image.open(gallery.folder / clip.target[0]) as image:
        assert image.size == (64, 64)
        corner = taken.target[:, 0, :2, :2].astype(float).mean((1, 2))
        assert np.abs(np.asarray(image)[0, 0] - corner).max() <= 0.5  # rounded


def test_odd_sizes_lose_the_last_row_and_column_when_halved() -> None:
    assert pictures.shrink(noise(1, 65)[:, 0], 2).shape == (32, 32, 3)


def test_png_takes_over_where_webp_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pictures.features, "check", lambda _: False)
    pictures.save(tmp_path, [record("a", [1])], {"s0": ("a",)}, [shot("s0", "a")])
    (gallery,) = pictures.read(tmp_path / "pictures")
    with Image.open(gallery.folder / gallery.clips[0].target[0]) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), noise()[:, 0].transpose(1, 2, 0))


def test_the_channel_that_varies_most_becomes_red() -> None:
    latents = np.zeros((4, 1, 1, 100))
    latents[2, 0, 0] = np.linspace(0, 10, 100)
    latents[0, 0, 0] = np.tile([0.0, 0.1, 0.1, 0.0], 25)  # uncorrelated with the ramp
    shown = pictures.latent_preview(latents)
    assert (shown.shape, shown.dtype) == ((3, 1, 1, 100), np.uint8)
    assert np.all(np.diff(shown[0, 0, 0].astype(int)) >= 0)  # the ramp, not turned around
    assert (shown[0, 0, 0, 0], shown[0, 0, 0, -1]) == (0, 255)
    assert set(shown[1, 0, 0].tolist()) == {0, 255}  # the flicker
    assert len(set(shown[2, 0, 0].tolist())) == 1  # nothing left


def test_a_preview_does_not_depend_on_scale_or_on_the_order_of_places() -> None:
    latents = np.random.default_rng(0).normal(size=(8, 2, 4, 5)) * np.arange(1, 9)[:, None, None, None]
    shown = pictures.latent_preview(latents)
    assert np.abs(pictures.latent_preview(3 * latents + 1).astype(int) - shown).max() <= 1
    assert np.abs(pictures.latent_preview(latents[:, ::-1].copy())[:, ::-1].astype(int) - shown).max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 3, 16])
def test_any_number_of_channels_has_a_preview(channels: int) -> None:
    latents = np.random.default_rng(0).normal(size=(channels, 2, 3, 4)).astype(np.float32)
    shown = pictures.latent_preview(latents)
    assert shown.shape == (3, 2, 3, 4)
    assert channels > 1 or np.array_equal(shown[0], shown[2])


def test_constant_and_broken_latents_have_a_preview_without_a_warning() -> None:
    assert len(np.unique(pictures.latent_preview(np.ones((4, 1, 2, 2))))) == 1
    broken = np.random.default_rng(0).normal(size=(4, 1, 4, 4))
    broken[0, 0, 0, 0] = np.nan
    assert pictures.latent_preview(broken).shape == (3, 1, 4, 4)


def test_equal_codes_share_a_colour_and_neighbouring_ones_do_not() -> None:
    shown = pictures.latent_preview(np.array([[[5, 6], [5, 7]]]))
    colours = [tuple(shown[:, 0, i, j]) for i in range(2) for j in range(2)]
    assert (colours[0] == colours[2], len(set(colours))) == (True, 3)


@pytest.mark.parametrize("latents", [np.zeros((2, 3)), np.zeros((2, 2, 2)), np.zeros((1, 1, 1, 1), complex)])
def test_other_latents_have_no_preview(latents: np.ndarray) -> None:
    with pytest.raises(UnsuitableInput, match="no preview of latents"):
        pictures.latent_preview(latents)


def test_a_strip_of_latents_is_stored_and_one_without_preview_left_out(tmp_path: Path) -> None:
    records = [record("a", [1]), record("b", [1])]
    latents = {"a": np.random.default_rng(0).normal(size=(4, 5, 8, 6)), "b": np.zeros((2, 3))}
    taken = dataclasses.replace(shot("s0", "a", "b"), latents=latents)
    pictures.save(tmp_path, records, {"s0": ("a", "b")}, [taken])
    (gallery,) = pictures.read(tmp_path / "pictures")
    (name,) = gallery.clips[0].latents.values()
    with Image.open(gallery.folder / name) as image:
        assert image.size == (5 * 6, 8)


def all_files(folder: Path) -> set[Path]:
    return {path for path in (folder / "pictures").rglob("*") if path.is_file()}


def test_runs_of_other_models_leave_each_others_pictures_alone(tmp_path: Path) -> None:
    for models in (["a"], ["b", "c"], ["a", "b"]):
        pictures.save(tmp_path, [record(m, [1, 2]) for m in models], {"s0": tuple(models)}, [shot("s0", *models)])
    galleries = pictures.read(tmp_path / "pictures")
    assert sorted(sorted(gallery.models) for gallery in galleries) == [["a"], ["a", "b"], ["b", "c"]]
    assert pictures.stored(tmp_path, [record("a", [1, 2])], {"s0": ("a",)})


def test_other_weights_of_the_same_models_replace_the_old_pictures(tmp_path: Path) -> None:
    first = record("a", [1, 2])
    retrained = dataclasses.replace(first, model=ModelFacts("a", "other weights"))
    pictures.save(tmp_path, [record("b", [1])], {"s0": ("b",)}, [shot("s0", "b")])
    pictures.save(tmp_path, [first], {"s0": ("a",)}, [shot("s0", "a")])
    count = len(all_files(tmp_path))
    pictures.save(tmp_path, [retrained], {"s0": ("a",)}, [shot("s0", "a")])
    assert len(all_files(tmp_path)) == count
    assert {g.models.get("a") for g in pictures.read(tmp_path / "pictures")} == {None, "other weights"}


def test_an_index_of_an_older_layout_is_replaced_by_its_own_models_alone(tmp_path: Path) -> None:
    path = pictures.save(tmp_path, [record("a", [1])], {"s0": ("a",)}, [shot("s0", "a")])
    path.rename(path.with_name("d--p.json"))
    pictures.save(tmp_path, [record("b", [1])], {"s0": ("b",)}, [shot("s0", "b")])
    assert len(pictures.read(tmp_path / "pictures")) == 2
    pictures.save(tmp_path, [record("a", [1, 2])], {"s1": ("a",)}, [shot("s1", "a")])
    assert not (tmp_path / "pictures" / "d--p.json").exists()
    assert len(pictures.read(tmp_path / "pictures")) == 2


def test_what_another_index_names_is_never_removed(tmp_path: Path) -> None:
    path = pictures.save(tmp_path, [record("a", [1])], {"s0": ("a",)}, [shot("s0", "a")])
    raw = json.loads(path.read_text())
    path.with_name("other.json").write_text(json.dumps({**raw, "models": {"z": "1"}}))
    pictures.save(tmp_path, [record("a", [1, 2])], {"s1": ("a",)}, [shot("s1", "a")])
    assert [sorted(g.models) for g in pictures.read(tmp_path / "pictures")] == [["a"], ["z"]]


@pytest.mark.parametrize("place", [".", "..", "../..", "/", "x/../..", ""])
def test_an_index_that_names_a_foreign_folder_removes_nothing(tmp_path: Path, place: str) -> None:
    (tmp_path / "precious").write_text("mine")
    path = pictures.save(tmp_path, [record("a", [1])], {"s0": ("a",)}, [shot("s0", "a")])
    path.write_text(json.dumps({**json.loads(path.read_text()), "folder": place, "clips": []}))
    pictures.save(tmp_path, [record("a", [1, 2])], {"s1": ("a",)}, [shot("s1", "a")])
    assert (tmp_path / "precious").read_text() == "mine"
    assert len(pictures.read(tmp_path / "pictures")) == 1


def test_halves_of_a_killed_writer_count_for_nothing(tmp_path: Path) -> None:
    pictures.save(tmp_path, [record("a", [1])], {"s0": ("a",)}, [shot("s0", "a")])
    (tmp_path / "pictures" / ".d--p-x.json-abc.part").write_text("{")
    (tmp_path / "pictures" / ".d--p-x.json").write_text("{")
    assert len(pictures.read(tmp_path / "pictures")) == 1


WRONG = {
    "data": [3, None], "models": [[], {"a": 1}, "a"], "key": [{}], "protocol": [[1]], "clips": [{"a": 1}, "x", [[]], 7],
    "folder": [5, "a\0b", "x" * 5000],
}  # fmt: skip
WRONG_CLIPS = {
    "id": [5, None], "frames": ["01", [], [1, 0], [0, 99], [True, 2], [0.0, 1.0], {}], "total": [0, "2", True, 1.5],
    "height": [-1], "width": [None], "scale": [0], "target": ["ab", [1, 2], ["x"], {}], "latents": [[], {"a": 5}],
    "recons": [[], {"a": "ab"}, {"a": [1, 2]}, {"a": []}, None], "extra": [1],
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "of_clip"),
    [(k, v, False) for k, vs in WRONG.items() for v in vs]
    + [(k, v, True) for k, vs in WRONG_CLIPS.items() for v in vs],
)
def test_a_foreign_index_is_a_message_and_the_others_are_read(
    field: str, value: object, of_clip: bool, tmp_path: Path
) -> None:
    pictures.save(tmp_path, [record("b", [1])], {"s0": ("b",)}, [shot("s0", "b")])
    path = pictures.save(tmp_path, [record("a", [1])], {"s0": ("a",)}, [shot("s0", "a")])
    raw = json.loads(path.read_text())
    (raw["clips"][0] if of_clip else raw)[field] = value
    path.write_text(json.dumps(raw))
    galleries, (problem,) = pictures.read_all(tmp_path / "pictures")
    assert [list(g.models) for g in galleries] == [["b"]]
    assert path.name in problem
    assert "run with --pictures again" in problem


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b'{"a": ' + b"9" * 5000 + b"}", b"null", b"5"])
def test_no_content_of_an_index_is_an_error_of_cvbench(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    (tmp_path / "folder.json").mkdir()
    assert len(pictures.read_all(tmp_path)[1]) == 2


def test_a_sample_that_lost_a_picture_costs_that_sample_alone(tmp_path: Path) -> None:
    pictures.save(tmp_path, [record("a", [1, 2])], {"s0": ("a",), "s1": ("a",)}, [shot("s0", "a"), shot("s1", "a")])
    (gallery,) = pictures.read(tmp_path / "pictures")
    (gallery.folder / gallery.clips[0].target[0]).write_text("<html>")
    (left,), (problem,) = pictures.read_all(tmp_path / "pictures")
    assert [clip.id for clip in left.clips] == ["s1"]
    assert gallery.clips[0].target[0] in problem


def test_names_that_are_no_utf8_have_pictures(tmp_path: Path) -> None:
    name = "caf\udce9.png"
    made = dataclasses.replace(record(name, [1]), samples=[dataclasses.replace(record("a", [1]).samples[0], id=name)])
    choice = pictures.choose([made], 1)
    pictures.save(tmp_path, [made], choice, [shot(name, name)])
    assert pictures.stored(tmp_path, [made], choice)
    assert pictures.read(tmp_path / "pictures")[0].clips[0].id == name
