"""Signatures of versions: made, kept beside their version, checked.

A signature is kept as a record that is attached to the version (`RefKey.attachment`): it lives, and goes, with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from casmodels.errors import NotSignedError, SignatureError
from casmodels.library.context import Context
from casmodels.library.names import Found, find
from casmodels.library.signature_check import SignatureCheck
from casmodels.results import SignatureResult, SignResult, WrittenSignature
from casmodels.signatures import ATTACHED, KEPT, SIGNATURE_FILE, signing
from casmodels.signatures.bundles import MOST_BYTES, SINGLE_FILE, Bundle
from casmodels.signatures.coverage import Listing
from casmodels.signatures.keys import Key, read_private_key, read_public_key
from casmodels.signatures.reading import read_start
from casmodels.views.clones import temporary_in
from casmodels.views.targets import alone, remove_temporaries
from casstore import files
from casstore.catalog import Reader
from casstore.errors import DamagedError, InvalidInputError, NotFoundError
from casstore.refs import RefKey, RefKind
from casstore.transactions import Transaction
from casstore.trees import Entry, Tree
from casstore.versions import Version


def sign(
    context: Context, target: str, private_key: Path, ask_password: Callable[[], str | None], output: Path | None
) -> SignResult:
    """Sign a version and keep the signature, in place of one that was kept before; nothing is read but records.

    Brings the version back under its name if it was removed and gc has not taken it. Raises UnknownModelError,
    UnknownVersionError, SigningKeyError, MissingExtraError, and InvalidInputError for what model signing cannot sign.
    """
    if output is not None:
        _check_output(output)
    engine = context.engine()
    with engine.reading() as reader:
        found = find(reader, context.registry, target)
        listing = Listing(reader.tree(found.version.tree))
    digests = _signable(found, listing)
    key = read_private_key(private_key, ask_password)
    made = signing.sign(found.name.rpartition("/")[2], digests, key, allow_links=listing.has_links)
    if output is not None:
        _write(output.resolve(), made)  # before it is kept: where that fails there is neither
    with engine.writing() as transaction:
        replaced = _key_of_kept(transaction, found)
        _keep(transaction, found, made, key)
        transaction.commit()
    return SignResult(
        name=found.name,
        version=found.id.hex,
        key=key.sha256,
        files=len(digests),
        unsigned=_unsigned(listing, digests),
        replaced=replaced,
        output=str(output) if output is not None else None,
    )


def verify_signature(context: Context, target: str, public_key: Path, signature: Path | None) -> SignatureResult:
    """Check a signature of a version: the one in a file that is given, or else the one that is kept and the version's
    own ``model.sig``, of which one has to fit.

    That the stored bytes are what their digests say is for `verify`. Raises UnknownModelError, UnknownVersionError,
    NotSignedError, SignatureError, SigningKeyError, MissingExtraError, NotFoundError for no such file.
    """
    given = read_start(signature, MOST_BYTES + 1) if signature is not None else None
    key = read_public_key(public_key)
    failures = []
    with context.engine().reading() as reader:
        found = find(reader, context.registry, target)
        listing = Listing(reader.tree(found.version.tree))
        candidates = (
            [(str(signature), f"the signature {signature}", given)]
            if given is not None
            else _signatures(reader, found, listing)
        )
        for source, what, data in candidates:
            try:
                covered = SignatureCheck(reader, listing, what).covered(data, key)
            except SignatureError as error:
                failures.append(error)
                continue
            unsigned = _unsigned(listing, covered) if SINGLE_FILE not in covered else ()
            return SignatureResult(found.name, found.id.hex, source, key.sha256, len(covered), unsigned)
    raise failures[0] if failures else NotSignedError(str(found))


def write_signature(context: Context, target: str, output: Path) -> WrittenSignature:
    """Write the signature that `verify_signature` would look at first to a file, unchecked.

    Raises UnknownModelError, UnknownVersionError, NotSignedError, and as `sign` for the file.
    """
    _check_output(output)
    with context.engine().reading() as reader:
        found = find(reader, context.registry, target)
        listing = Listing(reader.tree(found.version.tree))
        for source, _, data in _signatures(reader, found, listing):
            _write(output.resolve(), data)
            return WrittenSignature(found.name, found.id.hex, source, str(output))
    raise NotSignedError(str(found))


def _signable(found: Found, listing: Listing) -> dict[str, bytes]:
    """The SHA-256 of each file that is to be signed. Raises InvalidInputError for what model signing cannot sign."""
    if (dead := listing.dead_link) is not None:
        raise InvalidInputError(
            f"{found} cannot be signed: its link {dead!r} leads nowhere", remedy="save it without the link"
        )
    digests = {path: entry.blob.value for path, entry in listing.covered().items() if entry.blob is not None}
    if not digests:
        raise InvalidInputError(f"{found} has no file that a signature is about", remedy=f"see `casmodels ls {found}`")
    for path in digests:
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(
                f"{found} cannot be signed: the path {path!r} is not UTF-8", remedy="give the file another name"
            ) from error
    return digests


def _unsigned(listing: Listing, covered: Collection[str]) -> tuple[str, ...]:
    return tuple(path for path in listing.paths if path not in covered)


def _keep(transaction: Transaction, found: Found, signature: bytes, key: Key) -> None:
    blob = transaction.add_bytes(signature, SIGNATURE_FILE).info
    record = Version(
        tree=transaction.add_tree(Tree.of([Entry.file(SIGNATURE_FILE, blob.sha256, blob.size_bytes, 0o644)])),
        parent=found.id,
        source="",
        created_ns=time.time_ns(),
        metadata={"kind": ATTACHED, "attached_to": found.name, "key": key.sha256},
    )
    transaction.set_ref(RefKey.attachment(found.name, found.id, ATTACHED), transaction.add_version(record))
    transaction.set_ref(RefKey(RefKind.VERSION, found.name, found.id.hex), found.id)


def _key_of_kept(reader: Reader, found: Found) -> str | None:
    """The key of the signature that is kept, if there is one."""
    ref = reader.ref(RefKey.attachment(found.name, found.id, ATTACHED))
    record = reader.version_unless_lost(ref.target) if ref is not None else None
    key = record.metadata.get("key") if record is not None else None
    return key if isinstance(key, str) else None


def _signatures(reader: Reader, found: Found, listing: Listing) -> Iterator[tuple[str, str, bytes]]:
    """The signatures of a version: where each is, what errors call it, and its bytes. Raises DamagedError."""
    ref = reader.ref(RefKey.attachment(found.name, found.id, ATTACHED))
    if ref is not None:
        what = f"the signature of {found}"
        try:
            tree = reader.tree(reader.version(ref.target).tree)
            yield KEPT, what, _read_entry(reader, tree.by_path[SIGNATURE_FILE])
        except (DamagedError, NotFoundError, KeyError) as error:
            damaged = DamagedError(what, "its record cannot be read")
            damaged.remedy = f"`casmodels sign {found} --key private.pem` makes another one"
            raise damaged from error
    own = listing.files.get(SIGNATURE_FILE)
    if own is not None:
        yield SIGNATURE_FILE, f"the {SIGNATURE_FILE} of {found}", _read_entry(reader, own)


def _read_entry(reader: Reader, entry: Entry) -> bytes:
    """A stored file, or as much of it as tells that it is no signature."""
    assert entry.blob is not None
    return reader.open_blob(entry.blob).read_at(0, MOST_BYTES + 1)


def _check_output(output: Path) -> None:
    """Raise InvalidInputError for a file that no signature may be written to, NotFoundError for no directory."""
    if not output.resolve().parent.is_dir():
        raise NotFoundError(f"there is no directory {output.parent}", remedy="make it first")
    if not output.exists():
        return
    try:
        if not output.is_file():
            raise SignatureError("it is no file")
        Bundle.read(read_start(output, MOST_BYTES + 1), str(output))
    except SignatureError as error:
        raise InvalidInputError(
            f"{output} is there already, and is no signature", remedy="name another file, or remove it"
        ) from error


def _write(output: Path, data: bytes) -> None:
    """Put a file in place whole; what a kill leaves goes with the next such write, or with the directory's next
    checkout."""
    directory = output.parent
    with alone(directory):
        remove_temporaries(directory)
        files.write_atomically(output, data, temporary=temporary_in(directory))
