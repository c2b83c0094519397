"""Records to one HTML file that opens from disk, and to Markdown with static pictures. No torch."""

from cvbench.report.markdown import markdown_report
from cvbench.report.page import render

__all__ = ["markdown_report", "render"]
