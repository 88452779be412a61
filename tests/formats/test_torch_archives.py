"""The spans of torch archives that were written without torch."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from types import SimpleNamespace

import pytest

from casmodels.formats import find_spans
from casstore.chunkers.spans import Span
from tests.formats.building import (
    BytesSource,
    FakeStorage,
    FakeTensor,
    Module,
    TorchFile,
    archive,
    safetensors,
    spans_of,
    state_dict,
    torch_pickle,
)


def _placed(file: TorchFile) -> dict[str, list[tuple[int, int, bytes]]]:
    """For each storage, the (start, length, key) of its spans; start counts from the storage's first byte."""
    data = file.build()
    spans = spans_of(data)
    placed = {}
    with zipfile.ZipFile(io.BytesIO(data)) as directory:
        for storage in file.storages:
            header = directory.getinfo(f"{file.root}/data/{storage.key}").header_offset
            name_bytes, extra_bytes = struct.unpack_from("<2H", data, header + 26)
            start = header + 30 + name_bytes + extra_bytes
            inside = [span for span in spans if start <= span.offset < start + storage.length]
            placed[storage.key] = [(span.offset - start, span.length, span.key) for span in inside]
    assert sum(map(len, placed.values())) == len(spans)
    return placed


def _key(name: str, *shape: int) -> bytes:
    length = 4
    for size in shape:
        length *= size
    [span] = spans_of(safetensors({name: ("F32", shape, length)}))
    return span.key


def _described(span: Span) -> tuple[int, int, int, bytes]:
    return span.length, span.item_width, span.block_bytes, span.key


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zip64", [False, True])
def test_a_tensor_has_the_same_span_as_in_a_safetensors_file(protocol: int, zip64: bool) -> None:
    file = state_dict(a__weight=(3, 4), a__bias=(5,), scalar=())
    file.protocol, file.zip64 = protocol, zip64
    other = safetensors({"scalar": ("F32", [], 4), "a.bias": ("F32", [5], 20), "a.weight": ("F32", [3, 4], 48)})
    assert sorted(map(_described, spans_of(file.build()))) == sorted(map(_described, spans_of(other)))


@pytest.mark.parametrize(
    ("kind", "width", "item_width", "block_bytes"),
    [
        ("FloatStorage", 4, 4, 4),
        ("DoubleStorage", 8, 8, 8),
        ("HalfStorage", 2, 2, 2),
        ("BFloat16Storage", 2, 2, 2),
        ("LongStorage", 8, 8, 8),
        ("IntStorage", 4, 4, 4),
        ("ShortStorage", 2, 2, 2),
        ("CharStorage", 1, 1, 1),
        ("ByteStorage", 1, 1, 1),
        ("BoolStorage", 1, 1, 1),
        ("ComplexFloatStorage", 8, 4, 8),
        ("ComplexDoubleStorage", 16, 8, 16),
    ],
)
def test_every_kind_of_storage_has_its_width(kind: str, width: int, item_width: int, block_bytes: int) -> None:
    storage = FakeStorage(kind, "0", 6, width)
    [span] = spans_of(TorchFile({"t": FakeTensor(storage, (2, 3))}, [storage]).build())
    assert (span.length, span.item_width, span.block_bytes) == (6 * width, item_width, block_bytes)


@pytest.mark.parametrize(
    ("dtype", "width", "item_width"), [("float8_e4m3fn", 1, 1), ("uint16", 2, 2), ("uint64", 8, 8), ("uint32", 4, 4)]
)
def test_an_untyped_storage_has_the_width_of_its_tensors(dtype: str, width: int, item_width: int) -> None:
    storage = FakeStorage("UntypedStorage", "0", 6 * width, 1)
    tensor = FakeTensor(storage, (3,), offset=3, dtype=dtype)
    spans = spans_of(TorchFile({"t": tensor}, [storage]).build())
    assert [(span.length, span.item_width) for span in spans] == [(3 * width, item_width)] * 2
    assert [bool(span.key) for span in spans] == [False, True]


@pytest.mark.parametrize("kind", ["QUInt4x2Storage", "NobodyKnowsStorage"])
def test_a_storage_of_unknown_type_has_no_span_but_others_have(kind: str) -> None:
    strange, known = FakeStorage(kind, "0", 8), FakeStorage("FloatStorage", "1", 8)
    file = TorchFile({"s": FakeTensor(strange, (8,)), "k": FakeTensor(known, (8,))}, [strange, known])
    assert {key: len(spans) for key, spans in _placed(file).items()} == {"0": 0, "1": 1}


def test_tensors_of_one_storage_each_have_a_span_and_what_they_leave_has_one_without_a_key() -> None:
    storage = FakeStorage("FloatStorage", "0", 20)
    tensors = {"b": FakeTensor(storage, (2, 3), offset=8), "a": FakeTensor(storage, (4,), offset=2)}
    assert _placed(TorchFile(tensors, [storage]))["0"] == [
        (0, 8, b""),
        (8, 16, _key("a", 4)),
        (24, 8, b""),
        (32, 24, _key("b", 2, 3)),
        (56, 24, b""),
    ]


def test_tied_tensors_are_one_span_by_the_first_name() -> None:
    storage = FakeStorage("FloatStorage", "0", 6)
    shared = FakeTensor(storage, (2, 3))
    for second in (shared, FakeTensor(storage, (2, 3))):
        file = TorchFile(OrderedDict(wte=shared, head=second), [storage])
        assert _placed(file)["0"] == [(0, 24, _key("wte", 2, 3))]


def test_a_view_inside_another_tensor_adds_nothing() -> None:
    storage = FakeStorage("FloatStorage", "0", 12)
    tensors = {
        "row": FakeTensor(storage, (4,), offset=4),
        "column": FakeTensor(storage, (3,), stride=(4,)),
        "whole": FakeTensor(storage, (3, 4)),
        "expanded": FakeTensor(storage, (12, 7), stride=(1, 0)),
    }
    assert _placed(TorchFile(tensors, [storage]))["0"] == [(0, 48, _key("whole", 3, 4))]


def test_a_transposed_tensor_is_a_span_with_a_key_of_its_own() -> None:
    storage = FakeStorage("FloatStorage", "0", 12)
    [(start, length, key)] = _placed(TorchFile({"w": FakeTensor(storage, (3, 4), stride=(1, 3))}, [storage]))["0"]
    assert (start, length) == (0, 48)
    assert key not in (b"", _key("w", 3, 4))


def test_strides_of_dimensions_of_one_do_not_matter() -> None:
    storage = FakeStorage("FloatStorage", "0", 12)
    tensor = FakeTensor(storage, (1, 3, 1, 4), stride=(99, 4, 7, 1))
    assert _placed(TorchFile({"w": tensor}, [storage]))["0"] == [(0, 48, _key("w", 1, 3, 1, 4))]


_DOUBTFUL: dict[str, list[FakeTensor]] = {
    "overlap in part": [FakeTensor(FakeStorage("", "", 0), (4,)), FakeTensor(FakeStorage("", "", 0), (4,), offset=2)],
    "past the end": [FakeTensor(FakeStorage("", "", 0), (13,))],
    "an offset past the end": [FakeTensor(FakeStorage("", "", 0), (2,), offset=1 << 62)],
    "slices only": [FakeTensor(FakeStorage("", "", 0), (3, 2), stride=(4, 1))],
    "more strides than sizes": [FakeTensor(FakeStorage("", "", 0), (12,), stride=(1, 1))],
    "a negative size": [FakeTensor(FakeStorage("", "", 0), (-12,), stride=(1,))],
    "numbers too large": [FakeTensor(FakeStorage("", "", 0), (1 << 62, 1 << 62))],
}


@pytest.mark.parametrize("tensors", _DOUBTFUL.values(), ids=_DOUBTFUL.keys())
def test_a_storage_in_doubt_is_one_span_without_a_key(tensors: list[FakeTensor]) -> None:
    storage, sound = FakeStorage("FloatStorage", "0", 12), FakeStorage("FloatStorage", "1", 4)
    for tensor in tensors:
        tensor.storage = storage
    known = [FakeTensor(storage, (0,)), FakeTensor(sound, (4,))]
    placed = _placed(TorchFile([*tensors, *known], [storage, sound]))
    assert placed["0"] == [(0, 48, b"")]
    assert [(start, length) for start, length, _ in placed["1"]] == [(0, 16)]


def test_a_storage_read_as_two_types_has_no_span() -> None:
    storage = FakeStorage("UntypedStorage", "0", 12, 1)
    tensors = {"a": FakeTensor(storage, (3,), dtype="uint32"), "b": FakeTensor(storage, (6,), dtype="uint16")}
    assert _placed(TorchFile(tensors, [storage]))["0"] == []


def test_a_storage_shorter_than_the_pickle_says_is_one_span() -> None:
    storage = FakeStorage("FloatStorage", "0", 12)
    file = TorchFile({"t": FakeTensor(storage, (12,))}, [storage])
    storage.width = 3
    assert _placed(file)["0"] == [(0, 36, b"")]


def test_a_storage_that_ends_within_an_element_is_a_span_up_to_there() -> None:
    storage = FakeStorage("FloatStorage", "0", 12)
    file = TorchFile({"t": FakeTensor(storage, (2,))}, [])
    file.extra_members["data/0"] = bytes(11)
    file.storages = []
    assert [(span.length, bool(span.key)) for span in spans_of(file.build())] == [(8, True)]
    assert storage.length == 48


def test_a_storage_that_is_not_there_is_passed_over() -> None:
    here, gone = FakeStorage("FloatStorage", "0", 2), FakeStorage("FloatStorage", "1", 2)
    file = TorchFile({"a": FakeTensor(here, (2,)), "b": FakeTensor(gone, (2,))}, [here])
    assert len(_placed(file)["0"]) == 1


def _names_seen(value: object, *storages: FakeStorage, candidates: list[str]) -> list[str | None]:
    """Which of the names each storage's only tensor, of two elements, goes by."""
    placed = _placed(TorchFile(value, storages))
    by_key = {_key(name, 2): name for name in candidates}
    return [by_key.get(placed[storage.key][0][2]) for storage in storages]


def test_names_are_those_of_a_state_dict_wherever_it_lies() -> None:
    storages = [FakeStorage("FloatStorage", str(number), 2) for number in range(6)]
    a, b, c, d, e, f = (FakeTensor(storage, (2,), parameter=True) for storage in storages)
    value = {
        "epoch": 3,
        "loss": 0.5,
        "args": SimpleNamespace(lr=0.1),
        "state_dict": OrderedDict({"layer.weight": a, "weight": b}),
        "optimizer": {"state": {0: {"exp_avg": c}, 7: {"exp_avg": d}}},
        "history": [{"x": e}],
        "model": Module({}, {"0": Module({"bias": f})}),
    }
    names = ["layer.weight", "state_dict.weight", "optimizer.state.0.exp_avg", "optimizer.state.7.exp_avg"]
    names += ["history.0.x", "model.0.bias"]
    assert _names_seen(value, *storages, candidates=names) == names


def test_a_name_too_long_is_no_name_nor_is_that_of_anything_below_it() -> None:
    storages = [FakeStorage("FloatStorage", str(number), 2) for number in range(3)]
    a, b, c = (FakeTensor(storage, (2,)) for storage in storages)
    value = {"x" * 300: {"a": a}, "y" * 200: {"z" * 100: {"b": b}}, "c": c}
    assert _names_seen(value, *storages, candidates=["a", "b", "c", "z" * 100 + ".b"]) == [None, None, "c"]


@pytest.mark.parametrize(("byteorder", "keyed"), [(b"little", True), (None, True), (b"big", False), (b"", False)])
def test_only_little_endian_numbers_have_keys(byteorder: bytes | None, keyed: bool) -> None:
    file = state_dict(w=(3, 4))
    file.byteorder = byteorder
    [span] = spans_of(file.build())
    assert (span.item_width, bool(span.key)) == (4, keyed)


def test_a_self_containing_value_is_followed_once() -> None:
    storage = FakeStorage("FloatStorage", "0", 2)
    value: dict[str, object] = {"w": FakeTensor(storage, (2,))}
    value["again"] = [value]
    assert len(_placed(TorchFile(value, [storage]))["0"]) == 1


def test_torchscript_keeps_its_constants_in_a_second_pickle() -> None:
    weight, constant = FakeStorage("FloatStorage", "0", 6), FakeStorage("LongStorage", "0", 2, 8)
    file = TorchFile(Module({"weight": FakeTensor(weight, (2, 3))}), [weight], root="whisper")
    file.extra_members = {
        "constants.pkl": torch_pickle((FakeTensor(constant, (2,)),)),
        "constants/0": bytes(constant.length),
        "code/__torch__.py": b"def forward(self): ...",
    }
    assert sorted(span.length for span in spans_of(file.build())) == [16, 24]


def test_an_archive_whose_name_is_no_ascii() -> None:
    file = state_dict(w=(3, 4))
    file.root = "modèle"
    assert len(spans_of(file.build())) == 1


def test_compressed_members_have_no_spans() -> None:
    file = state_dict(w=(30, 40))
    file.compression = zipfile.ZIP_DEFLATED
    assert spans_of(file.build()) == []


def _without(data: bytes, old: bytes, new: bytes, count: int = 1) -> bytes:
    assert data.count(old) >= count
    return data.replace(old, new, count)


def test_a_member_whose_own_header_has_another_name_makes_the_file_opaque() -> None:
    data = state_dict(w=(3, 4)).build()
    assert spans_of(_without(data, b"archive/data/0", b"archive/data/1")) == []


def test_a_member_that_begins_elsewhere_makes_the_file_opaque() -> None:
    data = bytearray(state_dict(w=(3, 4)).build())
    entry = data.rindex(b"archive/data/0") - 46
    for offset in (0, 64, 0x7FFFFFFF, 0xFFFFFFFE):
        struct.pack_into("<I", data, entry + 42, offset)
        assert spans_of(bytes(data)) == []


@pytest.mark.parametrize(("stored_bytes", "length"), [(200, 200), (48, 40), (40, 48)])
def test_a_member_of_another_length_than_its_bytes_makes_the_file_opaque(stored_bytes: int, length: int) -> None:
    data = bytearray(state_dict(w=(3, 4)).build())
    entry = data.rindex(b"archive/data/0") - 46
    assert struct.unpack_from("<2I", data, entry + 20) == (48, 48)
    struct.pack_into("<2I", data, entry + 20, stored_bytes, length)
    assert spans_of(bytes(data)) == []


def test_two_members_of_one_name_make_the_file_opaque() -> None:
    data = state_dict(v=(3, 4), w=(3, 4)).build()
    assert len(spans_of(data)) == 2
    assert spans_of(data.replace(b"archive/data/1", b"archive/data/0")) == []


def test_two_members_on_the_same_bytes_make_the_file_opaque() -> None:
    data = bytearray(_without(state_dict(v=(3, 4), w=(3, 4)).build(), b"data/1", b"data/0"))
    first, second = (data.rindex(b"archive/data/" + key) - 46 for key in (b"0", b"1"))
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    assert spans_of(bytes(data)) == []


@pytest.mark.parametrize(
    "members",
    [
        {"word/document.xml": b"<xml/>"},
        {"archive/data.pkl": torch_pickle({}), "other/data.pkl": torch_pickle({})},
        {"a/b/data.pkl": torch_pickle({})},
        {"data.pkl": torch_pickle({})},
        {},
    ],
)
def test_other_archives_have_no_spans(members: dict[str, bytes]) -> None:
    assert spans_of(archive(members)) == []


def test_legacy_files_are_opaque() -> None:
    assert spans_of(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + torch_pickle({"w": 1})) == []


def test_a_directory_that_claims_to_be_huge_is_not_read() -> None:
    data = state_dict(w=(3, 4)).build()
    end = bytearray(data[-22:])
    struct.pack_into("<2I", end, 12, 0x7F000000, 0)
    source = _Sparse(data[:64], bytes(end), size_bytes=1 << 31)
    assert find_spans("model.bin", source) == []
    assert source.read_bytes < 1 << 20


class _Sparse(BytesSource):
    """A large file of which only the ends hold anything."""

    def __init__(self, head: bytes, tail: bytes, size_bytes: int) -> None:
        super().__init__(head, size_bytes)
        self.tail = tail

    def read_at(self, offset: int, length: int) -> bytes:
        self.read_bytes += length
        assert length < 1 << 20
        data = bytearray(min(length, self.size_bytes - offset))
        for start, part in ((0, self.data), (self.size_bytes - len(self.tail), self.tail)):
            for position, byte in enumerate(part, start - offset):
                if 0 <= position < len(data):
                    data[position] = byte
        return bytes(data)
