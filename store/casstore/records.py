"""Reading the records that are frames themselves: recipes, trees and versions."""

from __future__ import annotations

from casstore.digests import Digest
from casstore.engine import Engine
from casstore.frames import FrameKind
from casstore.recipes import Recipe
from casstore.trees import Tree
from casstore.versions import Version


def read_recipe(engine: Engine, digest: Digest, *, condemned_too: bool = False) -> Recipe:
    """A recipe. Raises NotFoundError or DamagedError, as do the others; only gc looks at what is condemned."""
    return Recipe.decode(bytes(engine.content(FrameKind.RECIPE, digest.value, condemned_too=condemned_too)), digest)


def read_tree(engine: Engine, digest: Digest, *, condemned_too: bool = False) -> Tree:
    """A tree."""
    return Tree.decode(bytes(engine.content(FrameKind.TREE, digest.value, condemned_too=condemned_too)), digest)


def read_version(engine: Engine, digest: Digest, *, condemned_too: bool = False) -> Version:
    """A version."""
    return Version.decode(bytes(engine.content(FrameKind.VERSION, digest.value, condemned_too=condemned_too)), digest)
