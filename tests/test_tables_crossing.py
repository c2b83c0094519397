from dataclasses import replace

import pytest
from conftest import PROTOCOL, scored

from cvbench.core.protocol import EvalProtocol
from cvbench.core.records import RunRecord
from cvbench.tables.crossing import Crossings, build_compat, verdict


def crossed(view: str, lost: float, n: int, protocol: EvalProtocol = PROTOCOL) -> list[RunRecord]:
    """Reconstructions of `n` samples by a model b from its own latents, and from those of a, `lost` dB worse."""
    records = []
    for encoder, value in (("b", 30.0), ("a", 30.0 - lost)):
        about = {"encoder": encoder, "decoder": "b", "source": view, "target": view, "noise": 0.0, "latents": {}}
        made = scored({"psnr": [value] * n}, f"{encoder}>b", data=f"d:{view}", protocol=protocol)
        records.append(replace(made, crossing=about))
    return records


def comp(*records: RunRecord) -> str:
    return build_compat(records).rows[0][2].text


@pytest.mark.parametrize(
    ("images", "static", "text"),
    [
        ((0.1, 8), (0.3, 9), "✓ 0.30 dB (images n = 8, static clips n = 9)"),
        ((0.1, 8), (0.6, 9), "× 0.60 dB (images n = 8, static clips n = 9)"),
        ((0.1, 8), (0.3, 7), "too few samples: 0.30 dB (images n = 8, static clips n = 7)"),
        ((0.1, 1), None, "too few samples: 0.10 dB (images n = 1)"),
        ((0.1, 8), None, "static clips not measured: 0.10 dB (images n = 8)"),
        (None, (0.1, 8), "images not measured: 0.10 dB (static clips n = 8)"),
        (None, (0.7, 8), "× 0.70 dB (static clips n = 8)"),
    ],
)
def test_a_verdict_says_what_it_rests_on_and_is_good_only_where_both_were_measured_on_enough(
    images: tuple[float, int] | None, static: tuple[float, int] | None, text: str
) -> None:
    views = (("images", images), ("static", static))
    assert comp(*(r for view, given in views if given for r in crossed(view, *given))) == text


def test_a_still_image_counts_as_a_static_clip() -> None:
    assert comp(*crossed("images", 0.0, 8), *crossed("still", 0.2, 8)).startswith("✓ 0.20 dB")


@pytest.mark.parametrize("mean", ["frames", "clip", "set"])
def test_what_is_lost_is_in_decibels_however_the_protocol_averages(mean: str) -> None:
    protocol = replace(PROTOCOL, psnr_mean=mean)
    found = Crossings(crossed("images", 0.25, 8, protocol))
    judged = verdict(found.losses(("a", "b")))
    assert judged is not None
    assert judged.lost == pytest.approx(0.25)
