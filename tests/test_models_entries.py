"""What every entry of a network must say, and what the bases of latents have in common with those that share them."""

import re

import pytest

from cvbench.models import MODELS
from cvbench.models.about import licence_of, shares_of, weights_of
from cvbench.models.entry import ModelEntry

NETWORKS = {name: entry for name, entry in MODELS.items() if entry.role == "network"}
UNSTATED = {
    *(
        "cvvae-3d",
        "wf-vae-s-4",
        "wf-vae-l-4",
        "lightvae-w2.2",
        "lightvae-w2.2-half",
    ),  # no weights of theirs are published
    *("asymmetric-x1.5", "asymmetric-x2", "eq-vae", "eq-vae-ema"),
    *("turbo-vaed-hunyuan", "turbo-vaed-cogvideox", "turbo-vaed-ltx"),
}
"""Networks whose publishers state no licence, as far as was seen."""
GATED = {"vae-sd3", "ltx-2.5-diffusion"}
"""Those whose pages ask for a name before they give weights, as far as was seen."""
KEPT = {"taesdv": 1, "svd": 1, "cvvae": 4, "cvvae-1.1": 4, "cvvae-3d": 4, "cvvae-sd3": 4}
"""Temporal compression of networks for clips whose base is of images."""
SHA256 = re.compile(r"[0-9a-f]{8,64}")
COMMIT = re.compile(r"main|[0-9a-f]{40}")


def of_images(name: str) -> bool:
    return MODELS[MODELS[name].base].traits.temporal == 1


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_missing(name: str) -> None:
    entry = NETWORKS[name]
    assert entry.about
    assert entry.params is not None
    assert all(entry.params) or name.startswith("rife")  # which encodes by keeping frames
    assert entry.traits.bits_per_pixel
    assert bool(entry.licence) == (name not in UNSTATED)
    source = entry.source
    assert source is not None
    assert source.files
    assert sum(map(bool, (source.repo, source.url, source.page, source.unpublished, source.bundled))) >= 1
    assert not source.repo or COMMIT.fullmatch(source.revision)
    assert all(SHA256.fullmatch(digest) for digest in (source.sha256, *source.others) if digest)
    assert source.gated == (name in GATED)


def test_published_hashes_are_of_one_file_each() -> None:
    hashes = [entry.source.sha256 for entry in NETWORKS.values() if entry.source and entry.source.sha256]
    assert len(hashes) == len(set(hashes))
    assert len(hashes) > 30


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.base])
def test_a_base_has_the_form_of_the_latents_that_it_shares(name: str) -> None:
    entry, base = MODELS[name], MODELS[MODELS[name].base]
    assert not base.base, "a base is where latents come from"
    assert (entry.traits.channels, entry.traits.spatial) == (base.traits.channels, base.traits.spatial)
    expected = KEPT.get(name, 4 if name.startswith("tiny-video") else base.traits.temporal)
    assert entry.traits.temporal == expected
    assert shares_of(entry).startswith(f"{entry.base}, {entry.latents}")


def stands_in(entry: ModelEntry) -> bool:
    return any(word in entry.about for word in ("for the latents of", "pruned", "stands in"))


def test_what_stands_in_for_another_says_for_which() -> None:
    named = {name for name, entry in MODELS.items() if stands_in(entry) and not entry.base}
    assert named == {"taeos1.3"}  # Open-Sora 1.3, whose own network is in no library
    shared = {name for name, entry in MODELS.items() if entry.compatible == "yes"}
    assert {name for name in shared if not MODELS[name].base} == set()


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.encoder])
def test_a_decoder_s_licence_and_weights_are_said_beside_its_encoder_s(name: str) -> None:
    entry, encoder = MODELS[name], MODELS[MODELS[name].encoder]
    assert encoder.params is not None
    assert entry.params is not None
    assert entry.params[0] == encoder.params[0]
    assert licence_of(entry) == f"{encoder.licence} (encoder), {entry.licence or 'not stated'} (decoder)"
    assert weights_of(entry).endswith(f"; encoder: {entry.encoder}")


def test_where_weights_come_from_names_the_commit_that_is_pinned_and_a_gate() -> None:
    assert weights_of(MODELS["omnitokenizer"]) == "Daniel0724/OmniTokenizer@337629d"
    assert weights_of(MODELS["vae-sd3"]).endswith(" (gated)")
    assert weights_of(MODELS["wan-2.1"]) == "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
    assert weights_of(MODELS["tiny-image"]) == "in the package"
    assert weights_of(MODELS["identity"]) == "none"
