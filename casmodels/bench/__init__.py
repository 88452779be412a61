"""Measuring how fast a model of the store runs."""
