"""Small packages as engineers write them. All of them pass under the defaults; warnings are allowed. Never run."""

from collections.abc import Mapping

Files = Mapping[str, str | bytes]

FREE_PORT = (
    "import os\nimport socket\nimport subprocess\nimport sys\n\n\ndef free_port():\n    with socket.socket() as one:\n"
    "        one.bind(('127.0.0.1', 0))\n        return one.getsockname()[1]\n\n\n"
)
ASK = (
    "import os\nimport socket\nimport subprocess\n\n\ndef ask(port):\n    one = socket.create_connection(('127.0.0.1', port))\n"
    "    order = one.recv(100)\n    one.sendall(b'done')\n    return order\n\n\n"
)

HONEST: Mapping[str, Files] = {
    # what is put in the place of a stream is a file, whatever else the module does with sockets
    "capture_beside_a_free_port": {
        "main.py": FREE_PORT + "def f():\n    kept = os.dup(1)\n    os.dup2(os.open('log', os.O_WRONLY | os.O_CREAT), 1)\n"
        "    os.write(1, b'x')\n    os.dup2(kept, 1)\n    return os.path.getsize('log')\n"
    },
    "capture_under_the_name_of_a_socket": {
        "main.py": ASK + "def f():\n    one = open('log', 'wb')\n    two = os.dup(1)\n    os.dup2(one.fileno(), 1)\n    os.dup2(two, 1)\n"
    },
    "capture_by_a_class": {
        "main.py": ASK + "class Captured:\n    def __enter__(self):\n        self.kept = os.dup(1)\n        self.read, self.write = os.pipe()\n"
        "        os.dup2(self.write, 1)\n        return self\n\n    def __exit__(self, *what):\n        os.dup2(self.kept, 1)\n"
    },
    "capture_by_a_helper": {
        "main.py": ASK + "import tempfile\n\n\ndef put(what, where=1):\n    os.dup2(what, where)\n\n\ndef f():\n    with tempfile.TemporaryFile() as log:\n"
        "        put(log.fileno())\n        put(what=os.open(os.devnull, os.O_RDWR), where=2)\n"
    },
    "capture_of_what_is_not_known_beside_a_free_port": {"main.py": FREE_PORT + "def put(what):\n    os.dup2(what, 1)\n"},
    "log_of_a_solver_under_the_name_of_a_socket": {
        "main.py": ASK + "def f(deck):\n    with open('log', 'wb') as one:\n        order = ['ccx', '-i', 'job']\n"
        "        return subprocess.run(order, stdin=subprocess.DEVNULL, stdout=one, check=False).returncode\n"
    },
    "environment_of_a_program_beside_a_socket": {
        "main.py": ASK + "def f():\n    env = dict(os.environ, OMP_NUM_THREADS='1')\n    return subprocess.run(['ccx'], env=env, check=False).returncode\n"
    },
    "a_variable_of_the_environment_sent": {
        "main.py": ASK + "def g():\n    s = socket.create_connection(('127.0.0.1', 1))\n    s.sendall(os.environ['MECAPY_CPU_LIMIT'].encode())\n"
    },
    "start_a_solver": {
        "main.py": "import os\nimport subprocess\nfrom pathlib import Path\n\n\ndef solve(deck: Path) -> dict:\n"
        "    env = {**os.environ, 'OMP_NUM_THREADS': '2'}\n"
        "    done = subprocess.run(['ccx', '-i', deck.stem], capture_output=True, text=True, check=False, env=env)\n"
        "    if done.returncode:\n        raise RuntimeError(done.stdout[-2000:])\n    return {'lines': len(done.stdout)}\n"
    },
    "shell_true": {"main.py": "import subprocess\n\n\ndef f(job: str) -> int:\n    return subprocess.call(f'ccx {job}', shell=True)\n"},
    "os_system": {"main.py": "import os\n\n\ndef f(x: float) -> float:\n    os.system('ccx job > job.log')\n    return x\n"},
    "optimisation": {
        "main.py": "import numpy as np\nfrom scipy.optimize import minimize\n\n\ndef size(load: float) -> dict:\n"
        "    best = minimize(lambda x: (x[0] - load) ** 2 + np.exp(x[1]), [1.0, 1.0], method='Nelder-Mead')\n"
        "    return {'x': best.x.tolist(), 'value': float(best.fun)}\n"
    },
    "plot": {
        "main.py": "import matplotlib\n\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\n\n\ndef draw(n: int) -> float:\n"
        "    fig, ax = plt.subplots()\n    ax.plot(range(n))\n    fig.savefig('/workspace/out/artifacts/plot.png')\n    return float(n)\n"
    },
    "mesh": {
        "main.py": "import meshio\n\n\ndef count(mesh) -> int:\n    found = meshio.read(mesh)\n    return sum(len(block.data) for block in found.cells)\n"
    },
    "processes": {
        "main.py": "import multiprocessing as mp\nfrom concurrent.futures import ProcessPoolExecutor\n\nimport numpy as np\n\n\n"
        "def part(seed: int) -> float:\n    return float(np.random.default_rng(seed).normal(size=1000).mean())\n\n\n"
        "def run(n: int) -> float:\n    with ProcessPoolExecutor(2, mp_context=mp.get_context('fork')) as pool:\n        return sum(pool.map(part, range(n)))\n"
    },
    "fork": {"main.py": "import os\n\n\ndef f(x: float) -> float:\n    pid = os.fork()\n    if pid == 0:\n        os._exit(0)\n    os.waitpid(pid, 0)\n    return x\n"},
    "own_pickle": {
        "main.py": "import pickle\nimport tempfile\n\n\ndef f(x: float) -> float:\n    with tempfile.TemporaryFile() as file:\n"
        "        pickle.dump({'x': x}, file)\n        file.seek(0)\n        return pickle.load(file)['x']\n"
    },
    "cache_by_hash": {"main.py": "import hashlib\nimport json\n\n\ndef key(**inputs) -> str:\n    return hashlib.md5(json.dumps(inputs).encode()).hexdigest()\n"},
    "temporary_folder": {
        "main.py": "import shutil\nimport tempfile\nfrom pathlib import Path\n\n\ndef f(x: float) -> float:\n    folder = Path(tempfile.mkdtemp())\n"
        "    (folder / 'a').write_text(str(x))\n    shutil.rmtree(folder)\n    return x\n"
    },
    "ctypes_library": {
        "main.py": "import ctypes\nfrom pathlib import Path\n\nlib = ctypes.CDLL(str(Path(__file__).parent / 'libbeam.so'))\n"
        "lib.deflection.restype = ctypes.c_double\n\n\ndef f(x: float) -> float:\n    return lib.deflection(ctypes.c_double(x))\n",
        "libbeam.so": b"\x7fELF" + b"\0" * 60,
    },
    "reflection": {
        "main.py": "import math\n\nimport numpy as np\n\n\ndef apply(name: str, x: float) -> float:\n"
        "    return float(getattr(np, name)(x)) if hasattr(np, name) else getattr(math, name)(x)\n"
    },
    "decode_data": {
        "main.py": "import base64\nimport zlib\n\nimport numpy as np\n\n\ndef read(text: str) -> float:\n"
        "    return float(np.frombuffer(zlib.decompress(base64.b64decode(text))).sum())\n"
    },
    "lambdify": {
        "main.py": "import sympy\n\nx = sympy.Symbol('x')\n\n\ndef value(expression: str, at: float) -> float:\n"
        "    return float(sympy.lambdify(x, sympy.sympify(expression))(at))\n"
    },
    "formula_eval": {
        "main.py": "import math\n\nNAMES = {name: getattr(math, name) for name in dir(math) if not name.startswith('_')}\n\n\n"
        "def value(text: str, x: float) -> float:\n    return float(eval(text, {'__builtins__': {}}, {**NAMES, 'x': x}))\n"
    },
    "optional_library": {
        "main.py": "try:\n    import numba\nexcept ImportError:\n    numba = None\n\n\ndef f(x: float) -> float:\n    return x\n"
    },
    "own_modules": {
        "main.py": "from beam.section import area\nfrom beam import materials\n\n\ndef f(d: float) -> float:\n    return area(d) * materials.E\n",
        "beam/__init__.py": "",
        "beam/section.py": "import math\n\nfrom . import materials\n\n\ndef area(d):\n    return math.pi * d**2 / 4 + 0 * materials.E\n",
        "beam/materials.py": "E = 2.1e11\n",
    },
    "plugins": {
        "main.py": "import importlib\n\n\nclass Law:\n    pass\n\n\nclass Steel(Law):\n    E = 2.1e11\n\n\ndef f(name: str) -> float:\n"
        "    laws = {one.__name__: one for one in Law.__subclasses__()}\n    importlib.import_module('math')\n    return laws[name].E\n"
    },
    "greek": {"main.py": "import math\n\n\ndef f(Δx: float, σ: float, µ: float, ℓ: float) -> float:\n    return math.sqrt(Δx**2 + σ**2) * µ * ℓ\n"},
    "latin1": {"main.py": "# -*- coding: latin-1 -*-\n# Müller, Größe\nGROESSE = 'Größe'\n\n\ndef f(x):\n    return x\n".encode("latin-1")},
    "utf8_with_mark": {"main.py": "\ufeffdef f(x):\n    return x\n".encode()},
    "machine_facts": {
        "main.py": "import os\nfrom pathlib import Path\n\n\ndef f(x: float) -> float:\n    cores = len(os.sched_getaffinity(0))\n"
        "    memory = Path('/proc/meminfo').read_text()\n    status = Path('/proc/self/status').read_text()\n    return cores * len(memory + status) * x\n"
    },
    "shell_of_a_job": {"main.py": "def f(x):\n    return x\n", "run.sh": "#!/bin/sh\nset -e\nexport OMP_NUM_THREADS=2\nccx -i job\nrm -rf ./scratch\n"},
    "readme": {
        "main.py": '"""Install the solver first: curl -s https://example.invalid/get.sh | sh"""\n\n\ndef f(x):\n    return x\n',
        "README.md": "curl -s https://example.invalid/get.sh | sh\n",
    },
    "cached_bytecode": {"main.py": "def f(x):\n    return x\n", "__pycache__/main.cpython-311.pyc": b"\xa7\r\r\n" + b"\0" * 16},
    "test_data": {
        "main.py": "def f(x):\n    return x\n",
        "tests/data.json": '{"sha256": "' + "3b5d5c3712955042212316173ccf37be8b6b1a1f4a0a0e8e5b0c0d9b0f9f3a2c" + '", "password_field": "none"}',
        "tests/key.txt": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    },
    "file_in_python_2": {"main.py": "def f(x):\n    return x\n", "old/post.py": "print 'hello'\n"},
    "namedtuple_factory": {
        "main.py": "import sys\nfrom collections import namedtuple\n\nPoint = namedtuple('Point', 'x y')\n\n\n"
        "def f(x: float) -> float:\n    sys.setrecursionlimit(5000)\n    return Point(x, 1.0).x\n"
    },
}  # fmt: skip
