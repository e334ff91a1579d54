"""Our reader of Dockerfiles against the daemon's: what we accept, it reads as we do; what would hide is refused."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.test_docker_modes import Shop
from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.sandbox.dockerfile import parse_dockerfile
from support.backends.docker_daemon import daemon
from support.backends.docker_images import need_busybox

HONEST = {
    "plain": 'FROM test/shell\nRUN echo a > /a\nENV A=1 B=2\nCMD ["sh"]\n',
    "continued": "FROM test/shell\nRUN echo a \\\n  && echo b > /b\n",
    "continued after spaces": "FROM test/shell\nRUN echo a \\  \t\n  && echo b > /b\n",
    "comments inside": "FROM test/shell\nRUN echo a \\\n# no\n   # neither\n  && echo b > /b\n",
    "empty lines inside": "FROM test/shell\nRUN echo a \\\n\n\n  && echo b > /b\n",
    "windows line ends": "FROM test/shell\r\nRUN echo a \\\r\n  && echo b > /b\r\n",
    "byte order mark": "\ufeffFROM test/shell\nRUN echo a > /a\n",
    "lower case": "from test/shell\nrun echo a > /a\n",
    "instruction in two": "FROM test/shell\nRU\\\nN echo a > /a\n",
    "tabs": "FROM\ttest/shell\nRUN\techo a > /a\n",
    "indented": "   FROM test/shell\n\tRUN echo a > /a\n",
    "words with backslashes": "FROM test/shell\nRUN echo 'a\\\\b' > /a\nENV P=a\\ b\n",
    "hash in a line": 'FROM test/shell\nRUN echo a # b > /a\nLABEL c="#d"\n',
    "stages": "FROM test/shell AS One\nRUN echo a > /a\nFROM test/shell\nCOPY --from=one /a /b\n",
    "stage by number": "FROM test/shell\nRUN echo a > /a\nFROM test/shell\nCOPY --from=0 /a /b\n",
    "json forms": 'FROM test/shell\nCOPY ["file", "/c"]\nENTRYPOINT [ "sh", "-c" ]\nSHELL ["sh", "-c"]\n',
    "add": 'FROM test/shell\nADD file /c\nADD ["file", "/d"]\n',
    "no newline at the end": "FROM test/shell\nRUN echo a > /a",
    "non-ASCII": 'FROM test/shell\nLABEL auteur="Zoé\u00a0Ørsted"\nRUN echo é > /a\n',
    "shift in a shell": "FROM test/shell\nRUN echo $((1<<2)) > /a\n",
    "many spaces": "FROM    test/shell\nRUN     echo   a    b > /a\n",
}
HOSTILE = {
    "two backslashes": "FROM test/shell\nRUN true \\\\\nADD http://127.0.0.1/x /x\n",
    "two backslashes before FROM": "FROM test/shell\nLABEL a=\\\\\nFROM secret\n",
    "backslash space backslash": "FROM test/shell\nLABEL a=\\ \\\nFROM secret\n",
    "lone return": "FROM test/shell\nLABEL a=1\rFROM secret\n",
    "two returns": "FROM test/shell\nLABEL a=1 \\\r\r\nADD http://127.0.0.1/x /x\n",
    "return before the end": "FROM test/shell\nRUN true\r\r\nFROM secret\r\r\n",
    "escape directive": "# escape=`\nFROM test/shell\nRUN echo `\nFROM secret\n",
    "syntax directive": "# syntax=evil/front\nFROM test/shell\n",
    "here-document": "FROM test/shell\nRUN <<EOF\nFROM secret\nEOF\n",
    "here-document of copy": "FROM test/shell\nCOPY <<EOF /x\nADD http://127.0.0.1/x /x\nEOF\n",
    "here-document, quoted": 'FROM test/shell\nRUN cat 3<<"EOF"\nx\nEOF\n',
    "mount": "FROM test/shell\nRUN --mount=type=bind,source=/,target=/h true\n",
    "network": "FROM test/shell\nRUN --network=host true\n",
    "security": "FROM test/shell\nRUN --security=insecure true\n",
    "onbuild": "FROM test/shell\nONBUILD ADD http://127.0.0.1/x /x\n",
    "add of an address": "FROM test/shell\nADD http://127.0.0.1/x /x\n",
    "add of quoted pieces": 'FROM test/shell\nADD ht"tp:"//127.0.0.1/x /x\n',
    "add of split slashes": 'FROM test/shell\nADD http:""//127.0.0.1/x /x\n',
    "add of single quotes": "FROM test/shell\nADD http:''//127.0.0.1/x /x\n",
    "add in json": 'FROM test/shell\nADD ["http:\'\'//127.0.0.1/x", "/x"]\n',
    "add in json, escaped": 'FROM test/shell\nADD ["http:\\u002f/127.0.0.1/x", "/x"]\n',
    "add of a variable": "FROM test/shell\nENV U=http://127.0.0.1/x\nADD $U /x\n",
    "add from git": "FROM test/shell\nADD git@127.0.0.1:x/y.git /x\n",
    "base behind an argument": "ARG B=secret\nFROM $B\n",
    "base behind braces": "ARG B=secret\nFROM ${B:-x}\n",
    "base in quotes": 'FROM "secret"\n',
    "base with a backslash": "FROM sec\\ret\n",
    "platform behind a variable": "FROM --platform=$TARGETPLATFORM secret\n",
    "quoted option": 'FROM test/shell\nCOPY --fr"om"=secret /x /x\n',
    "option in quotes": 'FROM test/shell\nCOPY "--from=secret" /x /x\n',
    "option with a quoted value": 'FROM test/shell\nCOPY --from="secret" /x /x\n',
    "option with a backslash": "FROM test/shell\nCOPY \\--from=secret /x /x\n",
    "end of options": "FROM test/shell\nCOPY -- --from=secret /x\n",
    "option of a variable": "FROM test/shell\nCOPY --from=$X /x /x\n",
    "space that is no space": "FROM test/shell\nADD\u00a0http://127.0.0.1/x /x\n",
    "line separator": "FROM test/shell\nLABEL a=1\u2028FROM secret\n",
    "vertical tab": "FROM test/shell\nADD\x0bhttp://127.0.0.1/x /x\n",
    "next line": "FROM test/shell\nLABEL a=1\x85FROM secret\n",
    "null": "FROM test/shell\nLABEL a=\x00\n",
    "ends in a continuation": "FROM test/shell\nRUN true \\\n",
    "a line that is too long": "FROM test/shell\nRUN echo " + "a" * 70_000 + "\n",
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    need_busybox()
    with daemon(has_profile=True) as engine:
        made = Shop(engine, tmp_path_factory.mktemp("dockerfiles"))
        yield made
        made.sandbox.close()
        made.daemon.close()


def built(shop: Shop, text: str) -> list[str]:
    """What the daemon did with this text, byte for byte: the words of each step, in order."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as context:
        for name, content in (("Dockerfile", text.encode()), ("file", b"content")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            context.addfile(member, io.BytesIO(content))
    target.seek(0)
    stream = shop.daemon.build(target, "Dockerfile", labels={}, network="none", memory_bytes=256 << 20)
    said = [str(message.get("error") or message.get("stream") or "") for message in stream]
    stream.close()
    assert any("Successfully built" in line for line in said), said
    steps = [line.partition(" : ")[2].split(maxsplit=1) for line in said if line.startswith("Step ")]
    return [" ".join((kind.upper(), *rest)) for kind, *rest in steps]


@pytest.mark.parametrize("name", HONEST)
def test_the_daemon_reads_an_honest_dockerfile_as_we_do(shop: Shop, name: str) -> None:
    text = HONEST[name]
    ours = parse_dockerfile(text.removeprefix("\ufeff")).text()
    assert [line.split() for line in built(shop, text)] == [line.split() for line in built(shop, ours)]
    assert len(built(shop, ours)) == ours.count("\n")


@pytest.mark.parametrize("name", HOSTILE)
def test_what_readers_could_take_differently_or_hides_something_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_dockerfile(HOSTILE[name])
    assert caught.value.code == "dockerfile_refused"


@pytest.mark.parametrize(
    "text",
    [
        "FROM test/shell AS secret\nCOPY --from=secret /x /x\n",  # its own stage is not there yet: an image's name
        "FROM secret AS secret\n",
        "FROM test/shell AS a\nFROM test/shell AS b\nCOPY --from=SECRET /x /x\n",
    ],
)
def test_a_name_that_the_daemon_would_take_for_an_image_is_a_base(text: str) -> None:
    assert "secret" in {name.lower() for name in parse_dockerfile(text).bases}


def test_what_was_written_is_read_again_as_the_same() -> None:
    for text in HONEST.values():
        ours = parse_dockerfile(text.removeprefix("\ufeff")).text()
        assert parse_dockerfile(ours).text() == ours


def test_a_base_is_built_upon_by_the_id_that_was_judged(shop: Shop) -> None:
    text = parse_dockerfile(
        "FROM --platform=linux/amd64 test/shell AS one\nFROM one\nCOPY --from=test/bare / /b\n"
    ).text({"test/shell": shop.shell, "test/bare": shop.bare})
    assert text == f"FROM --platform=linux/amd64 {shop.shell} AS one\nFROM one\nCOPY --from={shop.bare} / /b\n"
    shop.said.clear()
    shop.build("FROM test/shell\nRUN true\n")
    assert any(shop.shell in line for line in shop.said if line.startswith("Step 1/"))


def test_the_daemon_gets_what_we_read_and_not_what_lies_in_the_package(shop: Shop) -> None:
    order = shop.order("FROM test/shell\n# a comment\nRUN cat \\\n  /etc/hosts > /seen\nCOPY Dockerfile /sent\n")
    image = shop.images.build(order, shop.said.append)
    sent = shop.run(image, "cat", "/sent").text("stdout")
    assert sent == f"FROM {shop.shell}\nRUN cat   /etc/hosts > /seen\nCOPY Dockerfile /sent\n"
    assert Path(order.context, "Dockerfile").read_text().startswith("FROM test/shell\n# a comment")
