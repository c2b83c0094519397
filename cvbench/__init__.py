"""cvbench measures image and video autoencoders so that two numbers in one column mean the same thing."""

__version__ = "0.1.0"
