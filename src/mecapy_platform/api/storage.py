"""Serves stored objects to whoever holds a signed address. Only where objects lie in a directory; S3 serves its own."""

import re
from collections.abc import Iterator
from typing import Annotated, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from mecapy_platform.api.answers import problems
from mecapy_platform.api.deps import Context
from mecapy_platform.api.problems import problem_response
from mecapy_platform.storage.signing import UrlSigner

router = APIRouter(prefix="/storage", tags=["storage"])
CHUNK_BYTES = 256 << 10
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
EXPIRES_MAX = 1 << 40


@router.get(
    "/{key:path}",
    operation_id="read_object",
    response_class=StreamingResponse,
    responses={206: {"description": "The range."}, **problems(403, 404, 416, schema="Problem", signed_in=False)},
)
def read_object(
    key: str,
    context: Context,
    expires: Annotated[int, Query(ge=0, le=EXPIRES_MAX)] = 0,
    filename: Annotated[str, Query(max_length=1000)] = "",
    signature: Annotated[str, Query(max_length=200)] = "",
    wanted: Annotated[str | None, Header(alias="Range", max_length=100)] = None,
) -> Response:
    """Read an object by its signed address; one range may be asked for."""
    signer = UrlSigner(context.settings.public_url, context.settings.signing_secret.get_secret_value())
    signer.check(key, filename=filename, expires=expires, signature=signature)
    source = context.storage.open(key)
    size_bytes = source.seek(0, 2)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(filename or 'file', safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-store",
    }
    start, end = 0, size_bytes
    status = 200
    if wanted is not None and (found := RANGE.fullmatch(wanted)) and found.groups() != ("", ""):
        start, end = _range(found[1], found[2], size_bytes)
        if start >= end:
            source.close()
            message = "The object has no such range."
            return problem_response(
                f"/storage/{key}", 416, "range_invalid", message, headers={"Content-Range": f"bytes */{size_bytes}"}
            )
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size_bytes}"
    headers["Content-Length"] = str(end - start)
    return StreamingResponse(_chunks(source, start, end), status, headers, media_type="application/octet-stream")


def _range(first: str, last: str, size_bytes: int) -> tuple[int, int]:
    """Start and end (exclusive) of `first-last`, `first-` or `-length`."""
    if not first:
        return max(0, size_bytes - int(last)), size_bytes
    return int(first), min(size_bytes, int(last) + 1 if last else size_bytes)


def _chunks(source: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with source:
        source.seek(start)
        left = end - start
        while left > 0 and (chunk := source.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
