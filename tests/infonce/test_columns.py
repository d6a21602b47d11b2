"""A filter over columns lets pass what a walk over each document's metadata lets pass."""

import operator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from infonce.columns import Columns
from infonce.filters import Comparator, Condition, Filter, Joined, Joint, keys_of

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 1.0]), st.sampled_from("abA"))
KEYS = st.sampled_from(["lang", "year", "tags"])
METADATA = st.dictionaries(KEYS, SCALARS | st.lists(SCALARS, max_size=3), max_size=3)


def comparisons() -> st.SearchStrategy[Filter]:
    plain = [Comparator.EQ, Comparator.NE, Comparator.GT, Comparator.GTE, Comparator.LT, Comparator.LTE]
    one = st.builds(Condition, comparator=st.sampled_from(plain), key=KEYS, value=SCALARS)
    several = st.lists(SCALARS, max_size=3)
    many = st.builds(Condition, comparator=st.sampled_from([Comparator.IN, Comparator.NIN]), key=KEYS, value=several)
    there = st.builds(Condition, comparator=st.just(Comparator.EXISTS), key=KEYS, value=st.booleans())
    return one | many | there


FILTERS = st.recursive(
    comparisons(),
    lambda parts: st.builds(Joined, joint=st.sampled_from(list(Joint)), parts=st.lists(parts, min_size=1, max_size=3)),
    max_leaves=6,
)


def kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def passes(asked: Filter, metadata: dict[str, Any]) -> bool:
    """By reading the document."""
    if isinstance(asked, Joined):
        found = [passes(part, metadata) for part in asked.parts]
        return all(found) if asked.joint is Joint.AND else any(found) if asked.joint is Joint.OR else not any(found)
    value = metadata.get(asked.key, [])
    items = value if isinstance(value, list) else [value]
    equal = [any(kind(item) == kind(one) and item == one for item in items) for one in as_list(asked.value)]
    match asked.comparator:
        case Comparator.EXISTS:
            return any(item is not None for item in items) == asked.value
        case Comparator.EQ | Comparator.IN:
            return any(equal)
        case Comparator.NE | Comparator.NIN:
            return not any(equal)
    order = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}[asked.comparator.value]
    return any(kind(item) == kind(asked.value) != "NoneType" and order(item, asked.value) for item in items)


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@given(st.lists(METADATA, max_size=12), FILTERS)
def test_a_mask_is_what_reading_every_document_finds(metadata: list[dict[str, Any]], asked: Filter) -> None:
    assert Columns.build(metadata).mask(asked).tolist() == [passes(asked, one) for one in metadata]


@given(st.lists(METADATA, max_size=12), FILTERS)
def test_columns_come_back_from_their_file(metadata: list[dict[str, Any]], asked: Filter) -> None:
    columns = Columns.build(metadata)
    with TemporaryDirectory() as folder:
        columns.save(Path(folder) / "columns.npz")
        again = Columns.load(Path(folder) / "columns.npz")
    assert np.array_equal(again.mask(asked), columns.mask(asked)) and list(again.by_key) == list(columns.by_key)


def test_a_filter_names_its_keys() -> None:
    one = Condition(comparator=Comparator.EQ, key="lang", value="en")
    two = Condition(comparator=Comparator.EXISTS, key="year", value=True)
    assert set(keys_of(Joined(joint=Joint.NOT, parts=[one, Joined(joint=Joint.OR, parts=[two])]))) == {"lang", "year"}


@settings(deadline=None)
@given(parts=st.lists(st.lists(METADATA, max_size=6), max_size=4), asked=FILTERS)
def test_columns_that_grow_are_those_of_all_documents_and_the_earlier_ones_stay(
    parts: list[list[dict[str, Any]]], asked: Filter
) -> None:
    states = [Columns(0)]
    for part in parts:
        states.append(states[-1].extended(part))
    for number, found in enumerate(states):
        documents = [one for part in parts[:number] for one in part]
        assert found.mask(asked).tolist() == [passes(asked, one) for one in documents]
        assert set(found.by_key) == {key for one in documents for key in one}
