"""Train the small autoencoders that ship with cvbench: an image VAE, the CV-VAE recipe on it, and its ablations.

    python benchmarks/train_tiny.py tiny-image                  train; typed again after an interruption, go on
    python benchmarks/train_tiny.py tiny-video tiny-video-none  one after another, from the image VAE that is there
    python benchmarks/train_tiny.py --all --threads 1           all, in an order that works
    python benchmarks/train_tiny.py --hashes                    enter the files' hashes into tiny_entries.py
    python benchmarks/train_tiny.py --card tiny-image RECORDS   write the model card, with scores from records

Writes weights (fp16) and the log of losses beside the package's other tiny models, unless --into names a folder.
On a GPU pass --steps to train longer. The recipe is that of CV-VAE (arXiv 2405.20279): L1, LPIPS where the weights of
its VGG16 are on this machine, KL, and the regularization of the latent space through a frozen image VAE; the two
longest trainings add the squared error.
"""

import argparse
import csv
import io
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import tiny_card
import tiny_data
import torch
import torch.nn.functional as F
from safetensors.torch import save
from tiny_muon import optimizers
from tiny_nets import Critic, ImageVAE, Lpips, coloured, divergence, hinge, let_through
from tiny_recipes import RECIPES, Recipe
from torch import Tensor, nn

from cvbench import weights
from cvbench.core.digest import digest
from cvbench.core.errors import CvbenchError, MissingWeights, UsageError
from cvbench.engine import memory
from cvbench.models.cvvae import network as video_network
from cvbench.models.tiny_entries import FOLDER
from cvbench.nets.cvvae import CVVAE, inflate
from cvbench.probes import PROBES
from cvbench.store import atomic, write_text
from cvbench.tasks.crossdecoding.mappings import mapped

Losses = dict[str, Tensor]
Row = dict[str, float]


@dataclass
class Training:
    """A model in training, what holds its latent space, and how far it has come.

    The image VAE that a video VAE starts from lies in `folder`, or is the one that ships. Raises MissingWeights.
    """

    name: str
    recipe: Recipe
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    folder: Path = FOLDER
    step: int = 0
    log: list[Row] = field(default_factory=list)
    frozen: ImageVAE | None = None
    critic: Critic | None = None

    def __post_init__(self) -> None:
        torch.manual_seed(self.recipe.seed)  # what follows draws from it in this order
        self.net = self._start().to(self.device)
        self.optimizers = optimizers(self.net, self.recipe.rate)
        self.parts: dict[str, Any] = {"net": self.net, **dict(zip(("muon", "adam"), self.optimizers, strict=True))}
        if self.recipe.adversary:
            self.critic = Critic().to(self.device)
            self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), 1e-3, (0.5, 0.9))
            self.parts |= {"critic": self.critic, "critic_optimizer": self.critic_optimizer}
        self.perceptual = self._perceptual()

    def _start(self) -> ImageVAE | CVVAE:
        """Build the network: at random, or from the image VAE, which stays to hold the latent space."""
        if not self.recipe.image:
            image = ImageVAE(self.recipe.config)
            let_through(image.net)
            return image
        state = {key: tensor.float() for key, tensor in weights.read_tensors(self._image_file()).items()}
        self.frozen = ImageVAE(RECIPES[self.recipe.image].config).requires_grad_(False).to(self.device)
        self.frozen.net.load_state_dict(state)
        net = video_network({**self.recipe.config, "tile": 0})
        net.load_state_dict(inflate(state, net))
        return net

    def _image_file(self) -> Path:
        files = [folder / f"{self.recipe.image}.safetensors" for folder in (self.folder, FOLDER)]
        if found := next((file for file in files if file.is_file()), None):
            return found
        raise MissingWeights(f"{self.name} starts from {files[0]}, which is not there: train {self.recipe.image} first")

    def _perceptual(self) -> Lpips | None:
        source = PROBES["lpips-vgg"].source
        found = weights.locate("lpips-vgg", source) if source and self.recipe.lpips else None
        return Lpips(found).to(self.device) if found else None

    def losses(self, x: Tensor, noise: torch.Generator) -> Losses:
        """Every term of the loss on a batch (b, 3, t, h, w), weighted."""
        mean, logvar = self.net.encode(x)
        drawn = torch.randn(mean.shape, generator=noise).to(mean)
        z = mean + (logvar / 2).exp() * drawn
        made = self.net.decode(z)
        found = {"l1": self.recipe.l1 * F.l1_loss(made, x), "kl": self.recipe.kl * divergence(mean, logvar)}
        if self.recipe.square:
            found["square"] = self.recipe.square * F.mse_loss(made, x)
        if self.recipe.colour:
            found["colour"] = self.recipe.colour * F.l1_loss(coloured(made), coloured(x))
        if self.perceptual:
            found["lpips"] = self.recipe.lpips * self.perceptual(made, x)
        if self.critic:
            found["adversary"] = -self.recipe.adversary * self.critic(made).mean()
        return found | self.held(x, z, noise)

    def held(self, x: Tensor, z: Tensor, noise: torch.Generator) -> Losses:
        """The terms that hold the latent space, equations 4 to 6 of the paper."""
        found: Losses = {}
        if self.frozen and self.recipe.regularize and isinstance(self.net, CVVAE):
            ratio = self.net.form.temporal
            still = mapped(x, self.recipe.mapping, ratio, noise)
            if "decoder" in self.recipe.regularize:
                decoded = self.frozen.decode(z[:, :, : still.shape[2]])
                found["decoder"] = self.recipe.hold * F.l1_loss(decoded, still)
            if "encoder" in self.recipe.regularize:
                coded = self.frozen.encode(still)[0]
                target = x[:, :, : 1 + (coded.shape[2] - 1) * ratio]
                found["encoder"] = self.recipe.hold * F.l1_loss(self.net.decode(coded), target)
        return found

    def draw(self) -> tuple[Tensor, torch.Generator]:
        """Return the batch of the next step, and the generator of its noise."""
        noise = torch.Generator().manual_seed(self.recipe.seed << 32 | self.step)
        shape = self.recipe.shapes[int(torch.randint(len(self.recipe.shapes), (), generator=noise))]
        return tiny_data.batch(self.recipe.seed, self.step, *shape).to(self.device), noise

    def advance(self) -> None:
        """Take one step."""
        x, noise = self.draw()
        losses = self.losses(x, noise)
        total = torch.stack(list(losses.values())).sum()
        self.net.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.descend()
        if self.critic:
            self.judge(self.critic, x)
        self.step += 1
        self.log.append({"step": self.step, "loss": total.item(), **{k: v.item() for k, v in losses.items()}})

    def descend(self) -> None:
        """Move the weights by their gradients."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.defaults["lr"] * schedule(self.step, self.recipe)
            optimizer.step()

    def judge(self, critic: Critic, x: Tensor) -> None:
        """Take one step of the discriminator."""
        with torch.no_grad():
            made = self.net.decode(self.net.encode(x)[0])
        self.critic_optimizer.zero_grad()
        hinge(critic(x), critic(made)).backward()  # type: ignore[no-untyped-call]
        self.critic_optimizer.step()

    @property
    def identity(self) -> str:
        """What must be equal for a checkpoint to be continued."""
        return digest([asdict(self.recipe), self.perceptual is not None])

    def state(self) -> dict[str, Any]:
        """All that the next step depends on: every random draw follows from the seed and the step."""
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        return {"step": self.step, "log": self.log, "identity": self.identity, **parts}

    def resume(self, state: dict[str, Any], where: str) -> None:
        """Go on from what `state` returned. Raises UsageError for another recipe's."""
        if state.get("identity", self.identity) != self.identity:
            raise UsageError(f"{where} was trained by another recipe: delete it, or name another folder by --runs")
        self.step, self.log = state["step"], state["log"]
        for name, part in self.parts.items():
            part.load_state_dict(state[name])


def schedule(step: int, recipe: Recipe) -> float:
    """Rise over the warm-up, then fall along a cosine to 0.01."""
    warm = min(1.0, (step + 1) / recipe.warmup)
    return warm * (0.505 + 0.495 * math.cos(math.pi * step / recipe.steps))


def train(training: Training, until: int, file: Path, tell: Callable[[str], None]) -> None:
    """Train to step `until`, keeping a checkpoint in `file` every 200 steps. Raises UsageError as `resume` does."""
    if file.is_file():
        training.resume(torch.load(file, map_location="cpu", weights_only=True), str(file))
    begun, first = time.monotonic(), training.step
    while training.step < until:
        training.advance()
        if training.step % 200 == 0 or training.step == until:
            with atomic(file) as out:
                torch.save(training.state(), out)
            recent = [row["l1"] for row in training.log[-200:]]
            pace = (time.monotonic() - begun) / (training.step - first)
            l1 = sum(recent) / len(recent) / training.recipe.l1
            tell(f"{training.name}: step {training.step} of {until}, L1 {l1:.4f}, {pace:.2f} s a step")


def thinned(log: list[Row]) -> Iterator[Row]:
    """Yield the first 200 steps, then means of 50."""
    yield from log[:200]
    for start in range(200, len(log) - 49, 50):
        part = log[start : start + 50]
        yield {key: sum(row[key] for row in part) / 50 for key in part[0]} | {"step": part[-1]["step"]}


def export(training: Training, folder: Path) -> None:
    """Write weights in fp16 and the log."""
    net = training.net.net if isinstance(training.net, ImageVAE) else training.net
    tensors = {name: tensor.half().cpu().contiguous() for name, tensor in net.state_dict().items()}
    with atomic(folder / f"{training.name}.safetensors") as out:
        out.write(save(tensors))
    rows, text = list(thinned(training.log)), io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: value if key == "step" else f"{value:.6f}" for key, value in row.items()} for row in rows)
    write_text(folder / f"{training.name}.csv", text.getvalue())


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RECIPES))
    parser.add_argument("--all", action="store_true", help="every model")
    parser.add_argument("--steps", type=int, help="train for another number of steps")
    parser.add_argument("--no-lpips", action="store_true", help="leave LPIPS out, as for the models that ship")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the checkpoints")
    parser.add_argument("--into", type=Path, default=FOLDER, help="folder of weights, logs and cards")
    parser.add_argument("--threads", type=int, default=0, help="threads of PyTorch, 0: as many as cores")
    parser.add_argument("--card", nargs="+", metavar=("NAME", "RECORD"), help="write a model's card; trains nothing")
    parser.add_argument("--hashes", action="store_true", help="enter the hashes of all files; trains nothing")
    given = parser.parse_args()
    given.names = list(RECIPES) if given.all else given.names
    wanted = [*given.names, *(given.card or ())[:1]]
    if unknown := [name for name in wanted if name not in RECIPES]:
        parser.error(f"no model is called {', '.join(unknown)}")
    if not (wanted or given.hashes):
        parser.error("name a model, or --all")
    return given


def trained(name: str, given: argparse.Namespace) -> None:
    """Train one model, from its checkpoint if there is one, and export it."""
    recipe = replace(RECIPES[name], steps=given.steps or RECIPES[name].steps)
    recipe = replace(recipe, lpips=0.0) if given.no_lpips else recipe
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training = Training(name, recipe, device, given.into)
    train(training, recipe.steps, given.runs / f"{name}.pt", lambda line: print(line, flush=True))
    export(training, given.into)


def main() -> None:
    given = parsed()
    memory.keep_buffers()
    if given.threads:
        torch.set_num_threads(given.threads)
    try:
        for name in given.names:
            trained(name, given)
        if given.hashes:
            tiny_card.enter_hashes(given.into)
        if given.card:
            name, *records = given.card
            tiny_card.write(name, given.into, [Path(record) for record in records])
    except CvbenchError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
