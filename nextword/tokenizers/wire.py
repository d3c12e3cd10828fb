"""Protocol buffers, read: the few rules of the wire format that a SentencePiece model needs.

A message is a row of fields. Each begins with a number that holds the name (a small integer) and the wire type:
0 an integer of seven bits a byte, lowest first, the eighth bit says that more follow; 1 eight bytes; 2 a length and so
many bytes (a text, or another message); 5 four bytes. Every length is checked against what is there, so that a
truncated or hostile file ends in an error and not in a large allocation. https://protobuf.dev/programming-guides/encoding
"""

import struct
from collections.abc import Iterator

from nextword.core.errors import DataError

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
LONGEST_VARINT = 10  # bytes: 64 bits
Value = int | float | bytes


def fields(data: bytes, where: str) -> Iterator[tuple[int, Value]]:
    """Name and value of each field: an integer (signed, 64 bits), a float, or bytes; DataError where it is broken."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place, where)
        name, kind = key >> 3, key & 7
        if name == 0:
            raise DataError(f"{where} is broken at byte {place}: a field without a name")
        if kind == VARINT:
            number, place = _varint(data, place, where)
            yield name, number - (1 << 64) if number >> 63 else number
        elif kind == BYTES:
            length, place = _varint(data, place, where)
            yield name, _take(data, place, length, where)
            place += length
        elif kind in {EIGHT, FOUR}:
            size, form = (8, "<d") if kind == EIGHT else (4, "<f")
            yield name, struct.unpack(form, _take(data, place, size, where))[0]
            place += size
        else:
            raise DataError(f"{where} is broken at byte {place}: no field has the wire type {kind}")


def _take(data: bytes, place: int, length: int, where: str) -> bytes:
    if length > len(data) - place:
        raise DataError(
            f"{where} is truncated: {length} bytes are promised at byte {place}, {len(data) - place} are there"
        )
    return data[place : place + length]


def _varint(data: bytes, place: int, where: str) -> tuple[int, int]:
    number = 0
    for shift in range(LONGEST_VARINT):
        if place >= len(data):
            raise DataError(f"{where} is truncated in the middle of a number, at byte {place}")
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follow
            return number & ((1 << 64) - 1), place
    raise DataError(f"{where} is broken at byte {place}: a number of more than {LONGEST_VARINT} bytes")
