"""Records to one HTML file that opens from disk, and to Markdown with static pictures. No torch."""

from cvbench.report.board import GENERATOR, index
from cvbench.report.markdown import markdown_report
from cvbench.report.page import render

__all__ = ["GENERATOR", "index", "markdown_report", "render"]
