import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from cvbench.core.digest import digest
from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.protocol import PROTOCOLS, EvalProtocol, Stage, as_text, protocol, settable
from cvbench.core.run import ACTING, Run


def test_the_default_is_the_papers_protocol() -> None:
    p = PROTOCOLS["cvvae-2405"]
    assert (p.frames, p.stride, p.start, p.size, p.filter, p.antialias, p.crop) == (
        33,
        3,
        0,
        256,
        "bicubic",
        True,
        "center",
    )
    assert (p.eight, p.posterior, p.dtype, p.lpips, p.psnr_mean) == ("round", "mode", "fp32", "vgg", "frames")


def test_a_derived_protocol_is_named_for_what_differs() -> None:
    assert protocol("cvvae-2405", ["frames=17", "antialias=false", "size=none", "stride=3"]).name == (
        "cvvae-2405+frames=17+size=none+antialias=false"
    )


@pytest.mark.parametrize(
    "change",
    ["frames", "frames=x", "frames=0", "size=8", "eight=maybe", "posterior=median", "stride=-1", "filter=lanczos=1"],
)
def test_impossible_changes_are_refused_with_what_would_do(change: str) -> None:
    with pytest.raises(UsageError, match=change.split("=")[0]):
        protocol("cvvae-2405", [change])


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UnknownName, match="cvvae-2405"):
        protocol("cvvae-2404")
    with pytest.raises(UnknownName, match="frames"):
        protocol("cvvae-2405", ["frame=3"])


OTHER = {
    "frames": 9, "stride": 2, "start": 1, "short": "error", "reader": "decord", "size": (320, 512),
    "filter": "lanczos", "antialias": False, "crop": "none", "eight": "none", "posterior": "sample", "dtype": "tf32",
    "tiling": True, "seed": 5, "lpips": "alex", "psnr_mean": "set", "rate": 30, "spacing": "spread", "windows": "all",
    "fit": "stretch", "resizer": "swscale", "cast": "bf16", "window": 17, "padding": "grey", "eight_nets": "raw",
    "remap": "half", "through": "mp4v", "through_fps": 24, "through_side": "recon", "display": "standard_fhd",
    "display_fps": 24, "ssim": "down",
    "lpips_input": "unit", "psnr_equal": "mse", "fid_resize": "tf1", "fvd_batch": 1, "fvd_prefixes": True,
    "average": "batches-4", "average_nets": "items", "steps": 30, "guidance": 7.5, "guidance_first": 1,
    "scheduler": "ddim", "video_frames": 5, "video_fps": 8, "motion": 9, "noise": 0.5, "drawn_in": "bf16",
}  # fmt: skip
"""Another value for each field: a field that is new has to be added here, and its stage is then tested."""


def test_every_field_says_where_it_acts_and_changes_the_keys_from_there_on_alone() -> None:
    base = EvalProtocol("p", 1)
    assert {f.name for f in settable()} == set(OTHER)
    for f in settable():
        changed = replace(base, **{f.name: OTHER[f.name]})
        keys = [Run(p, "s", ("model",)) for p in (base, changed)]
        differ = {stage: keys[0].key(stage) != keys[1].key(stage) for stage in ACTING}
        stages = set(f.metadata["stages"])
        assert stages <= set(get_args(Stage))
        assert differ == {
            "prepare": bool(stages & {"read", "prepare"}),
            "draw": "draw" in stages,
            "code": "code" in stages,
            "measure": bool(stages & {"code", "measure"}),
        }, f.name


def test_a_key_holds_source_models_runtime_and_what_a_task_does() -> None:
    base = Run(EvalProtocol("p", 1), "s", ("m",), {"torch": "1"}, {"view": 1})
    others = [{"source": "t"}, {"subject": ("n",)}, {"subject": ("m", "m")}, {"runtime": {"torch": "2"}}, {"task": {}}]
    keys = [run.key("measure") for run in (base, *(replace(base, **other) for other in others))]
    assert len(set(keys)) == len(keys)


def test_rows_of_a_target_do_not_depend_on_how_models_are_run() -> None:
    runs = [Run(EvalProtocol("p", 1, dtype=dtype), "s") for dtype in ("fp32", "bf16")]
    assert runs[0].key("measure") == runs[1].key("measure")


TOGETHER = ("filter", "resizer", "through_side")
"""Fields whose other value asks for others, too."""
ALONE = [f"{name}={as_text(value)}" for name, value in OTHER.items() if name not in TOGETHER]


@pytest.mark.parametrize("change", ALONE)
def test_a_protocol_survives_its_json(change: str) -> None:
    made = protocol("cvvae-2405", [change])
    assert EvalProtocol.from_dict(json.loads(json.dumps(made.as_dict()))) == made


def test_fields_that_a_record_lacks_have_their_defaults() -> None:
    assert EvalProtocol.from_dict({"name": "p", "version": 1, "frames": 17}) == EvalProtocol("p", 1, frames=17)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({}, "name"), ({"name": "", "version": 1}, "name"), ({"name": 5, "version": 1}, "name"),
        ({"name": "p", "version": True}, "version"), ({"name": "p", "version": 1, "framse": 3}, "framse"),
        ({"name": "p", "version": 1, "frames": 3.5}, "frames"), ({"name": "p", "version": 1, "frames": []}, "frames"),
        ({"name": "p", "version": 1, "antialias": 1}, "antialias"), ({"name": "p", "version": 1, "size": "9x"}, "size"),
        ({"name": "p", "version": 1, "size": 3}, "size"), ({"name": "p", "version": 1, "frames": "9" * 5000}, "frames"),
    ],
)  # fmt: skip
def test_what_is_no_protocol_is_refused_by_field(raw: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        EvalProtocol.from_dict(raw)


@pytest.mark.parametrize("text", ["--5", "²", "٣", "5.0", "1e3", "", "9" * 5000, "0x10", " 5"])
def test_a_number_is_written_in_plain_digits(text: str) -> None:
    with pytest.raises(UsageError, match="frames"):
        protocol("cvvae-2405", [f"frames={text}"])


def test_height_and_width_are_a_size() -> None:
    made = protocol("cvvae-2405", ["size=320x512"])
    assert (made.size, made.name) == ((320, 512), "cvvae-2405+size=320x512")
    with pytest.raises(UsageError, match="size must be at least 16"):
        protocol("cvvae-2405", ["size=320x8"])


@pytest.mark.parametrize("stage", ["prepare", "code", "measure"])
@pytest.mark.parametrize("subject", [(), ("m", "ü\ud800")])
def test_a_key_is_the_digest_of_its_parts(stage: str, subject: tuple[str, ...]) -> None:
    run = Run(EvalProtocol("p", 1, size=(64, 48)), 'a "b"/ü|1', subject, {"torch": "2", "av": "1"}, {"z": 1, "a": [2]})
    acting = {"prepare": ("read", "prepare"), "code": ("code",), "measure": ("code", "measure")}[stage]
    fields = run.protocol.of(*(s for s in acting if subject or s != "code"))
    parts = {"stage": stage, "source": run.source, "subject": subject, "fields": fields}
    assert run.key(stage) == digest({**parts, "runtime": dict(run.runtime), "task": dict(run.task)})


@pytest.mark.parametrize(("changes", "words"), [
    (["through_side=recon"], "through_side=both"), (["through=mp4v", "eight_nets=none"], "eight_nets=as"),
    (["through=h264-qp20", "eight=floor", "eight_nets=round"], "eight_nets=as"),
])  # fmt: skip
def test_fields_that_would_act_without_their_file_or_be_passed_over_for_it_are_refused(
    changes: list[str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        protocol("cvvae-2405", changes)
    with pytest.raises(UsageError, match="through_side=both"):
        protocol("cvvae-script-2405", ["through=none"])
    assert protocol("cvvae-script-2405", ["through=none", "through_side=both"]).through == "none"
    assert protocol("cvvae-2405", ["through=png", "through_side=recon", "eight_nets=none"])
    assert protocol("cvvae-2405", ["through=mp4v", "eight=floor", "eight_nets=floor"])


def test_a_field_beside_its_table_is_told_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("size = 48\n")
    with pytest.raises(UsageError, match=r"no 'size'; fields of the protocol stand in a table \[fields\]"):
        protocol(str(tmp_path / "mine.toml"))
