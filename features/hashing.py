"""Which bucket a customer lives in: a hash of our own over the bytes of the id.

Engines hash differently and promise nothing from one version to the next, so a store that outlives its engine brings
its own: 64-bit FNV-1a over the id's UTF-8 bytes (http://www.isthe.com/chongo/tech/comp/fnv/), then the final mix of
MurmurHash3, because FNV's low bits alone are poor. The name stands in the store's manifest. Ids that collide share a
bucket and nothing else: rows are always told apart by the id itself.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

NAME = "fnv1a64+fmix64/utf-8"
BASIS = 0xCBF29CE484222325
PRIME = 0x00000100000001B3
MIX = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
_CHUNK = 1 << 16  # rows hashed at a time: the running hashes stay in the cache of one core

_KEPT = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # masks of the first n bytes, little-endian
_WIDEST = 40  # bytes of the longest id that is packed: a UUID with its dashes fits

Hashes = NDArray[np.uint64]


def fnv1a(texts: pa.Array | Iterable[str]) -> Hashes:
    """FNV-1a, 64 bits, of each text's UTF-8 bytes: uint64 (n,). Absent texts hash like the empty one."""
    offsets, lengths, data = _bytes_of(texts)
    hashes = np.full(len(lengths), BASIS, np.uint64)
    for start in range(0, len(lengths), _CHUNK):
        piece = slice(start, start + _CHUNK)
        _fold(hashes[piece], offsets[piece], lengths[piece], data)
    return hashes


def mix(hashes: Hashes) -> Hashes:
    """The final mix of MurmurHash3: every bit of the input moves half the bits of the result."""
    hashes = hashes.copy()
    for factor in MIX:
        hashes ^= hashes >> np.uint64(33)
        hashes *= np.uint64(factor)
    hashes ^= hashes >> np.uint64(33)
    return hashes


def hash_ids(ids: pa.Array | Iterable[str]) -> Hashes:
    """The hash of each id, uint64 (n,)."""
    return mix(fnv1a(ids))


def bucket_of(ids: pa.Array | Iterable[str], buckets: int) -> NDArray[np.int64]:
    """The bucket 0 .. buckets-1 of each id; `buckets` is a power of two."""
    return (hash_ids(ids) & np.uint64(buckets - 1)).astype(np.int64)


def pack(ids: pa.Array) -> pa.Array:
    """Ids as bytes of one width, filled up with zeros: they move and compare many times faster than text. Ids that are
    too long for that, or hold a zero byte themselves, stay as they are."""
    offsets, lengths, data = _bytes_of(ids)
    longest = int(lengths.max(initial=0))
    first, last = (int(offsets[0]), int(offsets[-1] + lengths[-1])) if len(lengths) else (0, 0)
    if longest > _WIDEST or (data[first:last] == 0).any():
        return ids
    words = max(1, -(-longest // 8))
    packed = np.empty((len(lengths), words), np.uint64)
    for start in range(0, len(lengths), _CHUNK):
        piece = slice(start, start + _CHUNK)
        for place in range(words):
            packed[piece, place] = _eight(offsets[piece], lengths[piece], data, 8 * place)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(8 * words), len(ids), [None, pa.py_buffer(packed)])


def unpack(ids: pa.Array) -> pa.Array:
    """The texts that were packed, as large_string; texts as they are."""
    if not pa.types.is_fixed_size_binary(ids.type):
        return ids.cast(pa.large_string())
    width = ids.type.byte_width
    data = np.frombuffer(ids.buffers()[1], np.uint8)[ids.offset * width : (ids.offset + len(ids)) * width]
    used = data.reshape(-1, width) != 0
    ends = np.concatenate(([0], np.cumsum(used.sum(axis=1)))).astype(np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(data[used.ravel()]))]
    return pa.LargeStringArray.from_buffers(len(ids), buffers[1], buffers[2])


def _fold(hashes: Hashes, offsets: NDArray[np.int64], lengths: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
    """Eight bytes are fetched at a time, then taken in one by one; in place. Texts that have ended stand still."""
    prime, byte, shift = np.uint64(PRIME), np.uint64(0xFF), np.uint64(8)
    shortest = int(lengths.min(initial=1 << 62))
    for place in range(int(lengths.max(initial=0))):
        if place % 8 == 0:
            eight = _eight(offsets, lengths, data, place)
        folded = (hashes ^ (eight & byte)) * prime
        hashes[:] = folded if place < shortest else np.where(lengths > place, folded, hashes)
        eight >>= shift


def _eight(
    offsets: NDArray[np.int64], lengths: NDArray[np.int64], data: NDArray[np.uint8], place: int
) -> NDArray[np.uint64]:
    """Each text's bytes place .. place+7 as one little-endian number; bytes after its end are 0."""
    every = np.ndarray((len(data) - 7,), np.uint64, data, strides=(1,))
    eight = every[np.minimum(offsets + place, len(data) - 8)]
    return eight & _KEPT[np.clip(lengths - place, 0, 8)]


def _bytes_of(texts: pa.Array | Iterable[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Where each text starts, how long it is, and the bytes they all lie in, eight more than they need."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    array = texts if isinstance(texts, pa.Array) else pa.array(list(texts), pa.large_string())
    array = array.cast(pa.large_string()).fill_null("")
    _, ends, data = array.buffers()
    if not len(array):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(8, np.uint8)
    edges = np.frombuffer(ends, np.int64)[array.offset : array.offset + len(array) + 1]
    held = np.frombuffer(data, np.uint8)[edges[0] : edges[-1]] if data is not None else np.zeros(0, np.uint8)
    return edges[:-1] - edges[0], np.diff(edges), np.append(held, np.zeros(8, np.uint8))
