"""What hpo knows about the inside of skops."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any


class _TorchHider(MetaPathFinder):
    """Lets imports of torch fail, as if it were not installed."""

    def find_spec(self, fullname: str, *_: Any) -> ModuleSpec | None:
        if fullname == "torch":
            raise ModuleNotFoundError("torch is hidden while skops is imported", name=fullname)
        return None


def import_skops_io() -> Any:
    """Import `skops.io` without torch.

    skops lists the estimators of scikit-learn when it is imported, which imports all modules of scikit-learn, among
    them a wrapper of torch that nothing here uses. torch takes a second to import, and hundreds of megabytes.
    scikit-learn goes on without it, as where it is not installed; what is imported already is not affected.
    """
    hider = _TorchHider()
    sys.meta_path.insert(0, hider)
    try:
        import skops.io
    finally:
        sys.meta_path.remove(hider)
    return skops.io
