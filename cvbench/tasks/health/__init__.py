"""Is this model sound here? Each check gives a number, its limits and a verdict: ok, look or broken.

Beside them stand predictors of how well its latents can be generated, which are not judged.
"""

from cvbench.tasks.health.examination import Examination
from cvbench.tasks.health.limits import LIMITS, Checkup, Finding, Limit
from cvbench.tasks.health.task import run

__all__ = ["LIMITS", "Checkup", "Examination", "Finding", "Limit", "run"]
