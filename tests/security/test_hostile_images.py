"""Attacks by an image: what it brings along for our first process to load, before any of its own programs runs."""

import json

import pytest

from mecapy_platform.sandbox.docker.broker.daemon import Daemon
from security.attack_platform import Attacked
from security.attack_table import Table
from support.backends.docker_images import load_hostile_image, need_busybox
from support.backends.hostile_images import MARK, VARIABLES, kinds, marking_library
from support.platform.running_platform import archive, deploy

KINDS = (
    "libraries_loaded_ahead",
    "list_of_libraries",
    "modules_beside_ours",
    "library_of_our_interpreter",
    "environment",
    "our_corner",
)
SAMPLE = {"kind": KINDS[:1]}
MANIFEST = """
version: "1"
package: {{name: {name}, version: 1.0.0}}
runtime: {{kind: image, image: "test/{name}:latest"}}
functions:
  look:
    entrypoint: [sh, /look.sh]
    inputs: {{load: Float}}
    outputs: {{load: Float}}
    resources: {{tier: nano, timeout: 60}}
"""
LOOKS = {
    "loaded into our first process": f"test -e {MARK}",
    "list of libraries for every process": "test -s /etc/ld.so.preload",
    "files of the image in our corner": "test -e /mecapy/planted -o -e /mecapy/os.py -o -e /mecapy/python/os.py",
    "writes into our corner": "touch /mecapy/own 2>/dev/null",
}
SAYS = "TRY " + json.dumps({"what": "WHAT", "answer": "ANSWER", "escaped": False})


def script() -> bytes:
    """It computes honestly, and prints each look as the other attacks do. Its programs need no loader."""
    lines = ["cp /workspace/in/data.json /workspace/out/data.json"]
    for what, test in LOOKS.items():
        said = SAYS.replace("WHAT", what)
        found, nothing = said.replace("false", "true").replace("ANSWER", "found"), said.replace("ANSWER", "nothing")
        lines.append(f"if {test}; then echo '{found}'; else echo '{nothing}'; fi")
    return "\n".join(lines).encode()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return marking_library(tmp_path_factory.mktemp("library"))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_an_image_is_loaded_into_our_first_process(
    under_attack: Attacked, table: Table, library: bytes, kind: str
) -> None:
    """Where no backend runs images, such a package does not come in at all."""
    name, case = f"hostile-{kind.replace('_', '-')}", f"images:{kind}"
    package = archive(MANIFEST.format(name=name), {})
    if not under_attack.engine:
        answer = under_attack.client.post(
            "/packages/from-zip", files={"file": ("package.zip", package, "application/zip")}
        )
        table.add(case, [{"what": "deploys it", "answer": str(answer.status_code), "escaped": False}], ("refused", ""))
        assert answer.status_code == 422, answer.text
        assert "runtime_unsupported" in answer.text
        return
    need_busybox()
    variables = VARIABLES if kind == "environment" else ()
    files = {**kinds(library)[kind], "look.sh": script()}
    load_hostile_image(Daemon(under_attack.engine), files, f"test/{name}", variables)
    deploy(under_attack.client, package, organization="demo")
    (task_id,) = under_attack.submit([{"package": name, "function": "look", "inputs": {"load": 3.0}, "name": case}])
    told = under_attack.ended(task_id)
    tries = told.reports[case]
    table.add(case, tries, told.end)
    assert told.end == ("completed", ""), (told.sentence, told.log)
    assert told.task["result"] == {"load": 3.0}
    assert len(tries) == len(LOOKS), told.log
    assert not [item for item in tries if item["escaped"]], tries
