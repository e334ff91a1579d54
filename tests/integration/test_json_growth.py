"""No text makes the reader of JSON slower than its length does."""

import resource
import subprocess
import sys

import pytest

CPU_SECONDS = 60  # the quadratic reader needs days for each of these
LARGE = {
    "the last of many keys twice": 'b"{" + b",".join(b\'"%d":1\' % n for n in range(1_500_000)) + b\',"1499999":1}\'',
    "one key all the time": "b'{' + b'\"a\":1,' * 3_000_000 + b'\"a\":1}'",
    "open brackets": "b'[' * (20 << 20)",
    "open objects": "b'{\"a\":' * (4 << 20)",
    "open quotes": "b'\"\\\\\\\\' * (7 << 20)",
    "many runs of digits": "b'[' + (b'1' * 199 + b',') * 100_000 + b'1]'",
    "a number of 20 MiB": "b'1' * (20 << 20)",
    "a fraction of 20 MiB": "b'0.' + b'1' * (20 << 20)",
    "large exponents": "b'[' + b'1e300,' * 3_000_000 + b'1]'",
    "white space": "b' ' * (20 << 20)",
    "empty lists": "b'[' + b'[],' * (5 << 20) + b'1]'",
}


@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
def test_twenty_mebibytes_of_anything_are_read_or_refused_within_seconds_of_cpu(make: str) -> None:
    """The kernel ends the reader that takes longer; what is promised is the order of growth, not a speed."""
    program = (
        "from mecapy_platform.core.json_text import JsonError, loads\n"
        f"text = {make}\n"
        "try:\n    loads(text)\nexcept JsonError as error:\n    print(error.code)\nprint('over')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith("over\n"), done.stderr[-500:]
