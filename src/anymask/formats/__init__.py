"""Masks to files and back; one file a format, reader and writer together."""
