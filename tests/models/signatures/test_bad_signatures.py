"""What is no signature of the version by the key: one sentence each, and never an answer that it is."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest

from casmodels.errors import NotFoundError, NotSignedError, SignatureError
from casmodels.library import Store, signing
from casmodels.signatures import bundles
from casstore.errors import InvalidInputError
from tests.models.signatures import forging
from tests.models.signatures.pems import Pair

FORMAT = "is not what model signing writes"
FIT = "does not fit the key: it was made with another one, or has been changed"


@pytest.fixture
def good(store: Store, model: Path, tmp_path: Path, key: Pair) -> bytes:
    """A signature of ``mine`` that fits."""
    store.checkpoint("mine", model)
    store.sign("mine", key.private, output=tmp_path / "good.sig")
    return (tmp_path / "good.sig").read_bytes()


def refused(store: Store, key: Pair, path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(SignatureError) as raised:
        store.verify_signature("mine", key.public, path)
    assert raised.value.remedy
    assert "\n" not in str(raised.value)
    return raised.value.message


def bundle_changes() -> dict[str, tuple[forging.Change, str]]:
    return {
        "no material": (lambda it: forging.without(it, "verificationMaterial"), "is no signature of OpenSSF"),
        "no envelope": (lambda it: forging.without(it, "dsseEnvelope"), "is no signature of OpenSSF"),
        "material of text": (lambda it: it.update(verificationMaterial="publicKey"), FORMAT),
        "a certificate": (
            lambda it: it.update(verificationMaterial={"certificate": {}}),
            "a certificate or an identity",
        ),
        "a chain": (lambda it: it.update(verificationMaterial={"x509CertificateChain": {}}), "a certificate or an"),
        "a key of text": (lambda it: it["verificationMaterial"].update(publicKey="key"), FORMAT),
        "a hint of numbers": (lambda it: it["verificationMaterial"].update(publicKey={"hint": 7}), FORMAT),
        "another hint": (lambda it: it["verificationMaterial"].update(publicKey={"hint": "00"}), "with another key"),
        "no payload": (lambda it: forging.without(it, "dsseEnvelope", "payload"), FORMAT),
        "a payload that is no base64": (lambda it: it["dsseEnvelope"].update(payload="@@@@"), FORMAT),
        "a payload that is no JSON": (lambda it: it["dsseEnvelope"].update(payload="AAAA"), FORMAT),
        "another payload type": (
            lambda it: it["dsseEnvelope"].update(payloadType="text/plain"),
            "is not as model signing",
        ),
        "another media type": (lambda it: it.update(mediaType="text/plain"), "is not as model signing"),
        "no signatures": (lambda it: it["dsseEnvelope"].update(signatures=[]), "is not as model signing"),
        "a signature of nothing": (lambda it: it["dsseEnvelope"]["signatures"][0].update(sig=""), FIT),
        "a signature of zeros": (lambda it: it["dsseEnvelope"]["signatures"][0].update(sig="A" * 96), FIT),
        "entries of text": (lambda it: it["dsseEnvelope"].update(signatures="ab"), "is not as model signing"),
    }


@pytest.mark.parametrize("name", bundle_changes())
def test_a_changed_envelope(store: Store, tmp_path: Path, key: Pair, good: bytes, name: str) -> None:
    change, said = bundle_changes()[name]
    assert said in refused(store, key, tmp_path / "bad.sig", forging.with_bundle(good, change))


def statement_changes() -> dict[str, tuple[forging.Change, str]]:
    return {
        "another digest": (lambda it: forging.resources(it)[0].update(digest="00" * 32), FIT),
        "a file less": (lambda it: forging.resources(it).pop(), FIT),
        "another name": (lambda it: forging.resources(it)[0].update(name="other"), FIT),
        "another model's name": (lambda it: it["subject"][0].update(name="other"), FIT),
        "more ignored": (lambda it: it["predicate"]["serialization"]["ignore_paths"].append("weights.bin"), FIT),
        "all ignored": (lambda it: it["predicate"]["serialization"].update(ignore_paths=["."]), FIT),
        "links allowed": (lambda it: it["predicate"]["serialization"].update(allow_symlinks=True), FIT),
        "twice the files": (forging.doubled, FIT),
        "another hash": (lambda it: it["predicate"]["serialization"].update(hash_type="md5"), "is over files with md5"),
        "no hash": (lambda it: it["predicate"]["serialization"].update(hash_type=None), FORMAT),
        "another method": (lambda it: it["predicate"]["serialization"].update(method="x"), "is over x with sha256"),
        "another predicate": (lambda it: it.update(predicateType="https://other"), "is of another kind than"),
        "no predicate": (lambda it: forging.without(it, "predicate"), FORMAT),
        "resources of text": (lambda it: it["predicate"].update(resources="abc"), FORMAT),
        "ignored by number": (lambda it: it["predicate"]["serialization"].update(ignore_paths=[1]), FORMAT),
    }


@pytest.mark.parametrize("name", statement_changes())
def test_a_changed_statement(store: Store, tmp_path: Path, key: Pair, good: bytes, name: str) -> None:
    change, said = statement_changes()[name]
    assert said in refused(store, key, tmp_path / "bad.sig", forging.with_statement(good, change))


@pytest.mark.parametrize("name", statement_changes())
def test_a_statement_that_another_key_has_signed(
    store: Store, tmp_path: Path, key: Pair, other_key: Pair, good: bytes, name: str
) -> None:
    """With the hint of the right key, so that only the mathematics can tell."""
    change, _ = statement_changes()[name]
    forged = forging.signed_again(forging.with_statement(good, change), other_key.private.read_bytes())
    assert refused(store, key, tmp_path / "bad.sig", forged)


def nothing(statement: dict[str, Any]) -> None:
    """Be about no file at all."""
    statement["predicate"]["resources"] = []
    statement["predicate"]["serialization"]["ignore_paths"] = ["."]
    statement["subject"][0]["digest"]["sha256"] = hashlib.sha256().hexdigest()


def signed_changes() -> dict[str, tuple[forging.Change, str]]:
    return {
        "another root": (lambda it: it["subject"][0]["digest"].update(sha256="00" * 32), "is not as model signing"),
        "two subjects": (lambda it: it["subject"].append(it["subject"][0]), "is not as model signing"),
        "another statement": (lambda it: it.update(_type="https://other"), "is not as model signing"),
        "a digest that is none": (lambda it: forging.resources(it)[0].update(digest="xyz"), "is not as model signing"),
        "nothing": (nothing, "leaves out every file of the version"),
    }


@pytest.mark.parametrize("name", signed_changes())
def test_a_statement_that_makes_no_sense_though_the_key_has_signed_it(
    store: Store, tmp_path: Path, key: Pair, good: bytes, name: str
) -> None:
    change, said = signed_changes()[name]
    signed = forging.signed_again(forging.with_statement(good, change), key.private.read_bytes())
    assert said in refused(store, key, tmp_path / "bad.sig", signed)


def test_the_means_of_forging_are_right(store: Store, tmp_path: Path, key: Pair, good: bytes) -> None:
    (tmp_path / "same.sig").write_bytes(forging.signed_again(good, key.private.read_bytes()))
    assert store.verify_signature("mine", key.public, tmp_path / "same.sig").files == 3


def test_another_hash_than_the_curve_s(store: Store, tmp_path: Path, key: Pair, good: bytes) -> None:
    confused = forging.signed_again(good, key.private.read_bytes(), other_hash=True)
    assert FIT in refused(store, key, tmp_path / "bad.sig", confused)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b"no JSON", b"[]", b"7", b"null", b'"text"', b"{}", b"[" * 100_000, b'{"a":' * 100_000],
    ids=["empty", "no UTF-8", "no JSON", "list", "number", "null", "text", "object", "deep list", "deep object"],
)
def test_what_is_no_bundle(store: Store, tmp_path: Path, key: Pair, good: bytes, data: bytes) -> None:
    path = tmp_path / "bad.sig"
    assert refused(store, key, path, data) == f"the signature {path} is no signature of OpenSSF model signing"


def test_one_that_is_cut_short_anywhere(store: Store, tmp_path: Path, key: Pair, good: bytes) -> None:
    for length in range(0, len(good), 97):
        assert "is no signature of OpenSSF model signing" in refused(store, key, tmp_path / "bad.sig", good[:length])


def test_any_bit_that_flips(store: Store, tmp_path: Path, key: Pair, good: bytes) -> None:
    """What is refused, is refused as a signature; what passes says the same to whoever reads it."""
    chance = random.Random(1)
    for place in chance.sample(range(len(good)), 150):
        bad = bytearray(good)
        bad[place] ^= 1 << chance.randrange(8)
        (tmp_path / "bad.sig").write_bytes(bad)
        try:
            result = store.verify_signature("mine", key.public, tmp_path / "bad.sig")
        except SignatureError:
            continue
        assert b'"dsseEnvelope"' in bad
        assert (result.files, result.unsigned) == (3, (".gitattributes",))


def test_one_that_is_huge(
    store: Store, model: Path, tmp_path: Path, key: Pair, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "model.sig").write_bytes(b" " * 2000 + good)
    store.checkpoint("huge", model)
    for module in (bundles, signing):
        monkeypatch.setattr(module, "MOST_BYTES", len(good) + 1000)
    assert "is too large for a signature" in refused(store, key, tmp_path / "bad.sig", b" " * 2000 + good)
    with pytest.raises(SignatureError, match=r"the model\.sig of huge@\w{12} is too large for a signature"):
        store.verify_signature("huge", key.public)


def test_another_key(store: Store, key: Pair, other_key: Pair, good: bytes) -> None:
    own = hashlib.sha256(key.public.read_bytes()).hexdigest()
    with pytest.raises(SignatureError) as raised:
        store.verify_signature("mine", other_key.public)
    (version,) = store.versions("mine")
    assert raised.value.message == (
        f"the signature of mine@{version.version[:12]} was made with another key: "
        f"the SHA-256 of its public PEM file is {own}"
    )
    assert raised.value.remedy == "check it with the public key of who signed it"


def test_another_version(store: Store, model: Path, tmp_path: Path, key: Pair, good: bytes) -> None:
    (model / "weights.bin").write_bytes(b"other")
    (model / "empty.txt").unlink()
    (model / "more.txt").touch()
    store.checkpoint("mine", model)
    said = refused(store, key, tmp_path / "old.sig", good)
    assert said == (
        f"the signature {tmp_path / 'old.sig'} is of other files: "
        "'weights.bin' differs, 'empty.txt' is missing, 'more.txt' was not signed"
    )


def test_none_at_all(store: Store, model: Path, key: Pair) -> None:
    version = store.checkpoint("mine", model).version[:12]
    for ask in (
        lambda: store.verify_signature("mine", key.public),
        lambda: store.write_signature("mine", key.public.with_name("out.sig")),
    ):
        with pytest.raises(NotSignedError) as raised:
            ask()
        assert raised.value.message == f"mine@{version} is not signed"
        assert raised.value.remedy is not None
        assert f"casmodels sign mine@{version} --key" in raised.value.remedy
    assert not key.public.with_name("out.sig").exists()


def test_no_such_file(store: Store, tmp_path: Path, key: Pair, good: bytes) -> None:
    with pytest.raises(NotFoundError, match=r"there is no file .*none\.sig"):
        store.verify_signature("mine", key.public, tmp_path / "none.sig")
    for name, said in (("", "cannot be read: is a directory"), ("a\0b", "cannot be a path")):
        with pytest.raises(InvalidInputError, match=said):
            store.verify_signature("mine", key.public, tmp_path / name)


def test_a_version_with_two_needs_one_that_fits(
    store: Store, model: Path, tmp_path: Path, key: Pair, other_key: Pair, good: bytes
) -> None:
    (model / "model.sig").write_bytes(good)
    store.checkpoint("mine", model)
    store.sign("mine", other_key.private)
    assert store.verify_signature("mine", other_key.public).source == "kept"
    assert store.verify_signature("mine", key.public).source == "model.sig"
    (model / "model.sig").write_bytes(b"garbage")
    store.checkpoint("mine", model)
    with pytest.raises(SignatureError, match=r"the model\.sig of mine@\w{12} is no signature"):
        store.verify_signature("mine", key.public)
    store.sign("mine", key.private)
    assert store.verify_signature("mine", key.public).source == "kept"
    with pytest.raises(SignatureError, match=r"the signature of mine@\w{12} was made with another key"):
        store.verify_signature("mine", other_key.public)


def test_a_dead_link_where_links_are_allowed(store: Store, model: Path, tmp_path: Path, key: Pair) -> None:
    (model / "same.bin").symlink_to("weights.bin")
    store.checkpoint("mine", model)
    store.sign("mine", key.private, output=tmp_path / "good.sig")
    (model / "dead").symlink_to("none")
    store.checkpoint("mine", model)
    assert "of a version whose link 'dead' leads nowhere" in refused(
        store, key, tmp_path / "bad.sig", (tmp_path / "good.sig").read_bytes()
    )


def test_a_given_file_is_not_taken_for_the_version_s_own(
    store: Store, key: Pair, good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("model.sig", "kept"):
        assert refused(store, key, Path(name), b"") == f"the signature {name} is no signature of OpenSSF model signing"
