"""Lists of modules for the import policy: libraries of engineering, and what no calculation needs."""

LIBRARIES = (
    *("numpy", "scipy", "pandas", "matplotlib", "meshio", "sympy", "pint", "mpmath", "uncertainties", "numba", "h5py", "netCDF4", "xarray"),
    *("networkx", "sklearn", "statsmodels", "lmfit", "control", "seaborn", "plotly", "PIL", "imageio", "skimage", "cv2", "shapely"),
    *(
        "gmsh",
        "pygmsh",
        "pyvista",
        "vtk",
        "trimesh",
        "stl",
        "ezdxf",
        "pyNastran",
        "CoolProp",
        "cantera",
        "fluids",
        "thermo",
        "ccx2paraview",
    ),
    *(
        "openpyxl",
        "xlsxwriter",
        "xlrd",
        "yaml",
        "tomli",
        "tabulate",
        "jinja2",
        "reportlab",
        "docx",
        "lxml",
        "tqdm",
        "joblib",
        "attr",
        "attrs",
    ),
    *("pydantic", "dateutil", "pytz", "packaging", "typing_extensions", "cycler", "psutil", "threadpoolctl", "tables", "pyarrow", "polars"),
)

# Modules of the standard library that only ever serve a terminal, a password file or the insides of processes.
DENIED = ("pty", "_posixsubprocess", "spwd", "crypt", "telnetlib", "_xxsubinterpreters", "antigravity")

# What a formula under RestrictedPython may import: numbers and nothing that reaches out.
FORMULA = (
    *("math", "cmath", "decimal", "fractions", "statistics", "numbers", "itertools", "functools", "operator", "collections", "typing"),
    *("dataclasses", "enum", "bisect", "heapq", "random", "numpy", "scipy", "sympy", "pint", "mpmath", "uncertainties", "__future__"),
)
