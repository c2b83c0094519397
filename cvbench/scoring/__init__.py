"""The former address of `cvbench.tasks.scoring`."""
