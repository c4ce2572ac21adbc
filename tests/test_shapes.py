"""The prediction of output shapes, without onnxruntime."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sharedmodel.server.models.shapes import ShapeBook

dims = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)


def test_a_symbolic_dimension_is_taken_from_the_input_that_bears_its_name() -> None:
    book = ShapeBook([("batch", 3), ("batch", "seq")], [("seq", "batch", 7)])
    assert book.predict(((2, 3), (2, 5))) == [(5, 2, 7)]


def test_what_nobody_stated_is_not_predicted() -> None:
    book = ShapeBook([("n",)], [(None,), ("m",), []])
    assert book.predict(((4,),)) == [None, None, None]


def test_a_wrong_rank_is_left_to_the_run_to_refuse() -> None:
    assert ShapeBook([("n", "m")], [("m",)]).predict(((4,),)) == [None]


@given(dims, dims)
def test_what_was_learnt_outweighs_what_was_declared(input_shape: tuple[int, ...], seen: tuple[int, ...]) -> None:
    book = ShapeBook([tuple(f"d{i}" for i in range(len(input_shape)))], [("d0",)])
    assert book.predict((input_shape,)) == [input_shape[:1]]
    book.learn((input_shape,), 0, seen)
    assert book.predict((input_shape,)) == [seen]


def test_an_output_that_contradicts_itself_is_never_predicted_again() -> None:
    book = ShapeBook([("n",)], [(None,)])
    book.learn(((4,),), 0, (2,))
    book.learn(((4,),), 0, (3,))
    assert book.predict(((4,),)) == [None] == book.predict(((5,),))
    book.learn(((4,),), 0, (3,))
    assert book.predict(((4,),)) == [None]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), max_size=200))
def test_the_book_stays_small_and_forgets_the_oldest(seen: list[tuple[int, int]]) -> None:
    book = ShapeBook([("n",)], [(None,)], remembered=8)
    for length, found in seen:
        book.learn(((length,),), 0, (found,))
        assert len(book._known) <= 8 and len(book._learnt) <= 8
