import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import xmlschema
import yaml
from conftest import PROTOCOL, in_windows, scored, whole_set

from cvbench.cli import run_program
from cvbench.compare import TOLERANCES, CheckResult, Finding, check, most_moved, parse_tolerances, save_baseline
from cvbench.compare.junit import annotations, junit_xml, write_summary
from cvbench.compare.text import check_markdown
from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import Failure, ModelFacts, RunRecord, read_records
from cvbench.metrics import METRICS
from cvbench.store import write_record

RNG = np.random.default_rng
BASE = RNG(0).normal(30, 3, 32)
BASE_100 = RNG(10).normal(30, 3, 100)
SCHEMA = xmlschema.XMLSchema(Path(__file__).parent / "golden" / "junit.xsd")
DOCS = Path(__file__).parents[1] / "docs" / "regression-gate.md"


def verdicts(result: CheckResult) -> dict[str, str]:
    return {f.what: f.verdict for f in result.findings}


def against(run: Mapping[str, Sequence[float]], base: Mapping[str, Sequence[float]], **tolerance: float) -> CheckResult:
    return check([scored(run)], [scored(base)], tolerance)


def test_an_unchanged_run_passes() -> None:
    result = against({"psnr": BASE, "lpips-vgg": BASE / 100}, {"psnr": BASE, "lpips-vgg": BASE / 100})
    assert (result.code, verdicts(result)) == (0, {"psnr": "same", "lpips-vgg": "same"})
    assert "No regression: 2 unchanged" in check_markdown(result)


@pytest.mark.parametrize("average", ["clips", "batches-4"])
def test_more_windows_than_the_baseline_has_change_no_score(average: str) -> None:
    whole = in_windows([[30, 34], [20, 21, 22, 27], [40]], protocol=replace(PROTOCOL, average=average))
    part = replace(whole, samples=whole.samples[:-2])
    result = check([whole], [part])
    assert (result.code, verdicts(result)) == (0, {"psnr": "same"})
    result = check([part], [whole])
    assert (result.code, verdicts(result)) == (3, {"psnr": "same", "samples": "incomplete"})


def test_many_windows_of_three_clips_are_three_clips() -> None:
    drop = np.random.default_rng(0).normal(0.3, 0.05, 3)
    base, run = ([[30.0 - on * float(d)] * 20 for d in drop] for on in (0, 1))
    result = check([in_windows(run)], [in_windows(base)])
    assert (result.code, verdicts(result)) == (3, {"psnr": "incomplete"})
    assert "too few samples" in result.findings[0].text
    noise = np.random.default_rng(1).normal(0, 0.001, (20, 30))
    base, run = ([list(30.0 - on * (0.3 + row)) for row in noise] for on in (0, 1))
    assert check([in_windows(run)], [in_windows(base)]).code == 1


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.02, 0.05])
def test_a_drop_of_a_twentieth_of_a_decibel_on_32_clips_is_caught(noise: float) -> None:
    result = against({"psnr": BASE - 0.05 + RNG(1).normal(0, noise, 32)}, {"psnr": BASE})
    assert result.code == 1
    assert "| regression | m" in check_markdown(result)


@pytest.mark.parametrize("noise", [0.05, *(pytest.param(n, marks=pytest.mark.large) for n in (0.005, 0.5))])
def test_less_than_1_percent_of_1000_noisy_reruns_raise_an_alarm(noise: float) -> None:
    rng, base = RNG(2), [scored({"psnr": BASE})]
    codes = [check([scored({"psnr": BASE + rng.normal(0, noise, 32)})], base).code for _ in range(1000)]
    assert sum(code != 0 for code in codes) < 10


@pytest.mark.large
def test_more_models_raise_no_more_alarms() -> None:
    rng, base = RNG(3), [scored({"psnr": BASE}, f"m{k}") for k in range(20)]
    alarms = 0
    for _ in range(60):
        run = [scored({"psnr": BASE + rng.normal(0, 0.3, 32)}, f"m{k}") for k in range(20)]
        alarms += check(run, base).code != 0
    assert alarms <= 2  # 1,200 tests: six alarms without correction


def test_many_models_on_many_clips_do_not_hide_a_drop() -> None:
    """120 tests: the smallest p of 9,999 random draws would be too large after the correction."""
    rng, names = RNG(4), [f"m{k}" for k in range(120)]
    base = [scored({"psnr": BASE}, name) for name in names]
    run = [scored({"psnr": BASE + rng.normal(-0.2 * (name == "m7"), 0.01, 32)}, name) for name in names]
    result = check(run, base)
    assert [f.model for f in result.of("regression")] == ["m7"]


def test_a_drop_of_all_eight_built_in_models_on_the_sixteen_built_in_clips_is_caught() -> None:
    names, values = (
        [f"m{k}" for k in range(8)],
        {"psnr": BASE[:16], "ssim": BASE[:16] / 40, "lpips-vgg": BASE[:16] / 100},
    )
    base = [scored(values, name) for name in names]
    run = [scored({k: v * (0.98 if k != "lpips-vgg" else 1.1) for k, v in values.items()}, name) for name in names]
    assert len(check(run, base).of("regression")) == 24


@pytest.mark.parametrize(
    ("metric", "change", "verdict"),
    [
        ("psnr", -0.3, "regression"),
        ("psnr", 0.3, "improved"),
        ("psnr", -0.01, "moved"),
        ("psnr", 0.01, "moved"),
        ("lpips-vgg", 0.01, "regression"),
        ("lpips-vgg", -0.01, "improved"),
        ("bpp", 0.1, "regression"),
    ],
)
def test_worse_is_what_the_metric_says(metric: str, change: float, verdict: str) -> None:
    result = against({metric: BASE + change}, {metric: BASE})
    assert verdicts(result) == {metric: verdict}
    assert result.code == (verdict == "regression")


def test_a_drop_within_the_tolerance_given_passes() -> None:
    assert against({"psnr": BASE - 0.05}, {"psnr": BASE}, psnr=0.05).code == 0
    assert against({"psnr": BASE - 0.051}, {"psnr": BASE}, psnr=0.05).code == 1


def test_a_drop_that_may_be_chance_is_a_warning() -> None:
    result = against({"psnr": BASE + RNG(8).normal(-0.05, 0.5, 32)}, {"psnr": BASE})
    assert (result.code, verdicts(result)) == (0, {"psnr": "unproven"})
    assert [line.split(" ")[0] for line in annotations(result)] == ["::warning"]


def test_a_drop_that_too_few_samples_show_cannot_be_checked() -> None:
    """Four clips never give p below 2/16, and where all fell there is none to tell how much noise there is."""
    result = against({"psnr": BASE[:4] - 3}, {"psnr": BASE[:4]})
    assert result.code == 3
    assert "4 of 4 samples moved): too few samples" in result.findings[0].text


def fallen(clips: int, down: int, by: float, noise: float, seed: int = 5) -> CheckResult:
    """A check in which the first clips are `by` dB down and the others tremble."""
    run = BASE_100[:clips] + RNG(seed).uniform(-noise, noise, clips)
    run[:down] -= by
    return against({"psnr": run}, {"psnr": BASE_100[:clips]})


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-5, 1e-4, 1e-3, 0.01])
@pytest.mark.parametrize(("clips", "down"), [(16, 4), (100, 5), (30, 3), (32, 1), (8, 2), (12, 5), (9, 4), (100, 1)])
def test_clips_that_collapse_are_a_regression_and_named_however_the_others_tremble(
    clips: int, down: int, noise: float
) -> None:
    result = fallen(clips, down, 20.0, noise)
    assert result.code == 1
    named = [text.split(" ")[0] for text in result.findings[0].collapsed]
    assert sorted(named) == sorted(f"clip{i}" for i in range(down))
    assert "Collapsed:" in check_markdown(result)


@pytest.mark.parametrize("noise", [0.1, 0.3, 0.5])
def test_four_clips_that_collapse_at_once_are_seen_through_much_noise(noise: float) -> None:
    assert fallen(16, 4, 20.0, noise).code == 1


@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.005, 0.015])
def test_a_mean_beyond_its_tolerance_never_passes_because_others_tremble_within_it(noise: float) -> None:
    for by in (0.1, 0.2, 0.4, 2.0):
        assert fallen(16, 4, by, noise).code in (1, 3)


def test_a_clip_that_collapses_fails_also_where_the_mean_stays_within_the_tolerance_or_improves() -> None:
    change = np.where(np.arange(100) == 7, -1.0, 0.0)
    assert against({"psnr": BASE_100 + change}, {"psnr": BASE_100}).code == 1
    better = against({"psnr": BASE_100 + np.where(change, -20.0, 1.0)}, {"psnr": BASE_100})
    assert (better.code, better.findings[0].collapsed) == (1, [f"clip7 ({BASE_100[7]:.2f} → {BASE_100[7] - 20:.2f})"])


@pytest.mark.parametrize(("by", "code"), [(25.5, 1), (24.5, 0)])
def test_within_the_tolerance_of_the_mean_one_clip_may_fall_by_25_of_them(by: float, code: int) -> None:
    change = np.where(np.arange(100) == 7, by * 0.02, 0.0)
    assert against({"psnr": BASE_100 - change}, {"psnr": BASE_100}).code == code


def test_what_moved_by_less_than_a_thousandth_of_the_tolerance_has_not_moved() -> None:
    result = against({"psnr": BASE + RNG(1).uniform(-1.9e-5, 1.9e-5, 32)}, {"psnr": BASE})
    assert (verdicts(result), result.code, most_moved(result)) == ({"psnr": "same"}, 0, [])
    trembling = against(
        {"psnr": BASE[:12] + RNG(1).uniform(-1e-6, 1e-6, 12) - 0.5 * (np.arange(12) < 9)}, {"psnr": BASE[:12]}
    )
    assert trembling.findings[0].difference.p == 2.0**-8


NOISES: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "Student's t with 3 degrees of freedom": lambda rng, shape: rng.standard_t(3, shape),
    "a tenth scatters ten times as far": lambda rng, shape: (
        rng.normal(size=shape) * np.where(rng.random(shape) < 0.1, 10, 1)
    ),
    "each clip has its own scale": lambda rng, shape: rng.normal(size=shape) * np.exp(rng.normal(size=shape)),
}


def alarms(noise: str, clips: int, sigma: float, checks: int) -> int:
    """How many of so many checks of five metrics fail, where nothing but noise in units of tolerances moved."""
    rng = RNG(6)
    names = ("psnr", "ssim", "lpips-vgg", "flicker", "bpp")
    base = dict.fromkeys(names, BASE_100[:clips])
    stored, units = [scored(base)], np.array([TOLERANCES[name] for name in names])
    codes = []
    for _ in range(checks):
        moved = NOISES[noise](rng, (5, clips)) * sigma * units[:, None]
        codes.append(check([scored({n: base[n] + m for n, m in zip(names, moved, strict=True)})], stored).code)
    return codes.count(1)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(("clips", "sigma"), [(12, 2.0), pytest.param(16, 30.0, marks=pytest.mark.large)])
def test_noise_of_any_kind_raises_next_to_no_alarms(noise: str, clips: int, sigma: float) -> None:
    assert alarms(noise, clips, sigma, 100) <= 2


def test_a_metric_without_a_tolerance_may_worsen_by_a_hundredth(monkeypatch: pytest.MonkeyPatch) -> None:
    from cvbench.compare import gate

    monkeypatch.setattr(gate, "TOLERANCES", {})
    assert against({"psnr": BASE * 0.991}, {"psnr": BASE}).code == 0
    assert against({"psnr": BASE * 0.989}, {"psnr": BASE}).code == 1


@pytest.mark.parametrize(
    ("run", "base", "verdict", "code"),
    [
        (whole_set(13.0, 12.5, 13.5), whole_set(10.0, 9.5, 10.5), "regression", 1),
        (whole_set(10.5, 9.0, 12.0), whole_set(10.0, 9.0, 11.0), "unproven", 0),
        (whole_set(13.0, None, None), whole_set(10.0, None, None), "incomplete", 3),
        (whole_set(10.0, None, None), whole_set(10.0, None, None), "same", 0),
    ],
)
def test_scores_of_whole_sets_are_checked_by_their_intervals(
    run: RunRecord, base: RunRecord, verdict: str, code: int
) -> None:
    result = check([run], [base])
    assert (verdicts(result)["rfid"], result.code) == (verdict, code)


TWO = {"psnr": BASE, "ssim": BASE / 40}
FULL = scored(TWO)
FAILED = [Failure(f"clip{i}", "out of memory") for i in range(4)]
HALF = replace(PROTOCOL, dtype="bf16")
GONE = scored(TWO, scores={}, samples=[], error="no weights", error_kind="MissingWeights")
OTHER = replace(FULL.samples[0], sha256="f" * 64)


@pytest.mark.parametrize(
    ("run", "what", "words"),
    [
        ([scored(TWO, "n")], "record", "the run has no such record"),
        ([scored(TWO, data="e")], "record", "the run has no such record"),
        ([scored({"psnr": BASE}, unavailable={"ssim": "no such probe"})], "ssim", "missing: ssim (no such probe)"),
        ([scored({k: v[:30] for k, v in TWO.items()})], "samples", "missing: clip30, clip31 (not in the data)"),
        ([replace(FULL, samples=[OTHER, *FULL.samples[1:]])], "samples", "changed: clip0 (other prepared pixels)"),
        (
            [replace(FULL, samples=FULL.samples[4:], failures=FAILED)],
            "samples",
            "missing: clip0, clip1, clip2 and 1 more (out of memory)",
        ),
        (
            [replace(FULL, samples=[replace(FULL.samples[0], rows={"psnr": [BASE[0]]}), *FULL.samples[1:]])],
            "ssim, samples",
            "missing: ssim of clip0 (not measured)",
        ),
        ([scored(TWO, protocol=HALF)], "psnr", "not like for like: dtype is bf16 instead of fp32"),
        (
            [scored(TWO, protocol=EvalProtocol("q", 1))],
            "psnr",
            "not like for like: protocol is q/1 instead of p/1",
        ),
        ([GONE], "samples", "missing: every sample (no weights)"),
    ],
)  # fmt: skip
def test_what_the_run_lacks_or_measured_otherwise_is_named_and_exits_3(
    run: list[RunRecord], what: str, words: str
) -> None:
    result = check(run, [FULL])
    finding = next(f for f in result.of("incomplete") if f.what == what)
    assert words in finding.text
    assert words.replace("[", "\\[") in check_markdown(result)
    assert (result.code, result.of("regression")) == (3, [])


@pytest.mark.parametrize(
    ("run", "note"),
    [
        ([FULL, scored(TWO, "n")], "n on d under p: not in the baseline"),
        ([scored({**TWO, "flicker": BASE})], "m on d: extra: flicker (not measured)"),
        ([scored({k: [*v, 1.0] for k, v in TWO.items()})], "m on d: extra: clip32 (not in the data)"),
        ([replace(FULL, model=ModelFacts("m", "5" * 64))], "m: its code, options or weights are not the baseline's"),
        ([replace(FULL, unavailable={"lpips-vgg": "no weights"})], "lpips-vgg on d: in neither (no weights)"),
        ([replace(FULL, failures=[Failure("bad.png", "truncated")])], "d: bad.png scored in neither (truncated)"),
        ([replace(FULL, environment={"torch": "2.7", "os": "x"})], "environment: torch 2.7 instead of 2.6"),
    ],
)
def test_what_the_baseline_lacks_is_noted_and_passes(run: list[RunRecord], note: str) -> None:
    result = check(run, [replace(FULL, environment={"torch": "2.6"})])
    assert note in result.notes
    assert note in check_markdown(result)
    assert result.code == 0


def test_a_model_that_no_longer_runs_regressed() -> None:
    result = check([scored(TWO, scores={}, samples=[], error="KeyError: 'x'", error_kind="KeyError")], [FULL])
    assert [(f.what, f.text) for f in result.of("regression")] == [("record", "no longer runs: KeyError: 'x'")]
    assert result.code == 1
    assert "no longer runs: KeyError" in check_markdown(result)


def lacking(kind: str) -> list[RunRecord]:
    """A run that failed on four of the clips that the baseline has."""
    lost = [Failure(f"clip{i}", "what went wrong", kind) for i in range(4)]
    return [replace(FULL, samples=FULL.samples[4:], failures=lost)]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("BadOutput", 1),
        ("RuntimeError", 1),
        ("UnsuitableInput", 1),
        ("UnreadableSample", 3),
        ("OutOfMemoryError", 3),
        ("", 3),
    ],
)
def test_a_model_that_fails_on_samples_it_coded_before_regressed_but_not_for_the_file_or_the_machine(
    kind: str, code: int
) -> None:
    result = check(lacking(kind), [FULL])
    assert result.code == code
    words = "fails on 4 of 32 samples that it coded before: missing: clip0, clip1, clip2 and 1 more (what went wrong)"
    assert [f.text for f in result.of("regression")] == ([words] if code == 1 else [])


def test_a_regression_outweighs_what_could_not_be_checked() -> None:
    result = check([scored({"psnr": BASE - 1})], [FULL])
    assert (len(result.of("regression")), len(result.of("incomplete")), result.code) == (1, 1, 1)


def test_the_ten_samples_that_moved_most_are_named_in_units_of_the_tolerances() -> None:
    change = np.zeros(32)
    change[[5, 20, 7]] = [-0.4, 0.3, -0.1]
    run = {"psnr": BASE + change, "ssim": BASE / 40 - 0.02 * (np.arange(32) == 9)}  # 40 tolerances; 20, 15, 5
    result = against(run, {"psnr": BASE, "ssim": BASE / 40})
    assert [(m.sample, m.finding.what) for m in most_moved(result)] == [
        ("clip9", "ssim"), ("clip5", "psnr"), ("clip20", "psnr"), ("clip7", "psnr")
    ]  # fmt: skip
    assert len(most_moved(against({"psnr": BASE - 1}, {"psnr": BASE}))) == 10
    assert "-0.4000" in check_markdown(result)


def timing(**encode: float) -> list[RunRecord]:
    """Models by their encoding time; `pool` is a floor."""
    records = []
    for name, value in encode.items():
        record = scored(TWO, name, speed={"encode_ms": value, "decode_ms": 10.0, "shape": "1x3x17"})
        records.append(replace(record, model=replace(record.model, role="floor" if name == "pool" else "network")))
    return records


@pytest.mark.parametrize(
    ("run", "verdict"),
    [
        (timing(pool=2.0, vae=110.0), "same"),
        (timing(pool=4.0, vae=210.0), "same"),  # another machine, half as fast
        (timing(pool=2.0, vae=130.0), "regression"),
        (timing(pool=2.0, vae=70.0), "improved"),
    ],
)
def test_speed_is_checked_beside_a_model_of_the_same_run(run: list[RunRecord], verdict: str) -> None:
    result = check(run, timing(vae=100.0, pool=2.0), {"speed": 1.2})
    found = [f for f in result.findings if f.what == "encoding"]
    assert [(f.model, f.verdict) for f in found] == [("vae", verdict)]
    assert result.code == (verdict == "regression")
    assert check(run, timing(vae=100.0, pool=2.0)).code == 0


def test_the_model_that_speed_is_checked_beside_can_be_named() -> None:
    base, run = timing(pool=2.0, a=100.0, b=100.0), timing(pool=2.0, a=130.0, b=130.0)
    assert {f.model for f in check(run, base, {"speed": 1.2}).of("regression")} == {"a", "b"}
    beside = check(run, base, {"speed": 1.2}, "a")
    assert [(f.model, f.verdict) for f in beside.findings if f.what == "encoding"] == [
        ("pool", "improved"),
        ("b", "same"),
    ]


@pytest.mark.parametrize(
    ("run", "base", "reference", "words"),
    [
        ([FULL], [FULL], None, "the baseline holds no speed; save it with --speed"),
        ([FULL, scored(TWO, "pool")], timing(m=1.0, pool=1.0), None, "the run was not timed; run it with --speed"),
        (timing(m=1.0), timing(m=1.0), None, "a second model to be timed against"),
        (timing(m=1.0, pool=1.0), timing(m=1.0, pool=1.0), "x", "lack the speed of the model x"),
    ],
)
def test_speed_that_cannot_be_compared_exits_3(
    run: list[RunRecord], base: list[RunRecord], reference: str | None, words: str
) -> None:
    result = check(run, base, {"speed": 1.2}, reference)
    assert result.code == 3
    assert any(words in f.text for f in result.of("incomplete"))


def test_speeds_of_clips_of_two_shapes_are_not_compared() -> None:
    base = timing(a=1.0, b=1.0, pool=1.0)
    other = replace(base[0], speed={**(base[0].speed or {}), "shape": "1x3x1"})
    result = check([other, *base[1:]], base, {"speed": 1.2})
    assert [f.text for f in result.of("incomplete")] == ["timed on a clip of 1x3x1 instead of 1x3x17"]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"threads": 8}, "timed with 8 threads instead of None"), ({"device": "GPU"}, "timed on another machine")],
)
def test_speeds_of_other_threads_or_of_two_machines_in_one_run_are_not_compared(
    change: dict[str, object], words: str
) -> None:
    base = timing(a=1.0, pool=1.0)
    other = replace(base[0], speed={**(base[0].speed or {}), **change})
    result = check([other, base[1]], base, {"speed": 1.2})
    assert result.code == 3
    assert any(words in f.text for f in result.of("incomplete"))


def test_a_side_that_does_nothing_has_no_speed_to_check() -> None:
    base = [replace(r, speed={**(r.speed or {}), "encode_ms": None}) for r in timing(a=1.0, pool=1.0)]
    result = check(base, base, {"speed": 1.2})
    assert [f.what for f in result.findings if f.what in ("encoding", "decoding")] == ["decoding"]
    assert result.code == 0


def test_a_model_under_two_inits_is_checked_init_by_init() -> None:
    untrained = replace(FULL, model=replace(FULL.model, init="random"))
    assert check([FULL, untrained], [FULL, untrained]).code == 0
    assert [f.text for f in check([FULL], [FULL, untrained]).of("incomplete")] == ["the run has no such record"]


@pytest.mark.parametrize("mean", ["clip", "set"])
def test_the_check_judges_the_decibels_that_the_score_shows(mean: str) -> None:
    """Twelve clips, four of them bad: 10 log10 of the mean error falls by 1 dB where every clip does."""
    protocol = replace(PROTOCOL, psnr_mean=mean)
    values = np.array([40.0] * 8 + [20.0] * 4)
    result = check([scored({"psnr": values - 1}, protocol=protocol)], [scored({"psnr": values}, protocol=protocol)])
    difference = result.of("regression")[0].difference
    assert difference is not None
    score = values.mean() if mean == "clip" else -10 * np.log10((8e-4 + 4e-2) / 12)
    assert (difference.a, difference.b) == pytest.approx((score, score - 1))
    assert difference.change.mean == pytest.approx(-1)
    assert difference.change.low <= -1 + 1e-9 <= difference.change.high + 2e-9
    assert (
        check([scored({"psnr": values + 1}, protocol=protocol)], [scored({"psnr": values}, protocol=protocol)]).code
        == 0
    )


def test_tolerances_are_read() -> None:
    found = parse_tolerances(["psnr=0.05", "lpips=1e-3", "speed=1.2"])
    lpips = dict.fromkeys((name for name in METRICS if name.startswith("lpips-")), 0.001)
    assert found == {"psnr": 0.05, **lpips, "speed": 1.2}


@pytest.mark.parametrize("text", ["psnr", "psnr=", "psnr=-1", "psnr=nan", "psnr=inf", "psnr=x", "speed=0.5"])
def test_a_tolerance_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="takes"):
        parse_tolerances([text])


def test_a_tolerance_of_an_unknown_metric_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="'pnsr'; try psnr"):
        parse_tolerances(["pnsr=1"])


HOSTILE = 'a/ü "1"<script>\x00\x1b]]>&\ud800.png'


def mixed(created: str = "2026-01-02T03:04:05+00:00") -> CheckResult:
    """Two data sets with one regression, one missing metric, one improvement, one unchanged score, hostile names."""
    base = [scored(TWO, HOSTILE), scored({"psnr": BASE, "ssim": BASE}, HOSTILE, data="e")]
    run = [scored({"psnr": BASE - 1}, HOSTILE), scored({"psnr": BASE + 1, "ssim": BASE}, HOSTILE, data="e")]
    return check([replace(r, created=created) for r in run], base)


def test_junit_satisfies_its_schema_and_counts_right() -> None:
    xml = junit_xml(mixed())
    SCHEMA.validate(xml.decode())
    suites = ET.fromstring(xml).findall("testsuite")
    counts = [[int(suite.get(key, "")) for key in ("id", "tests", "failures", "errors")] for suite in suites]
    assert counts == [[0, 2, 1, 1], [1, 2, 0, 0]]
    assert [(c.get("name"), [e.tag for e in c]) for c in suites[0].iter("testcase")] == [
        ("psnr", ["failure"]), ("ssim", ["error"])
    ]  # fmt: skip
    assert suites[0].get("timestamp") == "2026-01-02T03:04:05"


def test_junit_of_nothing_and_of_a_record_without_a_date_satisfies_the_schema() -> None:
    for result in (CheckResult([]), mixed(created="")):
        SCHEMA.validate(junit_xml(result).decode())


def test_the_schema_refuses_what_readers_would() -> None:
    good = junit_xml(mixed()).decode()
    for old, new in (
        ('type="regression" ', ""),
        ("<properties />", ""),
        ("+00:00", ""),
        ('time="0"', 'time="x"'),
        ('errors="1"', ""),
    ):
        if old in good:
            with pytest.raises(xmlschema.XMLSchemaValidationError):
                SCHEMA.validate(good.replace(old, new))
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        SCHEMA.validate(good.replace("03:04:05", "03:04:05Z"))


def finding(verdict: str, name: str = "m") -> Finding:
    return Finding(name, "d", "p", "psnr", verdict, "100 %\nworse: a, b")  # type: ignore[arg-type]


def test_annotations_are_escaped_as_github_reads_them() -> None:
    lines = list(annotations(CheckResult([finding("regression", "a,b:c%\n::stop")])))
    title = "regression%3A a%2Cb%3Ac%25%0A%3A%3Astop on d%2C PSNR"
    assert lines == [f"::error title={title}::100 %25%0Aworse: a, b"]


def test_annotations_are_at_most_ten_a_level_regressions_first() -> None:
    many = [finding("incomplete")] * 12 + [finding("regression")] + [finding("unproven")] * 10 + [finding("improved")]
    lines = list(annotations(CheckResult([*many, finding("same"), finding("moved")])))
    assert [sum(line.startswith(f"::{level}") for line in lines) for level in ("error", "warning", "notice")] == [
        10,
        10,
        1,
    ]
    assert lines[0].startswith("::error title=regression")
    assert lines[9] == "::error::and 4 more, in the job's summary"


def test_the_summary_is_appended_and_fits(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    write_summary(mixed(), path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(
        "before\n## cvbench check\n\n**Regression: 1 regressed, 1 not checked, 1 improved, 1 unchanged**"
    )
    assert "<script>" not in text
    write_summary(CheckResult([finding("incomplete", "ü" * 1000)] * 2000), path)
    assert path.stat().st_size < 2**20
    assert "Cut off here" in path.read_text(encoding="utf-8")


def test_no_line_of_the_report_is_a_workflow_command() -> None:
    record = scored(TWO, "m\n::error::x", unavailable={"lpips-vgg": "no\n::error::y"})
    run = scored(
        {"psnr": BASE - 1}, "m\n::error::x", unavailable={"lpips-vgg": "no\n::error::y", "ssim": "\n::error::z"}
    )
    assert not [line for line in check_markdown(check([run], [record])).splitlines() if line.startswith("::")]


def test_a_baseline_keeps_scores_and_rows_but_neither_date_nor_speed(tmp_path: Path) -> None:
    made = timing(a=1.0)[0]
    record = replace(made, created="2026-01-01T00:00:00+00:00", environment={"torch": "2.6"})
    saved = save_baseline([record], tmp_path)
    kept = read_records([tmp_path])[0]
    assert saved.written == ["a on d under p"]
    assert kept.to_json() == replace(record, created="", speed=None).to_json()
    save_baseline([record], tmp_path / "timed", speed=True)
    assert read_records([tmp_path / "timed"])[0].speed == record.speed


def test_a_baseline_is_written_again_only_where_what_was_measured_changed(tmp_path: Path) -> None:
    save_baseline([scored(TWO, "a"), scored(TWO, "b")], tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "records").iterdir()}
    later = {"created": "2027-01-01T00:00:00+00:00", "environment": {"torch": "3"}}
    changed = scored({"psnr": BASE + 1e-9, "ssim": BASE / 40}, "b", **later)
    saved = save_baseline([scored(TWO, "a", **later), changed], tmp_path)
    assert (saved.unchanged, saved.written) == (["a on d under p"], ["b on d under p"])
    after = {path.name: path.read_bytes() for path in (tmp_path / "records").iterdir()}
    assert [name for name in before if before[name] != after[name]] == ["b--d--p.json"]


def test_a_record_without_scores_is_no_baseline_and_other_records_stay(tmp_path: Path) -> None:
    save_baseline([scored(TWO, "a")], tmp_path)
    saved = save_baseline([scored(TWO, "b", scores={}, samples=[], error="no weights"), scored(TWO, "c")], tmp_path)
    assert saved.refused == ["b on d under p: no weights"]
    assert saved.left == ["a on d under p"]
    assert {r.model.name for r in read_records([tmp_path])} == {"a", "c"}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    """A run and its baseline."""
    for name in "ab":
        write_record(tmp_path / "run", scored(TWO, name))
    save_baseline(read_records([tmp_path / "run"]), tmp_path / "base")
    return str(tmp_path / "run"), str(tmp_path / "base")


def test_the_program_passes_an_unchanged_run(folders: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["check", folders[0], "--against", folders[1]]) == 0
    assert "**No regression: 4 unchanged**" in capsys.readouterr().out


def test_the_program_exits_1_and_reports_a_regression_everywhere(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(tmp_path / "run", scored({"psnr": BASE - 0.05, "ssim": BASE / 40}, "b"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    junit = tmp_path / "out" / "check.xml"
    assert run_program(["check", folders[0], "--against", folders[1], "--junit", str(junit), "--github"]) == 1
    out = capsys.readouterr().out
    assert "\n::error title=regression%3A b on d%2C PSNR::PSNR fell by 0.0500 dB" in out
    assert "| clip0 " in out
    SCHEMA.validate(junit.read_text(encoding="utf-8"))
    assert "1 regressed" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert run_program(["check", folders[0], "--against", folders[1], "--tolerance", "psnr=0.06"]) == 0


def test_the_program_exits_3_where_the_run_lacks_a_model(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "records" / "b--d--p.json").unlink()
    assert run_program(["check", folders[0], "--against", folders[1]]) == 3
    assert "incomplete: b on d, record: the run has no such record" in capsys.readouterr().out


def test_what_may_be_chance_fails_where_that_is_asked_for(folders: tuple[str, str], tmp_path: Path) -> None:
    shaken = BASE + RNG(8).normal(-0.05, 0.5, 32)
    write_record(tmp_path / "run", scored({"psnr": shaken, "ssim": BASE / 40}, "b"))
    line = ["check", folders[0], "--against", folders[1]]
    assert run_program(line) == 0
    assert run_program([*line, "--fail-on", "unproven"]) == 1


def test_a_run_that_is_not_there_is_an_error_in_the_report_too(folders: tuple[str, str], tmp_path: Path) -> None:
    junit = tmp_path / "check.xml"
    assert run_program(["check", str(tmp_path / "gone"), "--against", folders[1], "--junitxml", str(junit)]) == 2
    SCHEMA.validate(junit.read_text(encoding="utf-8"))
    assert junit.read_text(encoding="utf-8").count("the run has no such record") >= 2


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--against", "nowhere"],
        ["--against", "BASE", "--tolerance", "pnsr=1"],
        ["--against", "BASE", "--tolerance", "psnr"],
    ],
)
def test_the_program_exits_2_for_a_wrong_request(folders: tuple[str, str], more: list[str]) -> None:
    assert run_program(["check", folders[0], *(folders[1] if word == "BASE" else word for word in more)]) == 2


def test_the_program_saves_a_baseline(
    folders: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(["baseline", "save", folders[0], "--to", str(tmp_path / "new")]) == 0
    assert "written\ta on d under p" in capsys.readouterr().out
    write_record(tmp_path / "run", scored(TWO, "c", scores={}, samples=[], error="no weights"))
    assert run_program(["baseline", "save", folders[0], "--to", str(tmp_path / "new")]) == 3
    assert "refused\tc on d under p: no weights" in capsys.readouterr().out


def test_a_real_run_passes_against_itself_and_fails_against_a_better_one(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, base = str(tmp_path / "run"), tmp_path / "base"
    fast = ("--set", "frames=2", "--set", "size=48", "--metrics", "psnr", "--no-speed", "--device", "cpu")
    assert run_program(["run", "-m", "jpeg,identity", "-d", str(pictures), "--out", run, *fast]) == 0
    assert run_program(["baseline", "save", run, "--to", str(base)]) == 0
    assert run_program(["check", run, "--against", str(base)]) == 0
    path = next((base / "records").glob("jpeg*"))
    raw = json.loads(path.read_text(encoding="utf-8"))
    for sample in raw["samples"]:
        sample["rows"]["psnr"] = [value + 1 for value in sample["rows"]["psnr"]]
    path.write_text(json.dumps(raw), encoding="utf-8")
    capsys.readouterr()
    assert run_program(["check", run, "--against", str(base)]) == 3  # four samples are too few for the test
    assert "PSNR fell by 1.0000 dB" in capsys.readouterr().out


LIGHT = """
import sys
from cvbench.cli import run_program
code = run_program({arguments!r})
sys.exit("imported torch" if "torch" in sys.modules else code)
"""


def test_check_compare_and_baseline_import_no_torch(folders: tuple[str, str], tmp_path: Path) -> None:
    run, base = folders
    for line in (["check", run, "--against", base], ["compare", run, base], ["baseline", "save", run, "--to", base]):
        code = LIGHT.format(arguments=line)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def workflow() -> dict[str, object]:
    """The workflow in the documentation."""
    text = DOCS.read_text(encoding="utf-8")
    return yaml.safe_load(text.split("```yaml\n", 1)[1].split("```", 1)[0])


def test_the_workflow_in_the_documentation_checks_what_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = workflow()["jobs"]["quality"]["steps"]  # type: ignore[index]
    lines = [line for step in steps for line in step.get("run", "").replace("\\\n", " ").splitlines()]
    commands = {words[1]: words[1:] for line in lines if (words := shlex.split(line))[:1] == ["cvbench"]}
    assert list(commands) == ["run", "check"]
    monkeypatch.chdir(tmp_path)
    out = commands["run"][commands["run"].index("--out") + 1]
    write_record(Path(out), FULL)
    save_baseline([FULL], Path(commands["check"][commands["check"].index("--against") + 1]))
    assert run_program(commands["check"]) == 0
    junit = commands["check"][commands["check"].index("--junit") + 1]
    assert Path(junit).is_file()
    assert any(junit in str(step.get("with", "")) for step in steps)
    assert run_program(["run", "--help"]) == 0
    options = capsys.readouterr().out
    assert all(word.split("=")[0] in options for word in commands["run"] if word.startswith("--"))
