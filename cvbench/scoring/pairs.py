"""The former address of `cvbench.tasks.scoring.pairs`."""

from cvbench.tasks.scoring.pairs import Partners, read_prompts

__all__ = ["Partners", "read_prompts"]
