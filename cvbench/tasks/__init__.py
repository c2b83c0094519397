"""What is done with models, a module a task: reconstruction, cross-decoding, scoring of samples, interpolation."""
