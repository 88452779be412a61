"""The shapes of the Hub's JSON answers. No field speaks of Xet: the client would ask for a Xet server."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from typing import Any

from casmodels.etags import HubFile
from casmodels.listings import Listing
from casmodels.serve.catalogue import About
from casmodels.serve.repos import Repo
from casmodels.specs import ModelSpec, ModelType, commit_of
from casstore.versions import Version

_TASKS = {
    ModelType.TEXT_EMBEDDING: "feature-extraction",
    ModelType.CHAT_COMPLETION: "text-generation",
    ModelType.INSTRUCT: "text-generation",
    ModelType.TEXT_CLASSIFICATION: "text-classification",
    ModelType.AUDIO_STT: "automatic-speech-recognition",
    ModelType.AUDIO_TTS: "text-to-speech",
    ModelType.AUDIO_VAD: "voice-activity-detection",
    ModelType.VISION_DETECTION: "object-detection",
    ModelType.VISION_EMBEDDING: "image-feature-extraction",
    ModelType.VISION_GENERATION: "text-to-image",
}
_ALWAYS = ("id", "modelId")


def model(repo: Repo, version: Version, about: About, spec: ModelSpec | None) -> dict[str, Any]:
    """A model without its files, as in a list of models."""
    task = _text(version, about, "pipeline_tag") or (_TASKS.get(spec.model_type) if spec is not None else None)
    library = _text(version, about, "library_name")
    return {
        "id": repo.name,
        "modelId": repo.name,
        "author": repo.name.partition("/")[0] if "/" in repo.name else None,
        "sha": commit_of(version),
        "lastModified": moment(version.created_ns),
        "createdAt": moment(repo.versions[-1].created_ns),
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": _tags(version, about, library, task),
        **({"pipeline_tag": task} if task else {}),
        **({"library_name": library} if library else {}),
    }


def model_info(
    base: dict[str, Any], listing: Listing, about: About, *, blobs: bool, expand: frozenset[str]
) -> dict[str, Any]:
    """One model with its files; with ``blobs`` their sizes and ids; with ``expand`` those fields only."""
    info = {
        **base,
        "cardData": about.card,
        "config": about.config,
        "spaces": [],
        "siblings": [sibling(file, blobs=blobs) for file in listing.files.values()],
        "usedStorage": listing.size_bytes,
    }
    if expand:
        return {key: value for key, value in info.items() if key in _ALWAYS or key in expand}
    return info


def sibling(file: HubFile, *, blobs: bool) -> dict[str, Any]:
    """A file as a model's info lists it."""
    if not blobs:
        return {"rfilename": file.path}
    shown: dict[str, Any] = {"rfilename": file.path, "size": file.size_bytes, "blobId": file.blob_id}
    if file.is_large:
        shown["lfs"] = {
            "sha256": file.sha256.hex,
            "size": file.size_bytes,
            "pointerSize": file.pointer_size_bytes,
        }
    return shown


def tree_file(file: HubFile, listing: Listing, *, expand: bool) -> dict[str, Any]:
    """A file as a tree lists it."""
    shown: dict[str, Any] = {
        "type": "file",
        "oid": file.blob_id,
        "size": file.size_bytes,
        "path": file.path,
    }
    if file.is_large:
        shown["lfs"] = {
            "oid": file.sha256.hex,
            "size": file.size_bytes,
            "pointerSize": file.pointer_size_bytes,
        }
    return shown | _last_commit(listing, expand=expand)


def tree_folder(path: str, listing: Listing, *, expand: bool) -> dict[str, Any]:
    """A folder as a tree lists it."""
    shown: dict[str, Any] = {"type": "directory", "oid": listing.folders[path], "size": 0, "path": path}
    return shown | _last_commit(listing, expand=expand)


def refs(repo: Repo, *, pull_requests: bool) -> dict[str, Any]:
    """Branches and tags."""
    by_id = {version.id: version for version in repo.versions}
    branches = {name: version for name, version in repo.branches.items() if not name.startswith("refs/")}
    tags = {name: by_id[target] for name, target in sorted(repo.tags.items()) if target in by_id}
    answer = {
        "branches": [_ref(name, f"refs/heads/{name}", version) for name, version in branches.items()],
        "converts": [],
        "tags": [_ref(name, f"refs/tags/{name}", version) for name, version in tags.items()],
    }
    if pull_requests:
        answer["pullRequests"] = [
            _ref(name, name, version) for name, version in repo.branches.items() if name.startswith("refs/")
        ]
    return answer


def commits(versions: Iterable[Version], *, formatted: bool) -> list[dict[str, Any]]:
    """Versions as commits."""
    return [_commit(version, formatted=formatted) for version in versions]


def moment(nanoseconds: int) -> str:
    """A time as the Hub writes it: ISO 8601 in UTC with milliseconds."""
    milliseconds = nanoseconds // 1_000_000
    whole = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def _text(version: Version, about: About, key: str) -> str | None:
    for fields in (version.metadata, about.card):
        value = fields.get(key)
        if isinstance(value, str) and value:
            return value
    return None


def _tags(version: Version, about: About, library: str | None, task: str | None) -> list[str]:
    """What the Hub's own tags say: upstream's where they are known, else made of the card."""
    known = version.metadata.get("tags")
    if isinstance(known, list) and known:
        return [tag for tag in known if isinstance(tag, str)]
    card = about.card
    licence = _text(version, about, "licence") or _text(version, about, "license")
    bases = version.metadata.get("base_models") or card.get("base_model")
    architecture = about.config.get("model_type")
    found = [
        *([library] if library else []),
        *([architecture] if isinstance(architecture, str) else []),
        *([task] if task else []),
        *_texts(card.get("tags")),
        *_texts(card.get("language")),
        *(f"base_model:{base}" for base in _texts(bases)),
        *([f"license:{licence}"] if licence else []),
    ]
    return list(dict.fromkeys(found))


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, str)]


def _ref(name: str, ref: str, version: Version) -> dict[str, str]:
    return {"name": name, "ref": ref, "targetCommit": commit_of(version)}


def _commit(version: Version, *, formatted: bool) -> dict[str, Any]:
    title, _, message = (version.message or _origin(version)).partition("\n")
    shown: dict[str, Any] = {
        "id": commit_of(version),
        "title": title,
        "message": message.strip(),
        "authors": [{"user": "casmodels", "avatar": ""}],
        "date": moment(version.created_ns),
    }
    if formatted:
        shown["formatted"] = {"title": escape(title), "message": escape(message.strip())}
    return shown


def _origin(version: Version) -> str:
    # Other sources are paths and addresses of whoever made the version: no business of the server's guests.
    return f"From {version.source}" if version.source.startswith("hf://") else f"Version {version.id.hex[:12]}"


def _last_commit(listing: Listing, *, expand: bool) -> dict[str, Any]:
    """The store keeps no history of single files: the version itself is a file's last commit."""
    if not expand:
        return {}
    commit = _commit(listing.version, formatted=False)
    return {"lastCommit": {key: commit[key] for key in ("id", "title", "date")}}
