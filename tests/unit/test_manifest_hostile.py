"""Manifests that mean harm: refused with a code and a line, or read as the plain text that they are."""

import pytest

from mecapy_platform.core.errors import MecapyError
from mecapy_platform.core.manifest import parse_manifest
from support.bad_packages import small_manifest

GOOD = small_manifest()
OUTPUTS = "outputs: {}"


def refused(text: str | bytes) -> tuple[str, list[str], str]:
    with pytest.raises(MecapyError) as caught:
        parse_manifest(text if isinstance(text, bytes) else text.encode())
    return caught.value.code, [problem.code for problem in caught.value.problems], caught.value.message


def with_resources(text: str) -> str:
    return GOOD.replace(OUTPUTS, f"{OUTPUTS}, resources: {{{text}}}")


def described(text: str) -> str:
    return GOOD.replace("version: 1.0.0", f"version: 1.0.0, description: {text}")


def test_the_manifest_that_all_these_change_is_good() -> None:
    assert parse_manifest(GOOD.encode()).package.name == "small"


LAUGHS = "".join(f"l{index}: &l{index} [{', '.join([f'*l{index - 1}'] * 9)}]\n" for index in range(1, 12))

UNREADABLE: list[tuple[str, str | bytes, list[str]]] = [
    ("billion laughs", "l0: &l0 [ha]\n" + LAUGHS + GOOD, ["yaml_anchor", "yaml_alias"]),
    ("alias of itself", "a: &a [*a]\n" + GOOD, ["yaml_anchor", "yaml_alias"]),
    ("alias of nothing", "a: *b\n" + GOOD, ["yaml_alias"]),
    ("anchor alone", "a: &a 1\n" + GOOD, ["yaml_anchor"]),
    ("Python object", "a: !!python/object/apply:os.system [id]\n" + GOOD, ["yaml_tag"]),
    ("Python name", "a: !!python/name:os.system\n" + GOOD, ["yaml_tag"]),
    ("renamed tag", "%TAG ! tag:yaml.org,2002:python/\n---\na: !name:os.system\n" + GOOD, ["yaml_tag"]),
    ("full tag", "a: !<tag:yaml.org,2002:python/name:os.system> x\n" + GOOD, ["yaml_tag"]),
    ("binary", "a: !!binary aGVsbG8=\n" + GOOD, ["yaml_tag"]),
    ("plain tag", "a: !!str b\n" + GOOD, ["yaml_tag"]),
    ("merge key", GOOD + "<<: {x: 1}\n", ["yaml_merge"]),
    ("merge key of an alias", "d: &d {x: 1}\n" + GOOD + "<<: *d\n", ["yaml_anchor", "yaml_merge", "yaml_alias"]),
    ("list as key", "? [a, b]\n: 1\n" + GOOD, []),
    ("mapping as key", "? {a: b}\n: 1\n" + GOOD, []),
    ("deep list", "[" * 200_000, ["yaml_syntax"]),
    ("deep mapping", "".join(" " * depth + "a:\n" for depth in range(500)), []),
    ("deep sequence", "- " * 100_000, []),
    ("many values", GOOD + "".join(f"k{index}: 1\n" for index in range(25_000)), []),
    ("long in all", GOOD + "x: " + "y" * 300_000, []),
    ("long key", GOOD + "y" * 200_000 + ": 1\n", ["yaml_syntax"]),
    ("NUL", GOOD + "\0", []),
    ("escape character", GOOD + "# \x1b[2J\n", []),
    ("UTF-16", GOOD.encode("utf-16"), []),
    ("UTF-16 without a mark", GOOD.encode("utf-16-be"), []),
    ("UTF-32", GOOD.encode("utf-32"), []),
    ("Latin-1", described("é").encode("latin-1"), []),
    ("half a pair", described('"\\ud800"'), ["yaml_syntax"]),
    ("two documents", GOOD + "---\n" + GOOD, []),
    ("a document after the end", GOOD + "...\n---\na: 1\n", []),
    ("another YAML", "%YAML 9.9\n---\n" + GOOD, ["yaml_syntax"]),
]


@pytest.mark.parametrize(("text", "codes"), [item[1:] for item in UNREADABLE], ids=[item[0] for item in UNREADABLE])
def test_yaml_that_means_harm_is_refused(text: str | bytes, codes: list[str]) -> None:
    code, found, message = refused(text)
    assert code == "manifest_unreadable"
    assert list(dict.fromkeys(found)) == codes
    assert len(message) < 1000


INVALID: list[tuple[str, str, str]] = [
    ("key twice", GOOD + "functions: {}\n", "duplicate_key"),
    ("key twice, once in quotes", GOOD + '"functions": {}\n', "duplicate_key"),
    ("key twice, once escaped", GOOD + '"\\x66unctions": {}\n', "duplicate_key"),
    ("key twice inside", GOOD.replace(OUTPUTS, "outputs: {a: Float, a: Length}"), "duplicate_key"),
    ("infinite by size", with_resources("timeout: 1e999"), "wrong_type"),
    ("infinite", with_resources("timeout: .inf"), "wrong_type"),
    ("not a number", with_resources("timeout: .nan"), "wrong_type"),
    ("thousands of digits", with_resources("cpu: " + "9" * 5000), "wrong_type"),
    ("octal", with_resources("cpu: 0o17"), "wrong_type"),
    ("base sixty", with_resources("timeout: 1:30:00"), "wrong_type"),
    ("underscores", with_resources("timeout: 1_000"), "wrong_type"),
    ("true as a number", with_resources("cpu: yes"), "wrong_type"),
    ("negative", with_resources("cpu: -1"), "out_of_range"),
    ("NUL by escape", described('"a\\0b"'), "bad_value"),
    ("terminal sequence by escape", described('"\\e[2Jb"'), "bad_value"),
    ("C1 control by escape", described('"a\\x9bb"'), "bad_value"),
    ("long text", described("y" * 5000), "too_long"),
    ("a pattern that could be slow", GOOD.replace("1.0.0", "1.0.0-" + "a-" * 5000 + "!"), "too_long"),
    (
        "deep type",
        GOOD.replace(OUTPUTS, "outputs: {a: '" + "list[" * 5000 + "Float" + "]" * 5000 + "'}"),
        "type_too_long",
    ),
    (
        "many ports",
        GOOD.replace(OUTPUTS, "outputs: {" + ", ".join(f"a{index}: Float" for index in range(15_000)) + "}"),
        "out_of_range",
    ),
    ("many functions", GOOD + "".join(f"  f{index}: {{handler: 'c:r'}}\n" for index in range(8000)), "out_of_range"),
]


@pytest.mark.parametrize(("text", "code"), [item[1:] for item in INVALID], ids=[item[0] for item in INVALID])
def test_a_value_that_means_harm_is_refused(text: str, code: str) -> None:
    whole, found, _message = refused(text)
    assert whole == "manifest_invalid"
    assert code in found
    assert len(found) <= 200


@pytest.mark.parametrize(
    "text", ["\ufeff" + GOOD, GOOD + "...\n", "%YAML 1.1\n---\n" + GOOD, "#" * 250_000 + "\n" + GOOD]
)
def test_odd_but_harmless_forms_are_read(text: str) -> None:
    assert parse_manifest(text.encode()).package.name == "small"


def test_words_that_other_readers_turn_into_values_stay_what_the_contract_says() -> None:
    manifest = parse_manifest(described("1:30:00").encode())
    assert manifest.package.description == "1:30:00"
