"""Fetches an image from a registry: its list first, then what it lists, each piece by its digest, within limits.

The daemon never pulls by itself: it would reach any host, follow any redirection and take any size.
"""

import hashlib
import http.client
import json
import platform
import re
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode, urljoin, urlsplit

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.outbound import Connector
from mecapy_platform.sandbox.docker.root_image import ARCHITECTURES

INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
LAYERS = re.compile(r"application/vnd\.(oci\.image\.layer\.v1\.tar|docker\.image\.rootfs\.diff\.tar)([+.]gzip)?")
DIGEST = re.compile("sha256:[0-9a-f]{64}")
REFERENCE = re.compile(
    r"(?P<host>[a-z0-9.-]+(?::[0-9]{1,5})?)/(?P<path>[a-z0-9._/-]+?)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
LIST_BYTES = 4 << 20
PIECE = 1 << 20
REDIRECTIONS = 5
ANSWER_SECONDS = 30.0
MOST_LAYERS = 128


@dataclass(frozen=True)
class Reference:
    """An image's name: the registry is always part of it."""

    host: str
    path: str
    wanted: str  # a digest, else a tag

    @classmethod
    def parse(cls, name: str) -> "Reference | None":
        """None: it names no registry."""
        found = REFERENCE.fullmatch(name)
        if found is None or not re.search(r"[.:]", found["host"]):
            return None
        return cls(found["host"], found["path"], found["digest"] or found["tag"] or "latest")


@dataclass(frozen=True)
class Listed:
    """An image as its registry lists it. `image_id` is what the daemon will call it."""

    image_id: str
    config_bytes: int
    layers: tuple[tuple[str, int], ...]  # digest and size

    @property
    def size_bytes(self) -> int:
        return sum(size for _digest, size in self.layers)


class Registry:
    """One pull. `most_bytes` holds for what is transferred, `seconds` for everything together."""

    def __init__(self, connector: Connector, reference: Reference, most_bytes: int, seconds: float) -> None:
        self._connector = connector
        self._reference = reference
        self._most_bytes = most_bytes
        self._deadline = time.monotonic() + seconds
        self._token = ""

    def look(self) -> Listed:
        """What the image consists of; nothing of it is fetched yet."""
        kind, manifest = self._manifest(self._reference.wanted)
        if kind in INDEXES:
            kind, manifest = self._manifest(_for_this_machine(manifest))
        if kind not in MANIFESTS:
            raise _unfit(f"it is listed as {kind[:100]}")
        config, layers = _piece(manifest.get("config")), manifest.get("layers")
        if not isinstance(layers, list) or len(layers) > MOST_LAYERS or config[1] > LIST_BYTES:
            raise _unfit("its list has too many layers, or none")
        if not all(LAYERS.fullmatch(str(layer.get("mediaType"))) for layer in layers if isinstance(layer, dict)):
            raise _unfit("it has layers that are not packed with gzip")
        listed = Listed(config[0], config[1], tuple(_piece(layer) for layer in layers))
        if listed.size_bytes > self._most_bytes:
            raise InvalidInputError(
                "image_too_large",
                f"The image has {listed.size_bytes >> 20} MiB to fetch, the limit is {self._most_bytes >> 20} MiB.",
            )
        return listed

    @contextmanager
    def archive(self, listed: Listed) -> Iterator[BinaryIO]:
        """The image as `docker load` takes it."""
        with tempfile.TemporaryDirectory(prefix="mecapy-pull-") as folder:
            names = [f"{digest.removeprefix('sha256:')}.tar" for digest, _size in listed.layers]
            config = f"{listed.image_id.removeprefix('sha256:')}.json"
            manifest = json.dumps([{"Config": config, "RepoTags": None, "Layers": names}]).encode()
            (Path(folder) / "manifest.json").write_bytes(manifest)
            pieces = {config: (listed.image_id, listed.config_bytes), **dict(zip(names, listed.layers, strict=True))}
            for name, (digest, size) in pieces.items():
                self._fetch(digest, size, Path(folder) / name)
            packed = Path(folder) / "archive"
            with tarfile.open(packed, "w") as target:
                for name in (*pieces, "manifest.json"):
                    target.add(Path(folder) / name, name)
            with packed.open("rb") as file:
                yield file

    def _manifest(self, wanted: str) -> tuple[str, Mapping[str, Any]]:
        path = f"/v2/{self._reference.path}/manifests/{wanted}"
        with self._get(path, {"Accept": ", ".join((*INDEXES, *MANIFESTS))}) as answer:
            raw = answer.read(LIST_BYTES + 1)
            kind = (answer.getheader("Content-Type") or "").partition(";")[0].strip()
        if len(raw) > LIST_BYTES:
            raise _unfit("its list is too long")
        if DIGEST.fullmatch(wanted) and f"sha256:{hashlib.sha256(raw).hexdigest()}" != wanted:
            raise _unfit("its list does not have the digest that was asked for")
        try:
            manifest = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise _unfit("its list is no JSON") from error
        if not isinstance(manifest, dict):
            raise _unfit("its list is no object")
        return str(manifest.get("mediaType") or kind), manifest

    def _fetch(self, digest: str, size: int, target: Path) -> None:
        seen, count = hashlib.sha256(), 0
        with self._get(f"/v2/{self._reference.path}/blobs/{digest}", {}) as answer, target.open("wb") as file:
            while piece := answer.read(min(PIECE, size + 1 - count)):
                count += len(piece)
                if count > size or time.monotonic() > self._deadline:
                    break
                seen.update(piece)
                file.write(piece)
        if time.monotonic() > self._deadline:
            raise _unfit("fetching it took too long")
        if count != size or f"sha256:{seen.hexdigest()}" != digest:
            raise _unfit(f"a piece of it is not what its list says ({digest})")

    @contextmanager
    def _get(self, path: str, headers: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        """Every host on the way is judged, and only TLS is spoken."""
        url, ask = f"https://{self._reference.host}{path}", dict(headers)
        if self._token:
            ask["Authorization"] = f"Bearer {self._token}"
        for _ in range(REDIRECTIONS):
            with self._ask(url, ask) as answer:
                if answer.status == 401 and not self._token:
                    self._token = self._authorise(answer.getheader("WWW-Authenticate") or "")
                    ask["Authorization"] = f"Bearer {self._token}"
                elif answer.status in {301, 302, 303, 307, 308}:
                    target = urljoin(url, answer.getheader("Location") or "")
                    if urlsplit(target).netloc != urlsplit(url).netloc:
                        ask.pop("Authorization", None)  # the token is the registry's alone
                    url = target
                elif answer.status == 200:
                    yield answer
                    return
                else:
                    raise _unfit(f"its registry answered {answer.status}")
        raise _unfit("its registry sends us from place to place")

    @contextmanager
    def _ask(self, url: str, headers: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        parts = urlsplit(url)
        left = self._deadline - time.monotonic()
        if parts.scheme != "https" or not parts.hostname:
            raise _unfit("its registry sends us to a place without TLS")
        if left <= 0:
            raise _unfit("fetching it took too long")
        connection = self._connector.https(parts.hostname, parts.port or 443, min(left, ANSWER_SECONDS))
        try:
            connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""), headers=dict(headers))
            yield connection.getresponse()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _unfit(f"its registry cannot be reached: {error}") from error
        finally:
            connection.close()

    def _authorise(self, challenge: str) -> str:
        """A token for anybody, as registries hand out for public images."""
        said = dict(CHALLENGE.findall(challenge))
        query = urlencode({"service": said.get("service", ""), "scope": f"repository:{self._reference.path}:pull"})
        with self._ask(f"{said.get('realm', '')}?{query}", {}) as answer:
            raw = answer.read(PIECE)
        try:
            token = json.loads(raw).get("token") or json.loads(raw).get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise _unfit("its registry lets nobody in without a password")
        return token


def fetch_image(registry: Registry, has: Callable[[str], bool], load: Callable[[BinaryIO], None]) -> str:
    """The id of the image, which the daemon has then."""
    listed = registry.look()
    if not has(listed.image_id):
        with registry.archive(listed) as archive:
            load(archive)
    return listed.image_id


def _for_this_machine(index: Mapping[str, Any]) -> str:
    wanted = ARCHITECTURES.get(platform.machine(), platform.machine())
    entries = index.get("manifests")
    for entry in entries if isinstance(entries, list) else []:
        on = entry.get("platform") if isinstance(entry, dict) else None
        if isinstance(on, dict) and (on.get("os"), on.get("architecture")) == ("linux", wanted):
            return _piece(entry)[0]
    raise _unfit(f"it is not made for linux on {wanted}")


def _piece(entry: object) -> tuple[str, int]:
    """Digest and size of something that is listed."""
    digest = entry.get("digest") if isinstance(entry, dict) else None
    size = entry.get("size") if isinstance(entry, dict) else None
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest) or type(size) is not int or size < 0:
        raise _unfit("its list cannot be read")
    return digest, size


def _unfit(why: str) -> InvalidInputError:
    return InvalidInputError("image_unavailable", f"The image cannot be fetched: {why}.")
