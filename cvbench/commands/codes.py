"""What the exit code says."""

DONE = 0
REGRESSION = 1
USAGE = 2
INCOMPLETE = 3
"""Something could not be evaluated; it is named."""
BROKEN = 4
"""An error of cvbench itself; a report to send was written."""
INTERRUPTED = 130
