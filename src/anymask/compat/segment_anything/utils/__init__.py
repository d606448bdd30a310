"""What scripts import from ``segment_anything.utils``."""
