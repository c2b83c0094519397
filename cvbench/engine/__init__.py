"""How models are run: subjects, coding, probes at work, the loop, speed."""
