"""Public names of other packages on top of ours: change the import line, keep the code."""
