"""What a model of your own states: the public address of `cvbench.core.types`."""

from cvbench.core.types import FrameRule, Pixels, Sample, Sampling, Traits

__all__ = ["FrameRule", "Pixels", "Sample", "Sampling", "Traits"]
