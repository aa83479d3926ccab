"""What hpo knows about the inside of skops."""

from __future__ import annotations

import sys
from types import ModuleType


def import_skops_io() -> ModuleType:
    """Import `skops.io` without torch.

    skops lists the estimators of scikit-learn when it is imported, which imports all modules of scikit-learn, among
    them a wrapper of torch that nothing here uses. torch takes a second to import, and hundreds of megabytes.
    """
    if "torch" in sys.modules:
        import skops.io

        return skops.io
    # An import of torch now raises ImportError, as if it were not installed, and scikit-learn goes on without it.
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        import skops.io
    finally:
        del sys.modules["torch"]
    return skops.io
