"""Whole commands, timed against what users would pick instead (`make bench`)."""
