"""Names of Ray that are not part of its public interface, collected so that an update breaks one module."""

from __future__ import annotations

from typing import Any

# Module -> the private names that this package uses from it.
PRIVATE_NAMES = {"ray._private.worker": ("print_to_stdstream",)}


def silence_cluster_errors() -> None:
    """Keep Ray from printing the cluster's errors, such as pages of the logs of a lost node, to standard output.

    `log_to_driver=False` covers what workers print only. What a lost node means for a search is told by notices.
    """
    from ray._private import worker

    worker.print_to_stdstream = _print_nothing


def _print_nothing(*_arguments: Any, **_options: Any) -> None:
    pass
