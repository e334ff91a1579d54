"""Fetching images: only from where the operator allows, only public addresses, only what was listed, within limits."""

import datetime as dt
import gzip
import hashlib
import http.server
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from integration.test_docker_modes import Shop
from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.sandbox.docker.backend import DockerSandbox
from mecapy_platform.sandbox.docker.broker.registry import INDEXES, MANIFESTS, Reference
from mecapy_platform.sandbox.docker.options import DockerOptions
from mecapy_platform.sandbox.docker.root_image import image_config, root_layer
from support.backends.docker_daemon import daemon
from support.backends.docker_images import FOR_TESTS, need_busybox

LAYER = root_layer()
PACKED = gzip.compress(LAYER, mtime=0)
CONFIG = json.dumps(image_config([hashlib.sha256(LAYER).hexdigest()], {"Env": ["PATH=/bin"]})).encode()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def manifest(**changes: Any) -> bytes:
    listed = {
        "schemaVersion": 2,
        "mediaType": MANIFESTS[0],
        "config": {"mediaType": "x", "digest": digest(CONFIG), "size": len(CONFIG)},
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": digest(PACKED),
                "size": len(PACKED),
            }
        ],
    }
    return json.dumps({**listed, **changes}).encode()


@dataclass
class FakeRegistry:
    """Speaks the registry's protocol over TLS on loopback, and misbehaves where a test says so."""

    host: str
    answers: dict[str, bytes] = field(default_factory=dict)  # path -> what is sent
    moved: dict[str, str] = field(default_factory=dict)  # path -> where it sends the asker
    asked: list[str] = field(default_factory=list)
    token: str = ""

    def serve(self, path: str = "tools/mesher", **changes: Any) -> None:
        listed = manifest(**changes)
        base = f"/v2/{path}"
        self.moved, self.token = {}, ""
        self.answers = {
            f"{base}/manifests/1": listed,
            f"{base}/manifests/{digest(listed)}": listed,
            f"{base}/blobs/{digest(CONFIG)}": CONFIG,
            f"{base}/blobs/{digest(PACKED)}": PACKED,
        }


def certificate(folder: Path) -> Path:
    """One that signs itself, for loopback."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "registry of tests")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "registry.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


def handler_of(made: FakeRegistry) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            made.asked.append(path)
            if path == "/token":
                self._send(200, json.dumps({"token": made.token}).encode())
            elif made.token and self.headers.get("Authorization") != f"Bearer {made.token}":
                realm = f'Bearer realm="https://{made.host}/token",service="s"'
                self._send(401, b"{}", {"WWW-Authenticate": realm})
            elif path in made.moved:
                self._send(307, b"", {"Location": made.moved[path]})
            elif path in made.answers:
                self._send(200, made.answers[path])
            else:
                self._send(404, b"{}")

        def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            del format, args

    return Handler


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeRegistry, Path]]:
    folder = tmp_path_factory.mktemp("registry")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(folder))
    made = FakeRegistry("")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_of(made))
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made, folder / "ca.pem"
    server.shutdown()
    server.server_close()
    thread.join()


class Fetching:
    """A broker whose policy names the registry of the test."""

    def __init__(self, shop: Shop, engine_address: str, registry: FakeRegistry, ca: Path) -> None:
        self.registry = registry
        self.shop = shop
        self._address = engine_address
        self.policy = replace(
            FOR_TESTS,
            registries=(registry.host,),
            allowed_networks=("127.0.0.0/8",),
            ca_file=str(ca),
            pull_bytes=1 << 20,
            pull_seconds=20.0,
        )

    def obtain(self, name: str = "tools/mesher:1", **policy: Any) -> str:
        options = DockerOptions(self.shop.folder / "fetch", self._address, images=replace(self.policy, **policy))
        backend = DockerSandbox(options)
        try:
            return backend.images.obtain(f"{self.registry.host}/{name}", "org-a", self.shop.said.append)
        finally:
            backend.close()

    def refusal(self, name: str = "tools/mesher:1", **policy: Any) -> InvalidInputError:
        with pytest.raises(InvalidInputError) as caught:
            self.obtain(name, **policy)
        return caught.value


@pytest.fixture(scope="module")
def fetching(registry: tuple[FakeRegistry, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fetching]:
    need_busybox()
    with daemon(has_profile=True) as engine:
        shop = Shop(engine, tmp_path_factory.mktemp("registry-runs"))
        yield Fetching(shop, engine.address, *registry)
        shop.sandbox.close()
        shop.daemon.close()


def test_an_image_is_fetched_and_known_by_the_digest_of_its_configuration(fetching: Fetching) -> None:
    fetching.registry.serve()
    assert fetching.obtain() == digest(CONFIG)
    before = len(fetching.registry.asked)
    assert fetching.obtain(f"tools/mesher@{digest(manifest())}") == digest(CONFIG)
    assert len(fetching.registry.asked) == before + 1  # its list alone: the rest is here


def test_a_registry_that_hands_out_tokens_to_anybody_is_asked_for_one(fetching: Fetching) -> None:
    fetching.registry.serve()
    fetching.registry.token = "for-anybody"
    assert fetching.obtain() == digest(CONFIG)


@pytest.mark.parametrize("policy", [{"registries": ()}, {"registries": ("other.example",)}])
def test_a_registry_that_is_not_listed_is_not_asked(fetching: Fetching, policy: dict[str, Any]) -> None:
    fetching.registry.serve()
    fetching.registry.asked.clear()
    assert fetching.refusal(**policy).code == "image_unavailable"
    assert fetching.registry.asked == []


def test_loopback_is_reached_only_where_an_operator_names_it(fetching: Fetching) -> None:
    fetching.registry.serve()
    fetching.registry.asked.clear()
    assert fetching.refusal(allowed_networks=()).code == "address_not_allowed"
    assert fetching.registry.asked == []


def test_the_size_is_judged_by_the_list_before_anything_is_fetched(fetching: Fetching) -> None:
    layers = [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(b"x"), "size": 2 << 20}]
    fetching.registry.serve(layers=layers)
    fetching.registry.asked.clear()
    assert fetching.refusal().code == "image_too_large"
    assert not any("/blobs/" in path for path in fetching.registry.asked)


def test_what_is_longer_or_other_than_listed_is_refused(fetching: Fetching) -> None:
    config = json.dumps({**json.loads(CONFIG), "author": "another"}).encode()  # one that is not here yet
    for content in (config + b" ", config[:-1] + b"]", b"", config * 100):
        fetching.registry.serve(config={"digest": digest(config), "size": len(config)})
        fetching.registry.answers[f"/v2/tools/mesher/blobs/{digest(config)}"] = content
        assert fetching.refusal().code == "image_unavailable"


def test_a_list_of_another_digest_than_asked_for_is_refused(fetching: Fetching) -> None:
    fetching.registry.serve()
    wanted = digest(b"something else")
    fetching.registry.answers[f"/v2/tools/mesher/manifests/{wanted}"] = manifest()
    assert "digest" in fetching.refusal(f"tools/mesher@{wanted}").message


@pytest.mark.parametrize(
    "listed",
    [
        b"", b"[]", b"{}", b"[" * 100_000, b"x" * (5 << 20),
        manifest(layers=[{"digest": "sha256:../../etc", "size": 1}]),
        manifest(layers=[{"digest": digest(b"x"), "size": -1}]),
        manifest(layers=[{"digest": digest(b"x"), "size": True}]),
        manifest(layers=[{"digest": digest(b"x"), "size": 1, "mediaType": "application/x-foreign"}]),
        manifest(layers=[{}] * 1000), manifest(layers="x"), manifest(layers=[7]), manifest(config=None),
        manifest(mediaType="application/vnd.docker.distribution.manifest.v1+json"),
        json.dumps({"mediaType": INDEXES[0], "manifests": [7, {"platform": 1}]}).encode(),
    ],
    ids=lambda raw: raw[:40].decode(),
)  # fmt: skip
def test_a_list_that_is_none_is_refused(fetching: Fetching, listed: bytes) -> None:
    fetching.registry.serve()
    fetching.registry.answers["/v2/tools/mesher/manifests/1"] = listed
    assert fetching.refusal().code == "image_unavailable"


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("http://127.0.0.1/x", "image_unavailable"),
        ("https://169.254.169.254/latest", "address_not_allowed"),
        ("https://[::1]/x", "address_not_allowed"),
        ("https://2852039166/x", "address_not_allowed"),
        ("file:///etc/passwd", "image_unavailable"),
        ("/v2/tools/mesher/manifests/1", "image_unavailable"),  # round and round
    ],
)
def test_a_redirection_is_judged_like_the_first_address(fetching: Fetching, place: str, code: str) -> None:
    fetching.registry.serve()
    fetching.registry.moved["/v2/tools/mesher/manifests/1"] = place
    assert fetching.refusal().code == code


def test_a_certificate_of_somebody_else_is_refused(fetching: Fetching) -> None:
    fetching.registry.serve()
    assert fetching.refusal(ca_file="").code == "image_unavailable"


def test_a_base_is_fetched_and_built_upon_by_its_id(fetching: Fetching) -> None:
    fetching.registry.serve()
    shop = fetching.shop
    backend = DockerSandbox(DockerOptions(shop.folder / "fetch", fetching._address, images=fetching.policy))
    order = shop.order(f"FROM {fetching.registry.host}/tools/mesher:1\nCOPY Dockerfile /x\n")
    shop.said.clear()
    assert backend.images.build(order, shop.said.append).startswith("sha256:")
    assert any(digest(CONFIG) in line for line in shop.said if line.startswith("Step 1/"))
    backend.close()


@pytest.mark.parametrize(
    "name", ["debian", "library/debian", "a/b:1", "UPPER.example/x", "h.example/../x y", "h.example/"]
)
def test_a_name_without_a_registry_is_none_to_fetch(name: str) -> None:
    found = Reference.parse(name)
    assert found is None or found.host != "h.example"
