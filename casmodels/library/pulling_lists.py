"""Pulling what a download list names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from casmodels.configs.download_list import DownloadEntry, read_download_list
from casmodels.errors import ConfigurationError
from casmodels.library.context import Context
from casmodels.library.options import PullOptions
from casmodels.library.pulling import Request, pull_all
from casmodels.library.pulling_hub import promised_file
from casmodels.progress import Progress
from casmodels.registry import Registry
from casmodels.results import PullResult
from casstore.errors import InvalidInputError


def pull_list(context: Context, path: Path, options: PullOptions, progress: Progress | None) -> list[PullResult]:
    """Pull every entry of a list. Raises as `read_download_list` and `pull_all`."""
    requests = [_request(context.registry, entry, options) for entry in read_download_list(path)]
    return pull_all(context, requests, options, progress) if requests else []


def _request(registry: Registry, entry: DownloadEntry, options: PullOptions) -> Request:
    """What an entry asks for. A name that the registry has for the same repo already leads there; every other one is a
    name of the user's own, which then means this model, whatever the registry says."""
    options = replace(
        options,
        revision=entry.revision,
        files=entry.files,
        checksum=str(entry.checksum) if entry.checksum is not None else None,
        name=entry.name,
        model_type=entry.type.value,
        listed=True,
    )
    if entry.repo is None:
        assert entry.url is not None
        return Request(entry.name, entry.url, options)
    if entry.checksum is not None:
        try:
            promised_file(entry.repo, options)
        except InvalidInputError as error:
            raise ConfigurationError(f"{entry.where}: {error.message}", remedy=error.remedy) from error
    spec = registry.find(entry.name)
    if spec is None or spec.huggingface_id.casefold() != entry.repo.casefold():
        return Request(entry.name, f"hf://{entry.repo}", options)
    known_type = None if spec.model_type is entry.type else entry.type.value
    return Request(entry.name, f"hf://{spec.huggingface_id}", replace(options, name=None, model_type=known_type))
