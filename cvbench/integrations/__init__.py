"""What other libraries take of cvbench: data frames, torchmetrics, training loops and their loggers.

Each module is named for the library it serves and imports that library alone, when it is used.
"""
