"""The failure atlas against records and pictures whose failures are known."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from conftest import record as made_record

from cvbench.core.records import RunRecord, SampleRecord
from cvbench.data.scene import scene
from cvbench.engine import pictures
from cvbench.engine.pictures import Shot
from cvbench.report.atlas import Atlas, atlas
from cvbench.report.content import Group

SIZE = 96


def sample(k: int, psnr: list[float], **facts: object) -> SampleRecord:
    told = {"source": [len(psnr), 96, 96], "scene": {"luma": 100.0, "si": 10.0 * k, "ti": 1.0 * k}, **facts}
    return SampleRecord(f"s{k}", len(psnr), SIZE, SIZE, f"{k:064x}", told, {"psnr": psnr})


def of(samples: list[SampleRecord], **more: object) -> RunRecord:
    return dataclasses.replace(made_record("m"), samples=samples, **more)  # type: ignore[arg-type]


def found(records: list[RunRecord]) -> Atlas:
    made = atlas(Group("d", records))
    assert made is not None
    return made


def test_worst_samples_and_frames_are_those_of_the_rows() -> None:
    rows = [[30.0, 30.0], [40.0, 10.0], [20.0, 22.0], [50.0], [35.0, 33.0], [36.0, 32.0], [31.0, 39.0]]
    (portrait,) = found([of([sample(k, row) for k, row in enumerate(rows)])]).portraits
    assert [f.text for f in portrait.clips] == ["s2", "s1", "s0", "s4", "s5"]
    assert portrait.clips[0].value == "21.00 dB"
    assert [(f.text, f.value) for f in portrait.frames[:2]] == [
        ("s1, frame 1", "10.00 dB"),
        ("s2, frame 0", "20.00 dB"),
    ]
    assert len(portrait.frames) == 5
    assert portrait.tiles == []


def test_values_that_are_no_frames_have_no_frame() -> None:
    """Text is read in every eighth frame, flicker lies between frames: a place in such a row is no frame's number."""
    samples = [dataclasses.replace(sample(0, [30.0] * 9), rows={"psnr": [30.0, 20.0]})]
    (portrait,) = found([of(samples)]).portraits
    assert (len(portrait.clips), portrait.frames) == (1, [])
    assert (samples[0].by_frame("psnr"), sample(1, [1.0, 2.0]).by_frame("psnr")) == ((), [1.0, 2.0])


def test_slices_are_by_what_is_shown_with_their_own_means() -> None:
    samples = [sample(k, [20.0 + k] * 2) for k in range(9)]
    samples[0] = sample(0, [20.0] * 2, scene={"luma": 20.0, "si": 0.0, "ti": 0.0})
    samples[3] = sample(3, [23.0] * 2, source=[2, 128, 96])
    samples[4] = sample(4, [24.0])
    lines = {line.name: line for line in found([of(samples)]).slices}
    assert list(lines) == [
        "all", "images", "clips", "dark", "portrait", "little motion (TI ≤ 3)", "much motion (TI ≥ 5)",
        "little detail (SI ≤ 30)", "much detail (SI ≥ 50)",
    ]  # fmt: skip
    assert {name: line.n for name, line in lines.items() if line.n < 4} == {"images": 1, "dark": 1, "portrait": 1}
    assert lines["portrait"].scores == ["23.00"]
    half = 3.182446 * np.sqrt(np.var([5, 6, 7, 8], ddof=1) / 4)  # Student's t of three degrees
    assert lines["much motion (TI ≥ 5)"].scores == [f"26.50 [{26.5 - half:.2f}, {26.5 + half:.2f}]"]


def test_records_without_facts_or_rows_have_what_they_have() -> None:
    old = [dataclasses.replace(sample(k, [30.0 + k]), facts={}) for k in range(8)]
    assert found([of(old)]).slices == []
    assert atlas(Group("d", [of([])])) is None


def test_the_worst_tile_is_cut_out_where_it_is(tmp_path: Path) -> None:
    record = of([sample(k, [30.0 + k, 31.0]) for k in range(3)])
    rng = np.random.default_rng(0)
    shots = []
    for k in range(3):
        target = rng.integers(0, 200, (3, 2, SIZE, SIZE), np.uint8)
        recon = target.copy()
        recon[:, 1, 32:64, 64:96] += np.uint8(10 * (k + 1))
        shots.append(Shot(f"s{k}", target, {"m": recon}))
    choice = pictures.choose([record], 3)
    pictures.save(tmp_path, [record], choice, iter(shots))
    galleries, _ = pictures.read_all(tmp_path / "pictures")
    made = atlas(Group("d", [record]), galleries)
    assert made is not None
    tiles = made.portraits[0].tiles
    assert [(t.sample, t.frame, t.row, t.column) for t in tiles] == [(f"s{k}", 1, 32, 64) for k in (2, 1, 0)]
    assert tiles[0].psnr == pytest.approx(10 * np.log10(255**2 / 900))
    assert tiles[0].picture.startswith("data:image/png;base64,")
    assert made.portraits[0].clips[0].link == "#clips?data=d&sample=s0&model=m"


def test_scenes_have_hand_values() -> None:
    """A ramp of 8 levels a column has Sobel 8 · 8 everywhere: no deviation; halves of 0 and 200 flicker by 200."""
    ramp = np.broadcast_to(8 * np.arange(16, dtype=np.uint8), (3, 1, 16, 16))
    assert scene(ramp) == {"luma": 60.0, "si": 0.0}
    clip = np.zeros((3, 2, 16, 16), np.uint8)
    clip[:, 1, :, 8:] = 200
    told = scene(clip)
    assert (told["luma"], told["ti"]) == (50.0, 100.0)
    assert told == scene(clip.astype(np.float32) / 255)
    edge = np.zeros((3, 1, 16, 16), np.uint8)
    edge[..., 8:] = 100  # 2 of 14 columns have 400
    assert scene(edge)["si"] == pytest.approx(400 * np.sqrt(1 / 7 * 6 / 7), abs=0.05)
