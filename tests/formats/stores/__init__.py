"""Stores as releases have written them. Each is kept for ever; a later release must read all of them.

Make the next one when the format of stores or the tables of the index get a new version, with the release that has it:

    python -m tests.formats.stores.make
"""
