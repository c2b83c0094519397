"""Examine models on a few clips."""

from cvbench.core.errors import CvbenchError, UnsuitableInput
from cvbench.engine.coding import describe, to_videos
from cvbench.engine.loop import Progress, read_prepared, silent
from cvbench.engine.subject import Setting
from cvbench.nets.tensors import Video
from cvbench.tasks.health.examination import Examination
from cvbench.tasks.health.limits import Checkup, Finding
from cvbench.tasks.request import Request, held_still, line_up

CLIPS = 3
"""Clips, or pictures where there are no clips, that are looked at."""


def run(request: Request, progress: Progress = silent) -> list[Checkup]:
    """Examine every model on the first clips of the first data set. Raises UnsuitableInput where none can be read."""
    setting = request.setting
    clips = _clips(request, setting)
    subjects, refused = line_up(request, setting)
    lost = [
        Checkup(facts.name, [Finding("loading", "broken", describe(error), "", "weights and network")])
        for facts, error in refused
    ]
    found: list[Checkup] = []
    specs = dict(zip(request.names, request.models, strict=True))
    for place, subject in enumerate(subjects):
        progress(f"health of {subject.name}", place, len(subjects))
        with held_still([subject]):
            found.append(
                Checkup(subject.name, list(Examination(subject, specs[subject.name], request, clips).findings()))
            )
    progress("health", len(subjects), len(subjects))
    return [*lost, *found]


def _clips(request: Request, setting: Setting) -> list[Video]:
    """Read the first clips of one size; pictures where there are no clips."""
    dataset = request.datasets()[0]
    read: list[Video] = []
    for index, item in enumerate(dataset.items):
        try:
            pixels = read_prepared(index, item, request.protocol).pixels
        except CvbenchError:
            continue  # what cannot be read says nothing of a model
        read += [to_videos([pixels], setting.device)[0]] if pixels is not None else []
        if sum(video.shape == read[0].shape and video.shape[1] > 1 for video in read) == CLIPS:
            break
    moving = [video for video in read if video.shape[1] > 1] or read
    if not moving:
        raise UnsuitableInput(f"no sample of {dataset.name} could be read: there is nothing to look at")
    return [video for video in moving if video.shape == moving[0].shape][:CLIPS]
