import pytest

from cvbench.core.errors import UnknownName, UsageError
from cvbench.core.protocol import PROTOCOLS, protocol


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
    assert (p.round8, p.posterior, p.dtype, p.lpips, p.psnr_mean) == (True, "mode", "fp32", "vgg", "frames")


def test_a_derived_protocol_is_named_for_what_differs() -> None:
    assert protocol("cvvae-2405", ["frames=17", "antialias=false", "size=none", "stride=3"]).name == (
        "cvvae-2405+frames=17+size=none+antialias=false"
    )


@pytest.mark.parametrize(
    "change",
    ["frames", "frames=x", "frames=0", "size=8", "round8=maybe", "posterior=median", "stride=-1", "filter=lanczos=1"],
)
def test_impossible_changes_are_refused_with_what_would_do(change: str) -> None:
    with pytest.raises(UsageError, match=change.split("=")[0]):
        protocol("cvvae-2405", [change])


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UnknownName, match="cvvae-2405"):
        protocol("cvvae-2404")
    with pytest.raises(UnknownName, match="frames"):
        protocol("cvvae-2405", ["frame=3"])


def test_every_field_that_changes_a_number_is_in_one_of_the_keys() -> None:
    p = PROTOCOLS["cvvae-2405"]
    reduced_later = {"name", "version", "lpips", "psnr_mean"}
    assert set(p.as_dict()) == {*p.preparation, *p.reconstruction, *reduced_later}
