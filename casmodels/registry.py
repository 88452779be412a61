"""The registry: model specs by id, alias and Hub id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from casmodels.config import Config
from casmodels.errors import ConfigurationError, RegistryError, UnknownModelError
from casmodels.families import FAMILIES
from casmodels.specs import ModelSpec, ModelType
from casstore.errors import InvalidInputError

DEFAULTS = (
    ModelSpec(
        id="embedding-ada-002",
        name="all-MiniLM-L6-v2",
        model_type=ModelType.TEXT_EMBEDDING,
        huggingface_id="sentence-transformers/all-MiniLM-L6-v2",
        description="Sentence embeddings of 384 dimensions; small and fast.",
        context_length=512,
        parameters="23M",
        aliases=("text-embedding-ada-002", "ada-002"),
        licence="apache-2.0",
    ),
    ModelSpec(
        id="embedding-large",
        name="all-mpnet-base-v2",
        model_type=ModelType.TEXT_EMBEDDING,
        huggingface_id="sentence-transformers/all-mpnet-base-v2",
        description="Sentence embeddings of 768 dimensions; slower, of higher quality.",
        context_length=514,
        parameters="109M",
        aliases=("text-embedding-large", "mpnet-base"),
        licence="apache-2.0",
    ),
    ModelSpec(
        id="gpt-3.5-turbo-instruct",
        name="DialoGPT-medium",
        model_type=ModelType.INSTRUCT,
        huggingface_id="microsoft/DialoGPT-medium",
        description="Answers in a dialogue, in English.",
        context_length=4096,
        parameters="345M",
        aliases=("gpt-3.5-instruct", "turbo-instruct"),
        licence="mit",
    ),
    ModelSpec(
        id="text-classifier-roberta",
        name="twitter-roberta-base-sentiment-latest",
        model_type=ModelType.TEXT_CLASSIFICATION,
        huggingface_id="cardiffnlp/twitter-roberta-base-sentiment-latest",
        description="Sentiment of short English texts: negative, neutral or positive.",
        context_length=512,
        parameters="125M",
        aliases=("classifier-roberta", "sentiment-roberta"),
        licence="cc-by-4.0",
    ),
)
"""The models that `pull --all` brings in."""

_NEAREST = 3
_LIKENESS = 0.6
_SHORTEST_PART = 4


class Registry:
    """Specs by id, alias and Hub id; upper and lower case do not matter, as on the Hub."""

    def __init__(self, specs: Iterable[ModelSpec] | None = None) -> None:
        """None: the defaults, and besides those of families, each of which gives way as a whole to what is registered
        under any of its names.

        Raises RegistryError when two of the specs claim one name.
        """
        self._offered = FAMILIES if specs is None else ()
        self._specs: dict[str, ModelSpec] = {}
        self._short: dict[str, ModelSpec] = {}
        self._repos: dict[str, ModelSpec] = {}
        for spec in DEFAULTS if specs is None else specs:
            self.register_model(spec)

    @classmethod
    def from_config(cls, config: Config) -> Registry:
        """The defaults and the user's own ``[models.<id>]`` tables.

        Raises ConfigurationError that names file, line and entry, or RegistryError for a clash.
        """
        registry = cls()
        for table in config.models:
            try:
                spec = ModelSpec.from_fields(table.id, table.fields)
            except InvalidInputError as error:
                raise ConfigurationError(f"{table.where}: {error.message}", remedy=error.remedy) from error
            try:
                registry.register_model(spec)
            except RegistryError as error:
                raise RegistryError(f"{table.where}: {error.message}", remedy=error.remedy) from error
        return registry

    def __iter__(self) -> Iterator[ModelSpec]:
        # A copy: another thread may register one meanwhile.
        return iter((*self._specs.values(), *self._free()))

    def __len__(self) -> int:
        return len(self._specs) + len(self._free())

    def _free(self) -> list[ModelSpec]:
        """What is offered under names that nobody has claimed."""
        taken = self._short.keys() | self._repos.keys()
        return [spec for spec in self._offered if not taken & {name.casefold() for name in (spec.id, *spec.aliases)}]

    def register_model(self, spec: ModelSpec) -> None:
        """Add a spec; the very same one again changes nothing.

        Two specs may be of one Hub repository. Raises RegistryError, naming both, when an id or alias of one
        is an id, an alias or the Hub id of the other; the registry is then as before.
        """
        if self._specs.get(spec.id) == spec:
            return
        for name in (spec.id, *spec.aliases):
            for other in (self._short.get(name.casefold()), self._repos.get(name.casefold())):
                if other is not None:
                    raise _clash(name, spec, other)
        repo = spec.huggingface_id.casefold()
        other = self._short.get(repo)
        if other is not None and other.huggingface_id.casefold() != repo:
            raise _clash(spec.huggingface_id, spec, other)
        self._specs[spec.id] = spec
        for name in (spec.id, *spec.aliases):
            self._short[name.casefold()] = spec
        self._repos.setdefault(repo, spec)

    def find(self, name: str) -> ModelSpec | None:
        """The spec of that id, alias or Hub id, or None. Of several for one Hub id, the first registered."""
        wanted = name.casefold()
        free = (spec for spec in self._free() if wanted in {word.casefold() for word in (spec.id, *spec.aliases)})
        return self._short.get(wanted) or next(free, None) or self.of_repo(name)

    def get(self, name: str) -> ModelSpec:
        """As `find`; raises UnknownModelError with the nearest names."""
        spec = self.find(name)
        if spec is None:
            raise UnknownModelError(name, self.nearest(name))
        return spec

    def of_repo(self, repo: str) -> ModelSpec | None:
        """The first spec of that Hub repository."""
        wanted = repo.casefold()
        free = (spec for spec in self._free() if spec.huggingface_id.casefold() == wanted)
        return self._repos.get(wanted) or next(free, None)

    def aliases(self) -> dict[str, str]:
        """Every alias and the id that it stands for."""
        return {alias: spec.id for spec in self for alias in spec.aliases}

    def nearest(self, name: str, others: Iterable[str] = ()) -> tuple[str, ...]:
        """The ids, aliases, Hub ids and ``others`` (names in the store) most like a name, 3 at most.

        By difflib's ratio of matching characters, the best over the name and its parts between slashes; a name
        that contains the other, such as ``minilm``, comes after those that are alike.
        """
        from difflib import SequenceMatcher

        known = [word for spec in self for word in (spec.id, *spec.aliases, spec.huggingface_id)]
        wanted = name.casefold()
        scored = []
        for word in dict.fromkeys((*known, *others)):
            form = word.casefold()
            likeness = max(SequenceMatcher(None, wanted, part).ratio() for part in {form, *form.split("/")})
            contains = len(wanted) >= _SHORTEST_PART and wanted in form
            if likeness >= _LIKENESS or contains:
                scored.append((-likeness if likeness >= _LIKENESS else 0.0, word))
        return tuple(word for _, word in sorted(scored)[:_NEAREST])


def _clash(name: str, spec: ModelSpec, other: ModelSpec) -> RegistryError:
    return RegistryError(
        f"the name {name!r} is claimed by {spec.id!r} ({spec.huggingface_id}) and by {other.id!r} "
        f"({other.huggingface_id})",
        remedy=f"give {spec.id!r} another id or alias",
    )
