"""The commands of the program, one module each; `COMMANDS` is the list, in the order in which help shows it."""

COMMANDS = {
    "run": "Reconstruct data with models, measure, store, and print a table.",
    "merge": "Put the shares of a run (--shard) together, and print its table.",
    "score": "Measure generated pictures or videos against a reference set, their prompts or their first frames.",
    "table": "Print the table of records made by `run`, or a published table (1 to 8) filled from them.",
    "show": "Show one record on a screen, with all that its table leaves out.",
    "report": "Write one HTML file: tables, plots, per-frame curves, clips with a wipe and difference maps.",
    "bundle": "Put a run into one file that others can check: records, tables, report, pictures, hashes.",
    "verify": "Check bundles: hashes, signatures, and every score made again from its rows.",
    "leaderboard": "Make a static site from bundles.",
    "push": "Upload a bundle to the hub.",
    "card": "Print the card of a model, its scores as the hub reads them.",
    "compare": "Compare two runs, or models of one run, sample by sample: is the difference real?",
    "explain": "Say why two protocols, or two records, give different numbers, step by step.",
    "reproduce": "Run another project's protocol, and say whether its published numbers are met.",
    "check": "Check a run against a baseline: what got worse?",
    "baseline": "Store scores for later runs to be checked against.",
    "generate": "Draw latents by a generator, and frames where they are wanted.",
    "interpolate": "Put frames between the frames of a clip, or of every clip in a folder.",
    "list": "List models, generators, data sets, metrics, suites or protocols.",
    "weights": "Find, fetch and verify weights.",
    "cache": "Measure and shrink the cache of rows.",
    "doctor": "Say what the next run has, what it will miss, and what to do about it.",
}
"""Name of each command, which is that of its module here, and what it does in one line."""
