"""Every pipeline of diffusers as a generator: called as it is, and stopped where it would decode.

What the pipeline's own VAE is about to decode is the sample: in that VAE's own space and layout, unpacked and
denormalised, which `output_type="latent"` is in no pipeline that packs, scales or normalises.
"""

import contextlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cvbench import weights
from cvbench.core.errors import BadWeights, CvbenchError, MissingWeights, Unavailable, UnsuitableInput, UsageError
from cvbench.generators.entry import Condition, GeneratorEntry, GeneratorLoading, Latent
from cvbench.weights import Source
from cvbench.weights.sources import require_reachable

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "steps": ("num_inference_steps",),
    "guidance": ("true_cfg_scale", "guidance_scale", "max_guidance_scale"),
    "guidance_first": ("min_guidance_scale",),
    "frames": ("num_frames", "video_length"),
    "fps": ("fps", "frame_rate"),
    "motion": ("motion_bucket_id",),
    "noise": ("noise_aug_strength",),
}
"""Settings, each with what pipelines call it: of several that one has, the last."""
EXACT = {"StableDiffusion3Pipeline": (), "QwenImagePipeline": ("true_cfg_scale",)}
"""Pipelines of which guidance is another of its names than the last."""
SCHEDULERS = {"euler": "EulerDiscreteScheduler", "ddim": "DDIMScheduler", "pndm": "PNDMScheduler"}
CODERS = ("vae", "vqvae", "movq")
LIBRARIES = ("diffusers", "transformers")


class Captured(BaseException):
    """What a pipeline's VAE was given to decode; no error, so that no pipeline catches it as one."""

    def __init__(self, latents: Any) -> None:
        self.latents = latents


@contextlib.contextmanager
def stopped_at_decoding(pipe: Any) -> Iterator[None]:
    """Let a pipeline's VAE raise Captured in place of decoding; everything is as before afterwards.

    That is so of its dtype, too: some pipelines raise it before they decode, and lower it when they have.
    """
    coder = coder_of(pipe)
    dtype = coder.dtype

    def decode(latents: Any, *_arguments: Any, **_more: Any) -> None:
        raise Captured(latents)

    coder.decode = decode
    try:
        yield
    finally:
        del coder.decode
        if coder.dtype != dtype:
            coder.to(dtype)
        free = getattr(pipe, "maybe_free_model_hooks", None)
        if free:
            free()


def coder_of(pipe: Any) -> Any:
    """Return a pipeline's autoencoder. Raises Unavailable for a pipeline without one."""
    for name in CODERS:
        if getattr(pipe, name, None) is not None:
            return getattr(pipe, name)
    raise Unavailable(f"a {type(pipe).__name__} has no {', '.join(CODERS)}: it makes pixels without latents")


def captured(pipe: Any, arguments: Mapping[str, Any]) -> Tensor:
    """Return what a pipeline's VAE would decode, called with these arguments for one sample, (c, t, h, w).

    Raises Unavailable where it decodes nothing, or not one sample at once.
    """
    try:
        with stopped_at_decoding(pipe):
            pipe(**arguments)
    except Captured as found:
        return as_clip(found.latents)
    raise Unavailable(f"a {type(pipe).__name__} ended without its VAE being asked to decode")


def as_clip(latents: Any) -> Tensor:
    """Return latents (1, c, t, h, w) or frames (t, c, h, w) as one clip (c, t, h, w)."""
    if isinstance(latents, Tensor) and latents.ndim == 5 and len(latents) == 1:
        return latents[0]
    if isinstance(latents, Tensor) and latents.ndim == 4:
        return latents.movedim(0, 1)
    shape = tuple(latents.shape) if isinstance(latents, Tensor) else type(latents).__name__
    raise Unavailable(f"the pipeline decodes {shape}; known are (1, c, t, h, w) and (t, c, h, w)")


class Pipeline:
    """A pipeline of diffusers, one sample at a call, its random numbers from a generator of the CPU."""

    def __init__(self, loading: GeneratorLoading) -> None:
        if loading.path is None:
            raise MissingWeights("a pipeline needs the folder of its weights")
        self.settings = loading.settings
        self.extra = dict(loading.config.get("call", {}))
        self.pipe = load(loading.path, DTYPES[loading.settings.dtype], loading.config)
        if loading.encoder:
            coder_of(self.pipe).encode = encoding_by(loading.encoder)
        if loading.settings.scheduler != "own":
            self.pipe.scheduler = scheduler(self.pipe, loading.settings.scheduler)
        with quiet():  # of float16 on a CPU it says that it cannot run there
            self.pipe.to(loading.device)
        self.facts: Mapping[str, Any] = {
            "pipeline": type(self.pipe).__name__,
            "scheduler": resolved(self.pipe.scheduler),
            "params": sum(p.numel() for p in denoiser(self.pipe).parameters()),
        }

    def draw(self, condition: Condition, seed: int) -> Latent:
        """Draw one sample. Raises UnsuitableInput for a condition or size that the pipeline refuses."""
        arguments = self.arguments(condition, torch.Generator("cpu").manual_seed(seed))
        try:
            latents = captured(self.pipe, arguments)
        except (CvbenchError, torch.OutOfMemoryError):
            raise
        except (ValueError, TypeError, RuntimeError) as error:  # what pipelines raise for arguments they do not take
            raise UnsuitableInput(f"{type(self.pipe).__name__}: {error}") from error
        found = latents.float() if latents.dtype == torch.bfloat16 else latents
        made: np.ndarray = found.cpu().numpy()
        return made

    def arguments(self, condition: Condition, generator: torch.Generator) -> dict[str, Any]:
        """Return the arguments of the pipeline's call for one sample. Raises UsageError for what it does not take."""
        takes = inspect.signature(self.pipe.__call__).parameters
        height, width = self.settings.size
        of_videos = self.settings.frames > 1 or any(name in takes for name in ARGUMENTS["frames"])
        frames = {"frames": self.settings.frames} if of_videos else {}
        made: dict[str, Any] = {"generator": generator, **self.extra}
        made |= {key: side for key, side in (("height", height), ("width", width)) if key in takes}
        for name, value in {**self.settings.values, **frames}.items():
            made[self._argument(name, takes)] = value
        if "decode_chunk_size" in takes:  # or the first call of the VAE would be given some frames alone
            made["decode_chunk_size"] = self.settings.frames
        if condition.first_frame is not None and "image" in takes:
            made["image"] = Image.fromarray(condition.first_frame[:, 0].transpose(1, 2, 0))
        if "prompt" in takes:
            made["prompt"] = condition.prompt
        return made

    def _argument(self, name: str, takes: Mapping[str, Any]) -> str:
        kind = type(self.pipe).__name__
        names = (EXACT.get(kind) if name == "guidance" else None) or ARGUMENTS[name]
        found = [each for each in names if each in takes]
        if not found:
            raise UsageError(f"a {kind} takes no {name}")
        return found[-1]


def encoding_by(encode: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """Return an `encode` of diffusers' form, of pictures or clips in [-1, 1], by another model's encoder."""

    def encoded(pixels: Tensor, *_arguments: Any, **_more: Any) -> Any:
        clips = pixels if pixels.ndim == 5 else pixels[:, :, None]
        latents = encode((clips + 1) / 2).to(pixels.dtype)
        latents = latents if pixels.ndim == 5 else latents[:, :, 0]
        drawn = SimpleNamespace(mode=lambda: latents, sample=lambda *_, **__: latents)
        return SimpleNamespace(latent_dist=drawn, latents=latents)

    return encoded


def denoiser(pipe: Any) -> torch.nn.Module:
    """Return the network that denoises."""
    found: torch.nn.Module = getattr(pipe, "transformer", None) or pipe.unet
    return found


def scheduler(pipe: Any, name: str) -> Any:
    """Return another scheduler with the settings of the pipeline's own."""
    import diffusers

    return getattr(diffusers, SCHEDULERS[name]).from_config(pipe.scheduler.config)


def resolved(scheduler: Any) -> dict[str, Any]:
    """Return all that a scheduler is set to, as JSON values."""
    config = {key: value for key, value in dict(scheduler.config).items() if not key.startswith("_")}
    plain: dict[str, Any] = json.loads(json.dumps(config, default=str))
    return {"_class_name": type(scheduler).__name__, **plain}


def class_of(index: Mapping[str, Any], place: str) -> Any:
    """Return a pipeline's class. Raises Unavailable for one that diffusers lacks, or with code of its own."""
    import diffusers

    name = index.get("_class_name")
    make = getattr(diffusers, name, None) if isinstance(name, str) else None
    if make is None or not (isinstance(make, type) and issubclass(make, diffusers.DiffusionPipeline)):
        raise Unavailable(f"{place} is of a {name!r}, which diffusers {diffusers.__version__} has no class for")
    return make


def load(folder: Path, dtype: torch.dtype, config: Mapping[str, Any]) -> Any:
    """Load a pipeline from its folder: safetensors only, no code from the folder. Raises BadWeights, Unavailable."""
    import diffusers

    index = read_index(folder)
    make = class_of(index, str(folder))
    foreign = {v[0] for v in index.values() if isinstance(v, list) and isinstance(v[0], str)} - set(LIBRARIES)
    if foreign := {name for name in foreign if not hasattr(diffusers.pipelines, name)}:
        raise Unavailable(f"{folder} needs classes of {', '.join(sorted(foreign))}; diffusers has none of that name")
    more = {name: None for name in ("safety_checker", "image_encoder") if index.get(name, [0])[0] is None}
    more |= {"safety_checker": None} if "safety_checker" in index else {}
    if config.get("motion_adapter") and make is not diffusers.AnimateDiffPipeline:
        adapter = motion_adapter(config["motion_adapter"], dtype)
        make, more = diffusers.AnimateDiffPipeline, {**more, "motion_adapter": adapter}
        more.pop("safety_checker", None)
    try:
        with quiet():
            pipe = make.from_pretrained(
                folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True, variant=variant(folder, dtype),
                **more,
            )  # fmt: skip
    except Exception as error:  # whatever a damaged folder makes diffusers and transformers raise
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            raise
        raise BadWeights(f"{folder} holds no pipeline that loads: {type(error).__name__}: {error}") from error
    pipe.set_progress_bar_config(disable=True)
    return pipe


def motion_adapter(repo: str, dtype: torch.dtype) -> Any:
    """Load AnimateDiff's motion modules from the hub. Raises MissingWeights."""
    import diffusers

    try:
        return diffusers.MotionAdapter.from_pretrained(repo, torch_dtype=dtype, use_safetensors=True)
    except OSError as error:
        raise MissingWeights(f"the motion adapter {repo} cannot be fetched: {error}") from error


def variant(folder: Path, dtype: torch.dtype) -> str | None:
    """Return fp16 where a folder holds such files and they are wanted."""
    there = dtype == torch.float16 and any(folder.glob("*/*.fp16.safetensors"))
    return "fp16" if there else None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' bars and advice from standard error."""
    import warnings

    import diffusers
    import transformers

    libraries = [diffusers.utils.logging, transformers.utils.logging]
    levels = [logging.get_verbosity() for logging in libraries]
    for logging in libraries:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logging, level in zip(libraries, levels, strict=True):
            logging.set_verbosity(level)
            logging.enable_progress_bar()


def read_index(folder: Path) -> dict[str, Any]:
    """Return a pipeline's model_index.json. Raises BadWeights."""
    try:
        found = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadWeights(f"{folder} is no folder of a pipeline: its model_index.json cannot be read") from error
    if not isinstance(found, dict):
        raise BadWeights(f"{folder}/model_index.json is no table of a pipeline's parts")
    return found


def folder_of(name: str, source: Source, given: Mapping[str, Path], entry: GeneratorEntry) -> Path:
    """Return the folder of a pipeline, fetching what its class loads. Raises MissingWeights, BadWeights."""
    found = weights.locate(name, source, given)
    if found is not None and _is_whole(found):
        return found if found.is_dir() else found.parent
    try:
        return _downloaded(entry)
    except CvbenchError as error:
        raise MissingWeights(missing_text(name, source, str(error))) from error
    except Exception as error:  # the hub and network libraries raise many kinds
        why = "it is gated: accept its licence and log in" if "gated" in str(error).lower() else str(error)[:200]
        raise MissingWeights(missing_text(name, source, why)) from error


def _is_whole(found: Path) -> bool:
    """Tell a folder with the parts that its index names from an index alone, as `cvbench list` may have fetched."""
    folder = found if found.is_dir() else found.parent
    parts = [k for k, v in read_index(folder).items() if isinstance(v, list) and v[0] is not None]
    return all((folder / part).is_dir() for part in parts if part != "safety_checker")


def _downloaded(entry: GeneratorEntry) -> Path:
    from diffusers import DiffusionPipeline
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise MissingWeights("HF_HUB_OFFLINE is set")
    require_reachable(constants.ENDPOINT)
    wanted: dict[str, Any] = {"revision": entry.revision, "use_safetensors": True}
    if entry.dtype == "fp16":
        with contextlib.suppress(ValueError, OSError):  # a repository without such files
            return Path(DiffusionPipeline.download(entry.repo, variant="fp16", **wanted))
    return Path(DiffusionPipeline.download(entry.repo, **wanted))


def missing_text(name: str, source: Source, reason: str) -> str:
    """Say what is missing, where it comes from and how a folder of it is given."""
    gate = " The repository is gated: accept its licence there and log in first." if source.gated else ""
    return (
        f"the pipeline {source.repo} was not found ({reason}).{gate} On a machine with network: "
        f"hf download {source.repo} --revision {source.revision} --local-dir {name}. Then pass --weights {name}=PATH "
        f"of that folder, or put it into the folder that CVBENCH_WEIGHTS names"
    )
