"""Room on the disk while a body arrives."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.exceptions import HTTPException

CHECK_BYTES = 4 << 20
FULL = "The platform's disk is full; nothing was stored. An operator must make room."


async def above_floor(stream: AsyncIterator[bytes], directory: Path, floor_bytes: int) -> AsyncIterator[bytes]:
    """The same bytes, as long as the disk has room for them."""
    unchecked_bytes = CHECK_BYTES
    async for chunk in stream:
        unchecked_bytes += len(chunk)
        if unchecked_bytes > CHECK_BYTES:
            unchecked_bytes = 0
            if shutil.disk_usage(directory).free - CHECK_BYTES < floor_bytes:
                raise HTTPException(507, FULL)
        yield chunk
