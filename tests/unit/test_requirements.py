"""requirements.txt and the files of the package that it includes."""

import io
import zipfile
from pathlib import Path

import pytest

from mecapy_platform.client.texts import checked_manifest
from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.requirements import read_requirements
from mecapy_platform.storage.archives import opened_package

MANIFEST = (
    'version: "1"\npackage: {name: p, version: 1.0.0}\nruntime: {kind: python, version: "3.11", requirements: true}\n'
    'functions: {f: {handler: "calc:f"}}\n'
)


def read(**files: str) -> list[str]:
    """Files by name, `__` for a slash and `_` for a point."""
    named = {name.replace("__", "/").replace("_", "."): text.encode() for name, text in files.items()}
    return read_requirements(named.get)


@pytest.mark.parametrize(
    "line",
    [
        "-r base.txt",
        "-rbase.txt",
        "--requirement base.txt",
        "--requirement=base.txt",
        "-r ./base.txt  # shared",
        "-r 'base.txt'",
    ],
)
def test_an_include_is_followed(line: str) -> None:
    assert read(requirements_txt=f"{line}\nscipy>=1\n", base_txt="numpy>=2\n# no more\n") == ["numpy>=2", "scipy>=1"]


def test_an_include_is_relative_to_the_file_that_names_it_and_read_once() -> None:
    found = read(
        requirements_txt="-r reqs/base.txt\n-r reqs/more.txt\n",
        reqs__base_txt="-r more.txt\nnumpy\n",
        reqs__more_txt="-r ../top.txt\nscipy\n",
        top_txt="packaging\n",
    )
    assert found == ["packaging", "scipy", "numpy"]


@pytest.mark.parametrize(
    ("files", "code", "path"),
    [
        ({"requirements_txt": "numpy\n-r ../other.txt"}, "requirement_outside", "requirements.txt:2"),
        ({"requirements_txt": "-r /etc/passwd"}, "requirement_outside", "requirements.txt:1"),
        ({"requirements_txt": "-r https://example.invalid/r.txt"}, "requirement_outside", "requirements.txt:1"),
        ({"requirements_txt": "-r a/../../b.txt"}, "requirement_outside", "requirements.txt:1"),
        ({"requirements_txt": "-r ..\\b.txt"}, "requirement_outside", "requirements.txt:1"),
        ({"requirements_txt": "-r nowhere.txt"}, "requirement_absent", "requirements.txt:1"),
        ({"requirements_txt": "-r requirements.txt"}, "requirement_cycle", "requirements.txt:1"),
        ({"requirements_txt": "-r a.txt", "a_txt": "-r b.txt", "b_txt": "\n-r a.txt"}, "requirement_cycle", "b.txt:2"),
        ({"requirements_txt": "-r a.txt", "a_txt": "numpy\n--index-url http://x"}, "requirement_invalid", "a.txt:2"),
        ({"requirements_txt": "-r a.txt", "a_txt": "x @ file:///etc/passwd"}, "requirement_url", "a.txt:1"),
        (
            {"requirements_txt": "-c constraints.txt", "constraints_txt": "numpy"},
            "requirement_invalid",
            "requirements.txt:1",
        ),
        ({"requirements_txt": "-r"}, "requirement_invalid", "requirements.txt:1"),
    ],
)
def test_an_include_holds_to_the_same_rules(files: dict[str, str], code: str, path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(**files)
    assert [(problem.code, problem.path) for problem in caught.value.problems] == [(code, path)]


def test_limits_count_over_all_files() -> None:
    many = {f"r{number}_txt": f"-r r{number + 1}.txt\n" for number in range(30)}
    for files in (
        {"requirements_txt": "-r r0.txt\n", **many},
        {"requirements_txt": "-r a.txt\n" + "x\n" * 300, "a_txt": "y\n" * 300},
    ):
        with pytest.raises(InvalidInputError) as caught:
            read(**files)
        assert caught.value.code == "requirements_too_long"


def test_all_problems_of_all_files_come_at_once() -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(requirements_txt="-r a.txt\n-e .\n", a_txt="./x.whl\n-r b.txt\n")
    assert [problem.path for problem in caught.value.problems] == ["a.txt:1", "a.txt:2", "requirements.txt:2"]


@pytest.mark.parametrize("ending", ["folder", "zip", "zip in a folder"])
def test_the_client_says_it_before_anything_is_sent(tmp_path: Path, ending: str) -> None:
    files = {"mecapy.yml": MANIFEST, "calc.py": "def f(): ...\n", "requirements.txt": "-r base.txt\n"}
    with pytest.raises(InvalidInputError, match="cannot be used") as caught:
        checked_manifest(packed(tmp_path / "bad", files, ending))
    assert caught.value.problems[0].code == "requirement_absent"
    assert checked_manifest(packed(tmp_path / "good", {**files, "base.txt": "numpy\n"}, ending)).package.name == "p"


def test_what_is_not_packed_is_not_there(tmp_path: Path) -> None:
    files = {
        "mecapy.yml": MANIFEST,
        "requirements.txt": "-r base.txt\n",
        "base.txt": "numpy\n",
        ".gitignore": "base.txt\n",
    }
    with pytest.raises(InvalidInputError, match="cannot be used"):
        checked_manifest(packed(tmp_path / "p", files, "folder"))


def test_the_platform_reads_includes_out_of_the_archive() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in {
            "mecapy.yml": MANIFEST,
            "requirements.txt": "-r r/base.txt\n",
            "r/base.txt": "numpy\n",
        }.items():
            archive.writestr(f"top/{name}", text)
    with opened_package(stream, 1000) as reader:
        assert read_requirements(reader) == ["numpy"]
        assert reader("nowhere") is None


def packed(folder: Path, files: dict[str, str], ending: str) -> Path:
    folder.mkdir(parents=True)
    if ending == "folder":
        for name, text in files.items():
            (folder / name).write_text(text)
        return folder
    with zipfile.ZipFile(folder / "p.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(f"top/{name}" if ending == "zip in a folder" else name, text)
    return folder / "p.zip"
