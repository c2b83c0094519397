"""Records to one HTML file that opens from disk, and to Markdown with static pictures. No torch."""

from cvbench.report.board import index
from cvbench.report.markdown import markdown_report
from cvbench.report.page import render

__all__ = ["index", "markdown_report", "render"]
