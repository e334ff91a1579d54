"""Bodies read strictly: JSON of bounded depth and finite numbers.

Forms whose files wait on the platform's disk, above its floor.
"""

import errno
import json
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from mecapy_platform.api.context import ApiContext
from mecapy_platform.api.room import FULL, above_floor
from mecapy_platform.core import json_text

MEMORY_BYTES = 1 << 20
FILES_MAX = 4
FIELDS_MAX = 20


class StrictRoute(APIRoute):
    """A route whose body is read by this module. What core/json_text refuses is a validation error like any other."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            try:
                return await handle(_StrictRequest(request.scope, request.receive))
            except HTTPException as error:
                if isinstance(error.__cause__, MemoryError):  # FastAPI makes a 400 of whatever reading raises
                    raise error.__cause__ from None
                raise

        return strict


class _StrictRequest(Request):
    async def json(self) -> Any:
        try:
            return json_text.loads(await self.body())
        except json_text.JsonError as error:
            raise json.JSONDecodeError(str(error), "", 0) from error

    async def _get_form(self, **_limits: Any) -> FormData:
        """Called by Starlette's `form()`."""
        if self._form is None:
            self._form = await self._read_form()
        return self._form

    async def _read_form(self) -> FormData:
        if not self.headers.get("content-type", "").startswith("multipart/form-data"):
            return FormData()
        context: ApiContext = self.app.state.context
        directory = context.settings.data_dir / "incoming"
        directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        try:
            async with aclosing(self.stream()) as stream:
                checked = above_floor(stream, directory, context.settings.disk_floor_bytes)
                return await _FormParser(self.headers, checked, directory).parse()
        except MultiPartException as error:
            raise HTTPException(400, error.message) from error
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise HTTPException(507, FULL) from error
            raise


class _FormParser(MultiPartParser):
    """Starlette's parser, with larger files waiting in a directory of ours instead of the system's."""

    spool_max_size = MEMORY_BYTES

    def __init__(self, headers: Any, stream: Any, directory: Path) -> None:
        super().__init__(headers, stream, max_files=FILES_MAX, max_fields=FIELDS_MAX)
        self._directory = directory

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        upload = self._current_part.file
        if upload is not None:
            file: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(MEMORY_BYTES, dir=str(self._directory))  # noqa: SIM115 - closed with the form
            self._files_to_close_on_error[-1].close()
            self._files_to_close_on_error[-1] = file
            upload.file = file  # type: ignore[assignment]  # it reads as a BinaryIO
