"""The hash that decides where customers live: published vectors, packing, and how evenly it spreads."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import hashing

# http://www.isthe.com/chongo/src/fnv/test_fnv.c: FNV-1a, 64 bits
PUBLISHED = {
    "": 0xCBF29CE484222325,
    "a": 0xAF63DC4C8601EC8C,
    "b": 0xAF63DF4C8601F1A5,
    "foo": 0xDCB27518FED9D577,
    "foobar": 0x85944171F73967E8,
    "chongo was here!\n": 0x46810940EFF5F915,
}


def plain(text: str) -> int:
    """FNV-1a as it is written down, byte by byte."""
    value = hashing.BASIS
    for byte in text.encode():
        value = ((value ^ byte) * hashing.PRIME) % 2**64
    return value


@pytest.mark.parametrize(("text", "value"), list(PUBLISHED.items()))
def test_the_published_vectors(text: str, value: int) -> None:
    assert int(hashing.fnv1a([text])[0]) == value == plain(text)


def test_the_final_mix_is_murmurs() -> None:
    """fmix64 of 1 and of 0, as MurmurHash3's reference code gives them."""
    assert hashing.mix(np.array([0, 1], np.uint64)).tolist() == [0, 0xB456BCFC34C2CB2C]


def test_our_own_vectors_never_change() -> None:
    """A store written today is read by every later version."""
    expected = [0x72C2487D01851224, 0xEB53C27103B5E511, 0x837C81CD4928E3C5]
    assert hashing.hash_ids(["00123", "NA", "客户一"]).tolist() == expected
    assert hashing.bucket_of(["00123", "NA", "客户一", "9007199254740993"], 64).tolist() == [36, 17, 5, 16]


@given(st.lists(st.text(max_size=60), max_size=40))
def test_vectors_of_any_text_equal_the_plain_loop(texts: list[str]) -> None:
    """Whatever the lengths and wherever in a buffer the texts lie."""
    array = pa.array(["in front", *texts], pa.large_string()).slice(1)
    assert hashing.fnv1a(array).tolist() == [plain(text) for text in texts]


@given(st.lists(st.text(max_size=50), min_size=1, max_size=40))
def test_packed_ids_unpack_to_themselves(texts: list[str]) -> None:
    array = pa.array(["in front", *texts], pa.large_string()).slice(1)
    packed = hashing.pack(array)
    assert hashing.unpack(packed).to_pylist() == texts
    assert hashing.unpack(packed.slice(1)).to_pylist() == texts[1:]


def test_packing_keeps_different_ids_apart() -> None:
    """An id that holds a zero byte is not packed: filled up with zeros it could be mistaken for another."""
    for texts in (["a", "a\0"], ["\0", ""]):
        assert hashing.unpack(hashing.pack(pa.array(texts, pa.large_string()))).to_pylist() == texts


def test_customers_spread_evenly() -> None:
    """Even ids that count up fill 64 buckets to within a few standard deviations."""
    counts = np.bincount(hashing.bucket_of([f"{i:08d}" for i in range(64_000)], 64), minlength=64)
    assert counts.min() > 1_000 - 5 * 32
    assert counts.max() < 1_000 + 5 * 32
