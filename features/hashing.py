"""Which bucket a customer lives in: a hash of our own over the bytes of the id.

Engines hash differently and promise nothing from one version to the next, so a store that outlives its engine brings its
own: 64-bit FNV-1a over the id's UTF-8 bytes (http://www.isthe.com/chongo/tech/comp/fnv/), then the final mix of
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


def _fold(hashes: Hashes, offsets: NDArray[np.int64], lengths: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
    """One pass per byte position over the texts that reach it; in place."""
    prime, longest = np.uint64(PRIME), int(lengths.max(initial=0))
    common = int(lengths.min(initial=longest))
    for place in range(common):
        hashes ^= data[offsets + place]
        hashes *= prime
    rows = np.flatnonzero(lengths > common)
    for place in range(common, longest):
        rows = rows[lengths[rows] > place]
        hashes[rows] = (hashes[rows] ^ data[offsets[rows] + place]) * prime


def _bytes_of(texts: pa.Array | Iterable[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Where each text starts, how long it is, and the bytes they all lie in."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    array = texts if isinstance(texts, pa.Array) else pa.array(list(texts), pa.large_string())
    array = array.cast(pa.large_string()).fill_null("")
    _, ends, data = array.buffers()
    if not len(array) or data is None:
        return np.zeros(len(array), np.int64), np.zeros(len(array), np.int64), np.zeros(1, np.uint8)
    edges = np.frombuffer(ends, np.int64)[array.offset : array.offset + len(array) + 1]
    return edges[:-1], np.diff(edges), np.frombuffer(data, np.uint8)
