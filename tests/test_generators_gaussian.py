"""The generator whose answer is known: diffusers' loop against the product of facts, dimension by dimension."""

from typing import Any

import numpy as np
import pytest
import torch

from cvbench import generators
from cvbench.core.errors import UnknownName, UnsuitableInput, UsageError
from cvbench.core.protocol import PROTOCOLS, EvalProtocol, derive
from cvbench.generators import GENERATORS, Condition, GeneratorLoading, Row
from cvbench.generators.gaussian import Gaussian

pytestmark = pytest.mark.usefixtures("textures")
SMALL = derive(PROTOCOLS["cvbench-gen-1"], ["size=32"])


def gaussian(name: str, *changes: str) -> Gaussian:
    entry = GENERATORS[name]
    loading = GeneratorLoading(torch.device("cpu"), entry.settings(derive(SMALL, changes)), None, entry.config)
    made: Any = generators.build(entry, loading)
    return made


def closed_form(generator: Gaussian, first: np.ndarray | None, seed: int) -> np.ndarray:
    """DDIM with eta 0 scales the starting noise along each eigenvector, and adds √a of the mean at the end."""
    mean, (time, vectors) = generator.moments(first)
    steps = len(generator.scheduler.timesteps)
    a = generator.scheduler.alphas_cumprod.double().numpy()
    at = (np.arange(steps) * (1000 // steps)).round()[::-1].astype(int)
    before, after = a[at], np.append(a[at[1:]], a[0])
    values = np.outer(time, generator.fit.values)
    x = generator.to_eigen(generator.start(seed).numpy() - np.sqrt(before[0]) * mean, vectors)
    for old, new in zip(before, after, strict=True):
        x *= (np.sqrt(old * new) * values + np.sqrt((1 - old) * (1 - new))) / (old * values + 1 - old)
    made = generator.from_eigen(x, vectors, mean.shape) + np.sqrt(after[-1]) * mean
    return np.asarray(made * generator.fit.std)


@pytest.mark.parametrize("name", ["gaussian-t2i", "gaussian-t2v", "gaussian-i2v"])
def test_the_loop_equals_the_closed_form(name: str) -> None:
    generator = gaussian(name)
    first = None
    if name == "gaussian-i2v":
        first = np.random.default_rng(0).integers(0, 256, (3, 1, 32, 32)).astype(np.uint8)
    made = generator.draw(Condition("a", first), 7)
    assert made.shape == (4, 1 if name == "gaussian-t2i" else 5, 4, 4)
    assert np.abs(made - closed_form(generator, first, 7)).max() < 1e-5


def test_a_sample_depends_on_seed_and_nothing_before() -> None:
    generator = gaussian("gaussian-t2i", "steps=5")
    first = generator.draw(Condition("a"), 1)
    assert np.array_equal(first, gaussian("gaussian-t2i", "steps=5").draw(Condition("b"), 1))
    generator.draw(Condition("a"), 2)
    assert np.array_equal(first, generator.draw(Condition("a"), 1))
    assert not np.array_equal(first, generator.draw(Condition("a"), 2))


def test_a_video_begins_with_the_first_frame_it_is_given() -> None:
    generator = gaussian("gaussian-i2v", "steps=200")
    first = np.full((3, 1, 32, 32), 200, np.uint8)
    mean, _ = generator.moments(first)
    made = generator.draw(Condition("", first), 3) / generator.fit.std
    start = np.abs(made[:, 0] - mean[:, 0]).mean()
    assert start < 0.1 < np.abs(made[:, -1] - mean[:, -1]).mean()


@pytest.mark.parametrize("size", ["size=36", "size=512"])
def test_sizes_it_cannot_draw_are_refused(size: str) -> None:
    with pytest.raises(UnsuitableInput, match="256"):
        gaussian("gaussian-t2i", size)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("svd", Row("svd", "svd")),
        ("svd+cvvae@decode=each", Row("svd+cvvae@decode=each", "svd", "cvvae", "each")),
        ("svd+cvvae@tile=0,decode=each", Row("svd+cvvae@tile=0,decode=each", "svd", "cvvae@tile=0", "each")),
        ("svd+rife@4x", Row("svd+rife@4x", "svd", "rife@4x", "after")),
        ("svd-image", Row("svd-image", "svd", "vae-sd21")),
        ("sd21+my.py:build@space=scaled", Row("sd21+my.py:build@space=scaled", "sd21", "my.py:build", space="scaled")),
        ("sd21+hf:a/b/vae", Row("sd21+hf:a/b/vae", "sd21", "hf:a/b/vae")),
    ],
)
def test_rows_are_read(name: str, row: Row) -> None:
    assert generators.parse(name) == row


@pytest.mark.parametrize(
    "name", ["sd22", "cvvae+sd21", "sd21+", "sd21+cvvae@decode=some", "svd+rife@decode=each", "+x"]
)
def test_rows_that_make_no_sense_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        generators.parse(name)


def test_an_unknown_generator_is_told_from_a_model() -> None:
    with pytest.raises(UnknownName, match="run --models cvvae"):
        generators.parse("cvvae+sd21")


@pytest.mark.parametrize("name", GENERATORS)
def test_every_entry_names_a_vae_there_is_and_the_shape_that_vae_decodes(name: str) -> None:
    entry = GENERATORS[name]
    from cvbench.models import MODELS

    traits = MODELS[entry.vae].traits
    settings = entry.settings(PROTOCOLS["cvbench-gen-1"])
    c, t, h, w = entry.latent
    assert c == traits.channels
    assert traits.frame_rule.fit(1) + (t - 1) * traits.temporal == settings.frames
    assert (h * traits.spatial, w * traits.spatial) == settings.size
    assert entry.protocol in PROTOCOLS


def test_a_protocol_s_field_that_a_generator_lacks_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="motion"):
        GENERATORS["sd21"].settings(EvalProtocol("p", 1, motion=3))
