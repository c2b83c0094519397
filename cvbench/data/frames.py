"""From a file, or a folder of numbered frames, to a Sample; what a file is, its content says, not its name."""

from collections.abc import Sequence
from pathlib import Path

from cvbench.core.types import Sample, Sampling
from cvbench.data.files import LEAST_SIDE, Picture, Reader, assemble, check_size, refuse, refusing
from cvbench.data.images import is_animated, open_image, read_animation, read_image, read_still
from cvbench.data.resize import prepare
from cvbench.data.sampling import BLACK, frame_indices, plan
from cvbench.data.video import read_video

__all__ = [
    "LEAST_SIDE",
    "Reader",
    "frame_indices",
    "prepare",
    "read_file",
    "read_image",
    "read_numbered",
    "read_video",
]


def read_file(path: Path, sampling: Sampling, reader: Reader = "pyav") -> Sample:
    """Read a picture, an animation or a clip; the id is the file's name. Raises UnreadableSample."""
    with refusing(path):
        if not path.stat().st_size:
            refuse(path, "the file is empty; replace or remove it")
        image = open_image(path)
        if image is not None:
            with image:
                return read_animation(image, path, sampling) if is_animated(image) else read_still(image, path)
    return read_video(path, sampling, reader)


def read_numbered(paths: Sequence[Path], sampling: Sampling, fps: float | None = None) -> Sample:
    """Read a clip kept as one picture a frame; only the wanted ones are opened. Raises UnreadableSample."""
    folder = paths[0].parent
    with refusing(folder):
        chosen = plan(len(paths), sampling, fps, folder.name)
    pictures: list[Picture] = []
    facts: dict[str, object] = {"stride": chosen.stride, **chosen.facts}
    if not sampling.plain or len(chosen.indices) != sampling.frames or chosen.stride != sampling.stride:
        facts["available"] = len(paths)
    for index in chosen.indices:
        path = paths[max(index, 0)]
        frame = read_image(path)
        facts |= frame.facts
        pictures.append(frame.pixels[:, 0].transpose(1, 2, 0) * (index != BLACK))
        if pictures[-1].shape != pictures[0].shape:
            refuse(
                folder,
                f"its frames differ in size, {path.name} from {paths[chosen.indices[0]].name}; put pictures apart",
            )
        check_size(folder, frame.pixels.shape[3], frame.pixels.shape[2], len(chosen.indices))
    return Sample(folder.name, assemble(pictures), fps, facts)
