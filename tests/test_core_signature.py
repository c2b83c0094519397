from dataclasses import replace

import pytest
from conftest import PROTOCOL, signature

from cvbench.core.errors import UsageError
from cvbench.core.protocol import protocol
from cvbench.core.signature import Signature

OLD = "psnr:1 data=my clips#0123456789ab protocol=p/1 frames=17 size=none antialias=false reader=pyav"
"""As a record of schema 1 held it; fields that are newer are not in it."""


def test_a_text_of_the_first_schema_is_read_and_lacking_fields_have_their_defaults() -> None:
    made = Signature.parse(OLD)
    assert (made.metric, made.version, made.data, made.manifest) == ("psnr", "1", "my clips", "0123456789ab")
    assert made.protocol == replace(PROTOCOL, frames=17, size=None, antialias=False)


@pytest.mark.parametrize(
    "made",
    [
        signature(), signature("ssim", version="2#ab"), signature(data="-", manifest=""), signature(generated=25),
        signature(protocol=protocol("cvvae-2405", ["size=320x512", "round8=false"])), signature(data="a b#c data=d"),
    ],
    ids=str,
)  # fmt: skip
def test_a_signature_survives_its_text_and_its_json(made: Signature) -> None:
    assert Signature.parse(made.text) == made
    assert Signature.from_dict(made.as_dict(), made.protocol) == made


def test_a_difference_names_the_fields() -> None:
    other = signature("psnr", version="2", protocol=replace(PROTOCOL, size=128), data="e")
    assert signature().difference(signature()) == ""
    said = signature().difference(other)
    assert said == "metric is psnr:2 instead of psnr:1, data is e#1 instead of d#1, size is 128 instead of 256"
    assert signature().without_samples().difference(signature(data="e", manifest="9").without_samples()) == ""


def test_the_short_text_leaves_to_the_protocols_name_what_it_says() -> None:
    made = signature(protocol=protocol("cvbench-1", ["size=128"]))
    assert made.short == "psnr:1 data=d#1 protocol=cvbench-1+size=128/1"
    assert made.text.startswith("psnr:1 data=d#1 protocol=cvbench-1+size=128/1 frames=17")


@pytest.mark.parametrize(
    "text", ["", "psnr", "psnr:1 size=5", "psnr:1 data=d", "a:1 data=d protocol=p/x", f"{OLD} x=1"]
)
def test_what_is_no_signature_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Signature.parse(text)
