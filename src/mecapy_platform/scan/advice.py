"""What to do about Bandit's findings, and which of them are a calculation's everyday work."""

# assert, starting programs, fixed temporary folders, random numbers, try/except/pass, hashes that protect nothing
USUAL = frozenset(("B101", "B108", "B110", "B112", "B311", "B324", "B403", "B404", "B405", "B408", "B603", "B607"))
ADVICE = {
    "B101": "Nothing; asserts vanish under -O, raise an error where it matters.",
    "B102": "Replace exec by functions or a dictionary of functions.",
    "B103": "Files in the sandbox need no such rights.",
    "B104": "A calculation has no network; remove the server.",
    "B105": "Take passwords out of the package.",
    "B106": "Take passwords out of the package.",
    "B107": "Take passwords out of the package.",
    "B108": "Use tempfile; the folder is the task's own in the sandbox.",
    "B110": "Catch the error you mean, and say something.",
    "B301": "Load only pickles of your own package; prefer JSON or .npz.",
    "B302": "Do not load marshalled code.",
    "B307": "Use ast.literal_eval, or a parser of formulas.",
    "B311": "Right for simulation; not for keys.",
    "B324": "Right for names of caches; say usedforsecurity=False.",
    "B403": "Load only pickles of your own package.",
    "B404": "Right for starting a declared tool such as ccx.",
    "B501": "A calculation has no network; remove the call.",
    "B506": "Use yaml.safe_load.",
    "B602": "Give a list of arguments and leave shell=True out.",
    "B603": "Right for a fixed program; keep the arguments a list.",
    "B604": "Give a list of arguments and leave shell=True out.",
    "B605": "Use subprocess.run with a list of arguments.",
    "B606": "Use subprocess.run with a list of arguments.",
    "B607": "Right for a declared tool that is found on the path.",
    "B614": "Load weights only, from a file of your own package.",
}
