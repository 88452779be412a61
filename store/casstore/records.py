"""Reading the records that are frames themselves: recipes, trees and versions."""

from __future__ import annotations

from casstore.digests import Digest
from casstore.engine import Engine
from casstore.frames import FrameKind
from casstore.recipes import Outline, Recipe
from casstore.trees import Tree
from casstore.versions import Version


def read_recipe(engine: Engine, digest: Digest) -> Recipe:
    """A recipe. Raises NotFoundError or DamagedError, as do the others."""
    return Recipe.decode(bytes(engine.content(FrameKind.RECIPE, digest.value)), digest)


def read_outline(engine: Engine, digest: Digest) -> Outline:
    """A recipe of which only the chunks are wanted."""
    return Outline.decode(bytes(engine.content(FrameKind.RECIPE, digest.value)), digest)


def read_tree(engine: Engine, digest: Digest) -> Tree:
    """A tree."""
    return Tree.decode(bytes(engine.content(FrameKind.TREE, digest.value)), digest)


def read_version(engine: Engine, digest: Digest) -> Version:
    """A version."""
    return Version.decode(bytes(engine.content(FrameKind.VERSION, digest.value)), digest)
