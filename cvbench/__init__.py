"""cvbench measures image and video autoencoders so that two numbers in one column mean the same thing."""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import `evaluate` and `score` when they are first asked for: importing cvbench loads no torch."""
    if name == "evaluate":
        from cvbench.tasks.reconstruction import evaluate

        return evaluate
    if name == "score":
        from cvbench.tasks.scoring import score

        return score
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
