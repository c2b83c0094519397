"""The trainer of the small models: what it draws, what it minimises, that it can be interrupted and repeated."""

import csv
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lpips
import numpy as np
import pytest
import torch
import torchvision
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cvbench.core.errors import MissingWeights, UsageError
from cvbench.data.sample import SCENES
from cvbench.models.tiny_entries import FOLDER, IMAGE, TINY

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import tiny_data
import train_tiny
from tiny_muon import Muon, optimizers, orthogonal
from tiny_nets import Critic, ImageVAE, Lpips, coloured, divergence, hinge, let_through
from tiny_recipes import RECIPES, Recipe
from train_tiny import Training

LOG = FOLDER / "tiny-image.csv"
SETTING = {key: value for key, value in IMAGE.items() if not key.startswith("_")}
SMALL = replace(RECIPES["tiny-image"], shapes=((1, 1, 16), (2, 1, 24)), steps=10)
PAIR = replace(RECIPES["tiny-video"], shapes=((1, 5, 16), (2, 1, 16)), steps=10)


def image_vae(latent_channels: int = 4, seed: int = 7) -> AutoencoderKL:
    torch.manual_seed(seed)
    return AutoencoderKL(**SETTING, latent_channels=latent_channels).requires_grad_(False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the image VAEs that video VAEs start from."""
    save_file(image_vae().state_dict(), tmp_path / "tiny-image.safetensors")
    save_file(image_vae(16).state_dict(), tmp_path / "tiny-image-z16.safetensors")
    return tmp_path


def logged(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def silent(line: str) -> None:
    """Say nothing."""


def differences(first: Training, second: Training) -> list[float]:
    """Largest difference of any weight, and of any number in the log."""
    states = zip(first.net.state_dict().values(), second.net.state_dict().values(), strict=True)
    rows = zip(first.log, second.log, strict=True)
    assert all(row.keys() == other.keys() for row, other in zip(first.log, second.log, strict=True))
    return [
        max((x - y).abs().max().item() for x, y in states),
        max(abs(row[key] - other[key]) for row, other in rows for key in row),
    ]


# ---- data


@pytest.mark.parametrize("shape", [(2, 1, 32), (1, 5, 16)])
def test_batches_follow_from_seed_and_step(shape: tuple[int, int, int]) -> None:
    first = tiny_data.batch(1, 12, *shape)
    clips, frames, side = shape
    assert first.shape == (clips, 3, frames, side, side)
    assert -1 <= first.min() < first.max() <= 1
    tiny_data.batch(1, 13, *shape)
    tiny_data.paint.cache_clear()
    assert torch.equal(tiny_data.batch(1, 12, *shape), first)
    assert not torch.equal(tiny_data.batch(1, 13, *shape), first)
    assert not torch.equal(tiny_data.batch(2, 12, *shape), first)


def test_the_draws_are_those_that_the_shipped_models_learned_from() -> None:
    """Values at their making; the tolerance is a grey level, so that a platform's `pow` may differ in its last bit."""
    x = tiny_data.batch(1, 0, 2, 1, 64)
    assert x.mean((1, 2, 3, 4)).tolist() == pytest.approx([-0.5692, -0.1487], abs=0.008)
    assert x.std((1, 2, 3, 4)).tolist() == pytest.approx([0.2201, 0.4802], abs=0.008)


def test_no_scene_of_the_sample_is_trained_on() -> None:
    measured = {layer.seed for scene in SCENES for layer in (*scene.layers, *scene.after)}
    seeds = {recipe.seed for recipe in RECIPES.values()}
    last = max(recipe.steps for recipe in RECIPES.values()) // tiny_data.STEPS_PER_SHEET + tiny_data.SHEETS
    trained = [(tiny_data.FIRST + (seed << 24), tiny_data.FIRST + (seed << 24) + last) for seed in seeds]
    assert max(measured) < min(low for low, _ in trained)
    for (_, high), (low, _) in zip(sorted(trained), sorted(trained)[1:], strict=False):
        assert high < low  # nor do two trainings share a sheet


def test_cameras_stand_over_sheets_of_these_seeds() -> None:
    drawn = [tiny_data.scene(np.random.default_rng(k), 3, k, 5, 16) for k in range(0, 600, 40)]
    for step, scene in zip(range(0, 600, 40), drawn, strict=True):
        newest = tiny_data.FIRST + (3 << 24) + step // tiny_data.STEPS_PER_SHEET + tiny_data.SHEETS
        assert all(newest - tiny_data.SHEETS < layer.seed <= newest for layer in (*scene.layers, *scene.after))


# ---- losses


def test_divergence_is_that_of_two_normals() -> None:
    """KL(N(1, 4) | N(0, 1)) = (4 + 1 - 1 - ln 4) / 2; that of the standard normal is 0."""
    logvar = torch.tensor([4.0, 1.0]).log()
    assert divergence(torch.tensor([1.0, 0.0]), logvar).item() == pytest.approx((4 - 1.3862944) / 4, abs=1e-6)


def test_grey_has_no_colour() -> None:
    pixels = torch.tensor([[0.2, 0.2, 0.2], [0.9, 0.0, 0.0]]).T.view(1, 3, 2, 1, 1)
    expected = torch.tensor([[0.0, 0.0, 0.0], [0.6, -0.3, -0.3]]).T.view(1, 3, 2, 1, 1)
    torch.testing.assert_close(coloured(pixels), expected)


def test_colours_pass_an_untrained_image_vae_that_lets_them_through() -> None:
    """What comes out follows what went in, in luma and in colour; from a random start it follows neither."""
    torch.manual_seed(0)
    image = ImageVAE(RECIPES["tiny-image"].config)
    let_through(image.net)
    flat = torch.rand(64, 3, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1
    x = flat.repeat_interleave(8, 3).repeat_interleave(8, 4)
    with torch.no_grad():
        made = image.decode(image.encode(x)[0])
    for part in (coloured, torch.mean):
        a, b = ((part(each) if part is coloured else part(each, 1)).flatten() for each in (x, made))
        assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.25


def test_the_hinge_loss_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-2.0, -0.5])
    assert hinge(real, fake).item() == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 0.5) / 2, abs=1e-6)


@pytest.mark.parametrize(("step", "factor"), [(0, 0.01), (49, 0.499997), (99, 0.999976), (5000, 0.505), (10000, 0.01)])
def test_the_rate_rises_then_falls_along_a_cosine(step: int, factor: float) -> None:
    recipe = replace(RECIPES["tiny-image"], steps=10000, warmup=100)
    assert train_tiny.schedule(step, recipe) == pytest.approx(factor, abs=3e-4)


Reference = Callable[[AutoencoderKL, Tensor, Tensor, Tensor], Tensor]
"""From image VAE, clip, drawn latents of the clip and frames chosen, to the expected term."""


def frames(of: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function of pictures to each frame of the one clip."""
    return torch.stack([of(x[:, :, k]) for k in range(x.shape[2])], 2)


def decoded_error(vae: AutoencoderKL, x: Tensor, z: Tensor, chosen: Tensor) -> Tensor:
    made = frames(lambda picture: vae.decode(picture).sample, z[:, :, : chosen.shape[2]])
    return (made - chosen).abs().mean()


def training(folder: Path, **change: Any) -> Training:
    fresh = {**PAIR.config, "temporal_attention": False}
    return Training("tiny-video", replace(PAIR, config=fresh, lpips=0.0, **change), folder=folder)


def measured(trained: Training, x: Tensor, seed: int = 3) -> tuple[dict[str, Tensor], Tensor]:
    """Every term on a clip, and the latents drawn for it."""
    with torch.no_grad():
        losses = trained.losses(x, torch.Generator().manual_seed(seed))
        mean, logvar = trained.net.encode(x)
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
    return losses, mean + logvar.div(2).exp() * noise


def test_on_a_single_frame_a_fresh_video_vae_has_the_losses_of_its_image_vae(folder: Path) -> None:
    """Inflation is exact at T = 1; what the frozen parts make is then what the network makes (to 1e-5)."""
    vae, x = image_vae(), tiny_data.batch(5, 0, 1, 1, 32)
    losses, _ = measured(training(folder, regularize=("encoder", "decoder"), hold=0.5), x)
    posterior = vae.encode(x[:, :, 0]).latent_dist
    noise = torch.randn(1, 4, 1, 4, 4, generator=torch.Generator().manual_seed(3))[:, :, 0]
    error = vae.decode(posterior.mean + posterior.std * noise).sample - x[:, :, 0]
    sampled = error.abs().mean()
    best = (vae.decode(posterior.mean).sample - x[:, :, 0]).abs().mean()
    assert losses["l1"].item() == pytest.approx(PAIR.l1 * sampled.item(), abs=1e-5)
    assert losses["square"].item() == pytest.approx(PAIR.square * error.square().mean().item(), abs=1e-5)
    assert losses["decoder"].item() == pytest.approx(0.5 * sampled.item(), abs=1e-5)
    assert losses["encoder"].item() == pytest.approx(0.5 * best.item(), abs=1e-5)
    assert losses["kl"].item() == pytest.approx(3e-5 * divergence(posterior.mean, posterior.logvar).item(), rel=1e-4)


CHOSEN: dict[str, Callable[[Tensor], Tensor]] = {
    "first": lambda x: x[:, :, :1],
    "slice": lambda x: x[:, :, [0, 4, 8]],
    "average": lambda x: torch.stack([x[:, :, 0], x[:, :, 1:5].mean(2), x[:, :, 5:9].mean(2)], 2),
}


@pytest.mark.parametrize("mapping", CHOSEN)
def test_the_decoder_term_compares_the_frozen_decoders_frames_with_those_chosen(mapping: str, folder: Path) -> None:
    x = tiny_data.batch(5, 1, 1, 9, 16)
    losses, z = measured(training(folder, mapping=mapping), x)
    expected = decoded_error(image_vae(), x, z, CHOSEN[mapping](x))
    assert losses["decoder"].item() == pytest.approx(expected.item(), abs=1e-5)
    assert "encoder" not in losses


@pytest.mark.parametrize("mapping", CHOSEN)
def test_the_encoder_term_decodes_the_frozen_encoders_latents_to_the_clip(mapping: str, folder: Path) -> None:
    vae, x = image_vae(), tiny_data.batch(5, 1, 1, 9, 16)
    trained = training(folder, mapping=mapping, regularize=("encoder",))
    losses, _ = measured(trained, x)
    with torch.no_grad():
        coded = frames(lambda picture: vae.encode(picture).latent_dist.mean, CHOSEN[mapping](x))
        made = trained.net.decode(coded)
    target = x[:, :, :1] if mapping == "first" else x
    assert made.shape == target.shape
    assert losses["encoder"].item() == pytest.approx((made - target).abs().mean().item(), abs=1e-5)
    assert "decoder" not in losses


def test_random_mapping_takes_one_frame_of_every_four(folder: Path) -> None:
    """The decoder term is that of one of the sixteen choices there are."""
    x = tiny_data.batch(5, 1, 1, 9, 16)
    losses, z = measured(training(folder, mapping="random"), x)
    choices = [[0, i, j] for i in range(1, 5) for j in range(5, 9)]
    expected = [decoded_error(image_vae(), x, z, x[:, :, choice]).item() for choice in choices]
    assert min(abs(each - losses["decoder"].item()) for each in expected) < 1e-5


def test_without_regularization_nothing_holds_the_latents(folder: Path) -> None:
    losses, _ = measured(training(folder, regularize=()), tiny_data.batch(5, 1, 1, 9, 16))
    assert set(losses) == {"l1", "square", "colour", "kl"}


# ---- optimizer


@pytest.mark.parametrize("shape", [(24, 8), (8, 72), (16, 16)])
def test_orthogonal_keeps_directions_and_evens_out_their_sizes(shape: tuple[int, int]) -> None:
    """Of U S V' it returns U D V', D within the 0.6 to 1.25 that the published coefficients leave."""
    left, _, right = torch.linalg.svd(
        torch.randn(shape, generator=torch.Generator().manual_seed(1)), full_matrices=False
    )
    sizes = torch.logspace(0, -1, min(shape))
    found = left.T @ orthogonal(left * sizes @ right) @ right.T
    assert 0.6 < found.diagonal().min() < found.diagonal().max() < 1.25
    torch.testing.assert_close(found, found.diagonal().diag(), atol=1e-5, rtol=0)


def test_muon_moves_a_kernel_by_its_nesterov_momentum_made_orthogonal() -> None:
    """Gradients G and H give momenta 0.05 G, then 0.0475 G + 0.05 H; each step looks ahead by one more such mean."""
    first, second = (torch.randn(8, 2, 3, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
    kernel = nn.Parameter(torch.zeros(8, 2, 3))
    muon = Muon([kernel], lr=0.1)
    kernel.grad = first.clone()
    muon.step()
    one = -0.1 * (8 / 6) ** 0.5 * orthogonal(first.flatten(1)).view_as(first)
    torch.testing.assert_close(kernel.detach(), one, atol=1e-5, rtol=0)
    kernel.grad = second.clone()
    muon.step()
    mixed = 0.05 * second + 0.95 * (0.0475 * first + 0.05 * second)
    two = -0.1 * (8 / 6) ** 0.5 * orthogonal(mixed.flatten(1)).view_as(first)
    torch.testing.assert_close(kernel.detach(), one + two, atol=1e-4, rtol=0)


def test_muon_has_the_kernels_and_adam_the_rest() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4))
    muon, adam = optimizers(net, 0.03)
    assert [parameter.shape for parameter in muon.param_groups[0]["params"]] == [(4, 3, 3, 3)]
    assert [parameter.shape for parameter in adam.param_groups[0]["params"]] == [(4,), (4,), (4,)]
    assert (muon.defaults["lr"], adam.defaults["lr"]) == (0.03, pytest.approx(0.01))


# ---- the whole


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.image])
def test_every_video_recipe_takes_a_step(name: str, folder: Path) -> None:
    recipe = RECIPES[name]
    trained = Training(name, replace(recipe, shapes=((1, 5, 16),)), folder=folder)
    trained.advance()
    row = trained.log[0]
    square = {"square"} if recipe.square else set()
    assert set(row) == {"step", "loss", "l1", "colour", "kl", *square, *recipe.regularize}
    assert row["loss"] == pytest.approx(sum(row[key] for key in row if key not in ("step", "loss")), rel=1e-5)
    assert trained.recipe.config == TINY[name].config


def test_ablations_differ_in_what_is_ablated_alone() -> None:
    base = RECIPES["tiny-video-random"]
    longer = {"steps", "shapes", "l1", "square", "colour"}
    changed: dict[str, set[str]] = {}
    for name in (name for name in RECIPES if name.startswith("tiny-video")):
        pairs = {field: (getattr(base, field), getattr(RECIPES[name], field)) for field in Recipe.__dataclass_fields__}
        changed[name] = {field for field, (mine, other) in pairs.items() if mine != other}
    assert changed == {
        "tiny-video": longer,
        "tiny-video-random": set(),
        **{f"tiny-video-{name}": {"regularize"} for name in ("none", "encoder", "both")},
        **{f"tiny-video-{name}": {"mapping"} for name in ("first", "average", "slice")},
        "tiny-video-3d": {"config"},
        "tiny-video-z16": {"config", "image"} | longer,
    }


@pytest.mark.parametrize(
    "recipe", [SMALL, replace(PAIR, adversary=0.1, regularize=("encoder", "decoder"))], ids=["image", "video"]
)
def test_an_interrupted_training_goes_on_as_if_nothing_had_been(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    name = "tiny-video" if recipe.image else "tiny-image"
    whole = Training(name, recipe, folder=folder)
    for _ in range(3):
        whole.advance()
    train_tiny.train(Training(name, recipe, folder=folder), 2, tmp_path / "runs" / "x.pt", silent)
    torch.manual_seed(99)  # chance elsewhere has no part in it
    resumed = Training(name, recipe, folder=folder)
    train_tiny.train(resumed, 3, tmp_path / "runs" / "x.pt", silent)
    assert resumed.step == 3
    assert differences(whole, resumed) == [0, 0]


def test_a_checkpoint_of_another_recipe_is_refused(folder: Path, tmp_path: Path) -> None:
    train_tiny.train(Training("tiny-image", SMALL), 1, tmp_path / "x.pt", silent)
    other = Training("tiny-image", replace(SMALL, steps=20))
    with pytest.raises(UsageError, match=r"x\.pt was trained by another recipe: delete it, or"):
        train_tiny.train(other, 2, tmp_path / "x.pt", silent)


def test_a_video_vae_starts_from_the_image_vae_beside_it_or_the_one_that_ships(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_tiny, "FOLDER", folder)
    beside, away = tmp_path / "beside", tmp_path / "away"
    beside.mkdir()
    save_file(image_vae(seed=9).state_dict(), beside / "tiny-image.safetensors")
    for place, seed in ((beside, 9), (away, 7)):
        frozen = Training("tiny-video", PAIR, folder=place).frozen
        assert frozen is not None
        assert torch.equal(frozen.net.decoder.conv_out.weight, image_vae(seed=seed).decoder.conv_out.weight)


def test_a_video_vae_asks_for_the_image_vae_it_starts_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_tiny, "FOLDER", tmp_path / "nowhere")
    with pytest.raises(MissingWeights, match=r"starts from .*tiny-image\.safetensors.*train tiny-image first"):
        Training("tiny-video", PAIR, folder=tmp_path)


def test_the_discriminator_learns_and_is_learned_from(folder: Path) -> None:
    recipe = replace(PAIR, adversary=0.5)
    trained = Training("tiny-video", recipe, folder=folder)
    assert trained.critic is not None
    before = [parameter.clone() for parameter in trained.critic.parameters()]
    x, noise = trained.draw()
    with torch.no_grad():
        mean, logvar = trained.net.encode(x)
        made = trained.net.decode(mean + logvar.div(2).exp() * torch.randn(mean.shape, generator=noise))
        expected = -0.5 * trained.critic(made).mean().item()
    trained.advance()
    assert trained.log[0]["adversary"] == pytest.approx(expected, abs=1e-6)
    moved = [(x - y).abs().max().item() for x, y in zip(before, trained.critic.parameters(), strict=True)]
    assert max(moved) == pytest.approx(1e-3, rel=0.05)  # Adam's first step is its rate


def test_the_discriminator_judges_patches() -> None:
    assert Critic()(torch.zeros(2, 3, 5, 48, 48)).shape == (2, 1, 5, 6, 6)


def vgg(seed: int) -> nn.Sequential:
    """VGG16's features as torchvision builds them, untrained; the classifier's 120 million weights are not needed."""
    torch.manual_seed(seed)
    return torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])


def test_lpips_in_training_equals_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = vgg(1)
    torch.save({f"features.{key}": value for key, value in backbone.state_dict().items()}, tmp_path / "vgg16.pth")

    def using(features: nn.Sequential) -> None:
        monkeypatch.setattr("torchvision.models.vgg16", lambda pretrained: SimpleNamespace(features=features))

    using(backbone)
    theirs = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).requires_grad_(False).eval()
    using(vgg(2))
    ours = Lpips(tmp_path / "vgg16.pth")
    x, y = (tiny_data.batch(6, step, 2, 2, 32) for step in (0, 1))
    expected = sum(theirs(x[:, :, k], y[:, :, k]).mean() for k in range(2)) / 2
    assert expected > 1e-3
    torch.testing.assert_close(ours(x, y), expected, atol=1e-6, rtol=1e-5)
    x.requires_grad_()
    ours(x, y).backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0


# ---- what is written


def test_weights_are_written_in_half_precision_and_losses_as_a_table(tmp_path: Path) -> None:
    trained = Training("tiny-image", SMALL)
    trained.advance()
    trained.log = [{"step": k + 1, "loss": float(k), "l1": float(k), "kl": 0.0} for k in range(325)]
    train_tiny.export(trained, tmp_path)
    fresh, stored = image_vae(seed=8), load_file(tmp_path / "tiny-image.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    fresh.load_state_dict(stored)
    for mine, other in zip(trained.net.parameters(), fresh.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-3, rtol=1e-3)
    rows = logged(tmp_path / "tiny-image.csv")
    assert [row["step"] for row in rows[-3:]] == ["200", "250", "300"]
    assert [float(row["l1"]) for row in rows[-3:]] == [199.0, 224.5, 274.5]  # of steps 200 to 249 and 250 to 299


@pytest.mark.parametrize("arguments", [[], ["tiny-vide"], ["--card", "tiny-vide"]])
def test_a_name_that_is_none_is_refused(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train_tiny.py", *arguments])
    with pytest.raises(SystemExit, match="2"):
        train_tiny.main()
    assert ("no model is called tiny-vide" if arguments else "name a model, or --all") in capsys.readouterr().err


def repeated(steps: int) -> None:
    """Train the first steps of tiny-image again, and compare every loss with what was logged then."""
    recorded, recipe = logged(LOG)[:steps], RECIPES["tiny-image"]
    trained = Training("tiny-image", recipe if "lpips" in recorded[0] else replace(recipe, lpips=0.0))
    for row in recorded:
        trained.advance()
        assert trained.log[-1] == pytest.approx({key: float(value) for key, value in row.items()}, abs=1e-3)


def test_the_shipped_training_begins_as_it_did() -> None:
    repeated(5)


@pytest.mark.large
def test_the_shipped_training_repeats_its_first_200_steps() -> None:
    repeated(200)
