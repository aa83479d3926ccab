"""What was loaded before is left alone by the collector of garbage, and what comes later is not."""

from __future__ import annotations

import gc
import weakref

import pytest

from hpo.training.acceleration.gc_freeze import frozen_gc


class Ring:
    """Refers to itself, so that the collector alone can free it."""

    def __init__(self) -> None:
        self.self = self


def test_only_new_garbage_is_collected_until_the_end() -> None:
    before = Ring()
    old = weakref.ref(before)
    with pytest.raises(KeyError), frozen_gc():
        del before
        new = weakref.ref(Ring())
        assert gc.get_freeze_count() > 10_000
        gc.collect()
        assert new() is None and old() is not None
        raise KeyError
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert old() is None
