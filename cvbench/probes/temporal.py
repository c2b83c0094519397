"""What happens between frames: measured where single frames cannot tell."""

import torch
from jaxtyping import Float64
from torch import Tensor

from cvbench.core.errors import OF_CLIPS, UnsuitableInput
from cvbench.nets.tensors import Video
from cvbench.probes.pixel import OnDevice, check_shape
from cvbench.probes.soundness import colour_distance


class Flicker(OnDevice):
    """Mean absolute error of the change from each frame to the next, reconstruction against target, in [0, 1].

    0 when every change is right, whatever the frames look like: a constant colour shift does not flicker. VBench's
    temporal flickering (Huang et al. 2024) is the same mean without a target, which punishes motion.
    """

    version = "1"
    frames_at_once = 1 << 30  # a window would lose the change across its border

    def prepare(self, target: Video) -> tuple[torch.Size, Tensor]:
        """Return the target's changes. Raises UnsuitableInput for a single frame."""
        if target.shape[1] < 2:
            raise UnsuitableInput(f"flicker {OF_CLIPS}")
        return target.shape, target.diff(dim=1)

    def values(self, recon: Video, prepared: tuple[torch.Size, Tensor]) -> Float64[Tensor, " changes"]:
        """One value for each pair of neighbouring frames."""
        shape, changes = prepared
        check_shape(recon, shape)
        error = (recon.diff(dim=1) - changes).abs()
        return error.mean(dim=(0, 2, 3), dtype=torch.float64)


class ColourDrift(OnDevice):
    """CIEDE2000 of each frame of a clip between means of 16×16 px, reconstruction against target; 0 for equal colours.

    What is blurred keeps its means; what is tinted does not. A metric reduces it to how far the end of a clip is from
    its beginning.
    """

    version = "1"
    frames_at_once = 1 << 30  # a single frame is no clip, a window of one would be taken for it

    def prepare(self, target: Video) -> Video:
        """Return the target. Raises UnsuitableInput for a single frame."""
        if target.shape[1] < 2:
            raise UnsuitableInput(f"colour-drift {OF_CLIPS}")
        return target

    def values(self, recon: Video, prepared: Video) -> Float64[Tensor, " t"]:
        """One value a frame."""
        check_shape(recon, prepared.shape)
        return colour_distance(recon, prepared)
