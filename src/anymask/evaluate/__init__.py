"""Judging masks against the truth."""
