"""Weight files to state dicts: where they lie, how they are read, how their names become ours."""
