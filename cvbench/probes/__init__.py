"""The probes: what measures pixels, listed so that names and versions are known without loading torch."""

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64

from cvbench.core.errors import BadWeights, MissingWeights, Unavailable, UnknownName
from cvbench.core.fields import EvalProtocol
from cvbench.generators import GENERATORS, source_of, weights_name
from cvbench.models import MODELS
from cvbench.weights import Source, fetch, file_digest, locate, path_digest

if TYPE_CHECKING:
    import torch

    from cvbench.nets.tensors import Video

PLAIN = EvalProtocol("", 1)
"""Every field at its default."""
Rows = Float64[np.ndarray, " t"]
"""What a pair probe found: one value a frame."""
FeatureRows = Float32[np.ndarray, "n d"]
"""What a feature probe found: one row a frame, a clip or a prompt."""


@runtime_checkable
class PairProbe(Protocol):
    """Compares reconstructions with their target, frame by frame.

    The caller feeds at most `frames_at_once` frames, which bounds memory; where a clip is cut never changes a
    value. `version` enters the cache key: it changes whenever a number may.
    """

    version: str
    frames_at_once: int

    def prepare(self, target: "Video") -> Any:
        """Compute what depends on the target alone, once for all models.

        Raises UnsuitableInput when frames of this size cannot be measured.
        """
        ...

    def rows(self, recon: "Video", prepared: Any) -> Rows:
        """Measure a reconstruction of that target; raises BadOutput when it has another shape."""
        ...


@runtime_checkable
class DevicePairProbe(PairProbe, Protocol):
    """One whose numbers stay on the device until the caller fetches them: `rows` are those, waited for."""

    def values(self, recon: "Video", prepared: Any) -> "torch.Tensor":
        """Measure a reconstruction of that target; raises BadOutput when it has another shape."""
        ...


@dataclass(frozen=True)
class ProbeEntry:
    """What is known of a probe without loading it.

    `build` names "module:callable", called with the paths of its weights, then the device where it has weights or
    computes `on_device`, and the protocol's `fields` by name. `per` says what one row stands for, `looks_at` what is
    measured: frames beside their target, or latents. `side` says which frames, where a protocol shows a network others
    (`eight_nets`). `key` is the name under which --weights knows `source`, its own where it is "", `beside` are further
    weights by theirs. `package` is one that only an `extra` of cvbench installs; its version is part of the probe's.
    """

    build: str
    version: str
    per: Literal["frame", "clip"] = "frame"
    source: Source | None = None
    looks_at: Literal["frames", "latents"] = "frames"
    side: Literal["pixels", "nets"] = "pixels"
    key: str = ""
    beside: Mapping[str, Source] = field(default_factory=dict)
    on_device: bool = False
    fields: tuple[str, ...] = ()
    package: str = ""
    extra: str = ""


_VGG = Source(
    ("vgg16-397923af.pth",),
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
)
_ALEX = Source(
    ("alexnet-owt-7be5be79.pth",),
    url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
)
_DISTS = Source(
    ("weights.pt",),
    url="https://raw.githubusercontent.com/dingkeyan93/DISTS/1267d8cb626c98706db3697422701c56a85ebf2e/DISTS_pytorch/weights.pt",
    sha256="f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
)


def _perceptual(build: str, package: str, **more: Any) -> ProbeEntry:
    return ProbeEntry(f"cvbench.probes.viewers:{build}", "1", package=package, extra="perceptual", **more)


def _text(build: str) -> ProbeEntry:
    return ProbeEntry(f"cvbench.probes.text:{build}", "1", package="rapidocr-onnxruntime", extra="text")


PROBES: dict[str, ProbeEntry] = {
    "psnr": ProbeEntry("cvbench.probes.pixel:Psnr", "1"),
    "ssim": ProbeEntry("cvbench.probes.pixel:Ssim", "1"),
    "ms-ssim": ProbeEntry("cvbench.probes.pixel:MsSsim", "1"),
    "flicker": ProbeEntry("cvbench.probes.temporal:Flicker", "1"),
    "colour-drift": ProbeEntry("cvbench.probes.temporal:ColourDrift", "1"),
    "seam": ProbeEntry("cvbench.probes.seams:Seam", "1"),
    "xpsnr": ProbeEntry("cvbench.probes.filters:Xpsnr", "1"),
    "vif": ProbeEntry("cvbench.probes.filters:Vif", "1"),
    "ciede2000": ProbeEntry("cvbench.probes.colour:Ciede2000", "1"),
    "ciede2000-p95": ProbeEntry("cvbench.probes.colour:Ciede2000P95", "1"),
    "cvvdp": _perceptual("Cvvdp", "cvvdp", on_device=True, fields=("display", "display_fps"), per="clip"),
    "flip": _perceptual("Flip", "flip-evaluator"),
    "vmaf": _perceptual("Vmaf", "vmaf-torch", on_device=True),
    "vmaf-neg": _perceptual("vmaf_neg", "vmaf-torch", on_device=True),
    "lpips-vgg": ProbeEntry("cvbench.probes.perceptual:lpips_vgg", "vgg-v0.1-1", source=_VGG, side="nets"),
    "lpips-alex": ProbeEntry("cvbench.probes.perceptual:lpips_alex", "alex-v0.1-1", source=_ALEX, side="nets"),
    "text": _text("Text"),
    "text-small": _text("small"),
    "text-medium": _text("medium"),
    "text-large": _text("large"),
    "dists": ProbeEntry(
        "cvbench.probes.dists:Dists", "1", source=_VGG, side="nets", key="lpips-vgg", beside={"dists": _DISTS}
    ),
    "ssim-down": ProbeEntry("cvbench.probes.ssim_kinds:SsimDown", "1"),
    "ssim-uniform7": ProbeEntry("cvbench.probes.ssim_kinds:uniform7", "1"),
    "ssim-padded": ProbeEntry("cvbench.probes.ssim_kinds:padded", "1"),
    "ssim-padded-signed": ProbeEntry("cvbench.probes.ssim_kinds:padded_signed", "1", side="nets"),
    "lpips-vgg-unit": ProbeEntry(
        "cvbench.probes.perceptual:lpips_vgg_unit", "vgg-v0.1-unit-1", source=_VGG, side="nets", key="lpips-vgg"
    ),
    "lpips-alex-unit": ProbeEntry(
        "cvbench.probes.perceptual:lpips_alex_unit", "alex-v0.1-unit-1", source=_ALEX, side="nets", key="lpips-alex"
    ),
    "bpp": ProbeEntry("cvbench.probes.bits:bits_of", "2", "clip", looks_at="latents"),
}


def known_weights() -> dict[str, Source]:
    """Return by name all weights that --weights NAME=PATH may give: of models, generators, metrics, their networks."""
    of_models = {name: entry.source for name, entry in MODELS.items() if entry.source}
    of_probes = {name: sources[0] for probe in (*PROBES, *FEATURES) for name, sources in weights_of(probe).items()}
    of_generators = {weights_name(name): source for name, entry in GENERATORS.items() if (source := source_of(entry))}
    return {**of_models, **of_generators, **of_probes}


def weights_of(name: str) -> Mapping[str, tuple[Source, ...]]:
    """Return the weights that a probe needs, by the name that --weights knows them by, and where each may be had."""
    if name in FEATURES:
        return FEATURES[name].weights
    entry = PROBES[name]
    own = {entry.key or name: entry.source} if entry.source else {}
    return {known_as: (source,) for known_as, source in {**own, **entry.beside}.items()}


def missing_weights(name: str, given: Mapping[str, Path] | None = None) -> str:
    """Return the file that a probe needs and that is not on this machine; "" when it needs none, or has it.

    Weights that are there and cannot be used are not missing: the probe itself says what is wrong with them.
    """
    needed = weights_of(name).items()
    try:
        lacking = (s[0].file for key, s in needed if not any(locate(key, each, given) for each in s))
        return next(lacking, "")
    except (BadWeights, MissingWeights):
        return ""


def probe_version(name: str) -> str:
    """Return a pair probe's version, with that of its package. Raises Unavailable where the package is missing."""
    entry = PROBES[name]
    if not entry.package:
        return entry.version
    try:
        return f"{entry.version}-{entry.package}-{importlib.metadata.version(entry.package)}"
    except importlib.metadata.PackageNotFoundError:
        raise Unavailable(f"{name} needs the package {entry.package}: pip install cvbench[{entry.extra}]") from None


def load_probe(
    name: str,
    device: "torch.device",
    weights: Mapping[str, Path] | None = None,
    protocol: EvalProtocol = PLAIN,
) -> PairProbe:
    """Build a probe, with its weights from `weights` (by probe name), the caches or their source, as a protocol says.

    Raises UnknownName, Unavailable (a package that is not installed), MissingWeights or BadWeights.
    """
    if name not in PROBES:
        raise UnknownName("probe", name, PROBES)
    entry = PROBES[name]
    probe_version(name)
    files = [_published(name, known_as, sources[0], weights) for known_as, sources in weights_of(name).items()]
    settings = {name: getattr(protocol, name) for name in entry.fields}
    module, _, attribute = entry.build.partition(":")
    build = getattr(importlib.import_module(module), attribute)
    return cast(PairProbe, build(*files, *([device] if files or entry.on_device else []), **settings))


def _published(name: str, known_as: str, source: Source, given: Mapping[str, Path] | None) -> Path:
    """Return the very file that a probe is defined on."""
    path = fetch(known_as, source, given)
    if not file_digest(path).startswith(source.sha256):
        raise BadWeights(f"{path} is not {source.file}, on which {name} is defined; fetch {source.origin}")
    return path


@runtime_checkable
class FeatureProbe(Protocol):
    """Describes one video by rows of features.

    A row never depends on what else is measured, nor on how many frames at once. `version` enters the cache key: it
    names network, preprocessing and weights, and changes whenever a number may.
    """

    version: str

    def rows(self, video: "Video") -> FeatureRows:
        """Measure a video; raises UnsuitableInput for a length that the network cannot take."""
        ...


@runtime_checkable
class DeviceFeatureProbe(FeatureProbe, Protocol):
    """One whose numbers stay on the device until the caller fetches them: `rows` are those, waited for."""

    def values(self, video: "Video") -> "torch.Tensor":
        """Measure a video; raises UnsuitableInput for a length that the network cannot take."""
        ...


@runtime_checkable
class TextProbe(FeatureProbe, Protocol):
    """A feature probe that puts texts into the space of its images."""

    def text_rows(self, prompts: Sequence[str]) -> FeatureRows:
        """Measure texts, one row each."""
        ...


@dataclass(frozen=True)
class FeatureLoading:
    """All a feature probe needs to be built. Without `files` its network is drawn at random with `seed`."""

    version: str
    variant: str
    device: "torch.device"
    files: tuple[Path, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class FeatureEntry:
    """What is known of a feature probe without loading it.

    `build` names "module:callable", called with a FeatureLoading. `weights` are the files it needs, by the name that
    --weights knows them by: probes that share a network share that name. Each may come from any of its sources, the
    first that can be had. `package` is one that only an extra of cvbench installs.
    """

    build: str
    version: str
    width: int
    weights: Mapping[str, tuple[Source, ...]]
    per: Literal["frame", "clip"] = "frame"
    variant: str = ""
    package: str = ""
    extra: str = ""


_INCEPTION = Source(
    ("pt_inception-2015-12-05-6726825d.pth",),
    url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
I3D_STATE = Source(
    ("i3d_pretrained_400.pt",),
    url="https://raw.githubusercontent.com/songweige/TATS/main/tats/fvd/i3d_pretrained_400.pt",
    git_blob="a867b87ac3a9097d200598b1d48a1b890d8ec744",
)
I3D_PROGRAM = Source(
    ("i3d_torchscript.pt",),
    repo="flateon/FVD-I3D-torchscript",
    revision="1c2d61711c52571ad617a1063e6fa691b212e184",
    sha256="bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
)
CLIP_PROGRAM = Source(
    ("ViT-B-32.pt",),
    url="https://openaipublic.azureedge.net/clip/models/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
    sha256="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
)
CLIP_LARGE_PROGRAM = Source(
    ("ViT-L-14-336px.pt",),
    url="https://openaipublic.azureedge.net/clip/models/3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02/ViT-L-14-336px.pt",
    sha256="3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
)
_DINOV2 = Source(
    ("dinov2_vitl14_pretrain.pth",),
    url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
)
_CLIP = Source(
    ("open_clip_model.safetensors",),
    repo="timm/vit_base_patch32_clip_224.openai",
    revision="a6f597a30f7b82c51704746581f9a4e41421e878",
    sha256="e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31",
)
_DREAMSIM = Source(
    ("dreamsim_ensemble_checkpoint.zip",),
    url="https://github.com/ssundaram21/dreamsim/releases/download/v0.2.0-checkpoints/dreamsim_ensemble_checkpoint.zip",
)
_DINO = Source(
    ("dino_vitbase16_pretrain.pth",),
    url="https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
)


def _i3d(variant: str, *, prefixes: bool = False) -> FeatureEntry:
    weights, what = {"i3d": (I3D_STATE, I3D_PROGRAM)}, f"{variant}-prefixes" if prefixes else variant
    build = f"cvbench.probes.features:{'i3d_prefixes' if prefixes else 'i3d_logits'}"
    return FeatureEntry(build, f"i3d-k400-logits-{what}-1", 400, weights, "clip", variant)


FEATURES: dict[str, FeatureEntry] = {
    "inception": FeatureEntry(
        "cvbench.probes.features:inception", "pt_inception-2015-12-05-1", 2048, {"inception": (_INCEPTION,)}
    ),
    "i3d-direct224": _i3d("direct224"),
    "i3d-short224crop": _i3d("short224crop"),
    "i3d-direct224-prefixes": _i3d("direct224", prefixes=True),
    "i3d-short224crop-prefixes": _i3d("short224crop", prefixes=True),
    "inception-tf1": FeatureEntry(
        "cvbench.probes.features:inception",
        "pt_inception-2015-12-05-tf1-1",
        2048,
        {"inception": (_INCEPTION,)},
        variant="tf1",
    ),
    "clip": FeatureEntry(
        "cvbench.probes.features:clip",
        "open_clip-ViT-B-32-openai-1",
        512,
        {"clip": (_CLIP, CLIP_PROGRAM)},
        variant="ViT-B-32",
    ),
    "clip-l14-336": FeatureEntry(
        "cvbench.probes.features:square_clip",
        "open_clip-ViT-L-14-336-openai-square-1",
        768,
        {"clip-l14-336": (CLIP_LARGE_PROGRAM,)},
        variant="ViT-L-14-336",
    ),
    "dinov2": FeatureEntry(
        "cvbench.probes.features:dinov2",
        "dinov2-vitl14-224-1",
        1024,
        {"dinov2": (_DINOV2,)},
        variant="vit_large_patch14_dinov2",
    ),
    "dreamsim": FeatureEntry(
        "cvbench.probes.features:dreamsim",
        "dreamsim-ensemble-v0.2.0-1",
        1792,
        {"dreamsim": (_DREAMSIM,), "dreamsim-dino": (_DINO,)},
        package="dreamsim",
        extra="pic",
    ),
}


def feature_entry(name: str) -> FeatureEntry:
    """Return what is known of a feature probe. Raises UnknownName."""
    if name not in FEATURES:
        raise UnknownName("feature probe", name, FEATURES)
    return FEATURES[name]


def feature_loading(
    name: str,
    device: "torch.device",
    weights: Mapping[str, Path] | None = None,
    init: Literal["weights", "random"] = "weights",
    seed: int = 0,
) -> FeatureLoading:
    """Find or fetch a probe's weights, and say all that decides its rows in `version`; no network is built.

    Raises UnknownName, Unavailable (a package that is not installed), MissingWeights or BadWeights.
    """
    entry = feature_entry(name)
    if entry.package and importlib.util.find_spec(entry.package) is None:
        raise Unavailable(f"{name} needs the package {entry.package}: pip install cvbench[{entry.extra}]")
    if init == "random":
        return FeatureLoading(f"{entry.version}#random:{seed}", entry.variant, device, seed=seed)
    files = tuple(_any_of(key, sources, weights) for key, sources in entry.weights.items())
    held = "+".join(path_digest(file)[:12] for file in files)
    return FeatureLoading(f"{entry.version}#{held}", entry.variant, device, files)


def load_feature_probe(
    name: str,
    device: "torch.device",
    weights: Mapping[str, Path] | None = None,
    init: Literal["weights", "random"] = "weights",
    seed: int = 0,
) -> FeatureProbe:
    """Build a feature probe, with weights as `feature_loading` finds them or, for tests, drawn at random.

    Raises what `feature_loading` raises.
    """
    loading = feature_loading(name, device, weights, init, seed)
    module, _, attribute = FEATURES[name].build.partition(":")
    return cast(FeatureProbe, getattr(importlib.import_module(module), attribute)(loading))


def _any_of(name: str, sources: Sequence[Source], given: Mapping[str, Path] | None) -> Path:
    """Return weights from any of the sources: on this machine, else fetched. Raises the first source's error."""
    refusals: list[BadWeights | MissingWeights] = []
    for find in (locate, fetch):
        for source in sources:
            try:
                if found := find(name, source, given):
                    return found
            except (BadWeights, MissingWeights) as error:
                refusals.append(error)
        if refusals:
            break
    raise refusals[0]
