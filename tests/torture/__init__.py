"""Torture: faults, cuts, concurrency, damage and hostile input, for minutes, with figures for docs/reliability.md.

python -m tests.torture [--seed N] [--short] [--jobs N] [GROUP ...]   run groups (all of them), and print what held
python -m tests.torture --mutations [--jobs N] [GROUP ...]            break the product on purpose: each must be noticed
python -m tests.torture --report                                      put the last full runs' figures into the docs
"""
