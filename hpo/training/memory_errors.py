"""Recognize that memory has run out, in whatever way a library says so."""

from __future__ import annotations

import errno
import re

import torch
from accelerate.utils.memory import should_reduce_batch_size

# oneDNN says "could not create a primitive" if its scratchpad cannot be allocated; "... primitive descriptor" means
# that an operation does not exist for a data type.
_MESSAGES = re.compile(
    r"could not create a primitive(?! desc)|could not create a memory|std::bad_alloc|can't allocate memory"
    r"|cannot allocate memory|failed to allocate memory|not enough memory|out of memory",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, of the accelerator or of the process."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if not isinstance(error, RuntimeError):
        return False
    return should_reduce_batch_size(error) or _MESSAGES.search(str(error)) is not None
