"""Generated samples against a reference set, their prompts or their first frames.

`sets` opens what is compared, `pairs` finds what belongs to a sample, `rows` describes samples by features,
`score` makes the record.
"""

from cvbench.tasks.scoring.score import PROTOCOL, measure, score

__all__ = ["PROTOCOL", "measure", "score"]
