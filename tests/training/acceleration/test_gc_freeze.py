"""Test that the garbage collector skips older objects and collects newer ones."""

from __future__ import annotations

import gc
import weakref

import pytest

from hpo.training.acceleration.gc_freeze import frozen_gc


class Cycle:
    """Refers to itself, so that only the garbage collector can free it."""

    def __init__(self) -> None:
        self.self = self


def test_only_new_garbage_is_collected_inside_the_block() -> None:
    before = Cycle()
    old = weakref.ref(before)
    with pytest.raises(KeyError), frozen_gc():
        del before
        new = weakref.ref(Cycle())
        assert gc.get_freeze_count() > 10_000
        gc.collect()
        assert new() is None and old() is not None
        raise KeyError
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert old() is None
