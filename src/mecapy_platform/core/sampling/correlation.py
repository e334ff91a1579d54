"""Matrices of correlation: symmetric, ones on the diagonal, positive definite."""

import math
from typing import Any

from mecapy_platform.core.sampling.kinds import MAX_CORRELATED
from mecapy_platform.core.sampling.problems import Problems, is_number

Matrix = tuple[tuple[float, ...], ...]
_LEAST_PIVOT = 1e-10


def read_correlation(given: Any, names: tuple[str, ...], problems: Problems) -> Matrix:
    """The whole matrix from rows, or from pairs {"a*b": 0.5}; () after a problem."""
    if len(names) > MAX_CORRELATED:
        problems.add("correlation", "out_of_range", f"At most {MAX_CORRELATED} factors can be correlated.")
        return ()
    before = problems.count
    matrix = _from_pairs(given, names, problems) if isinstance(given, dict) else _from_rows(given, len(names), problems)
    if problems.count == before and cholesky(matrix) is None:
        said = (
            "These correlations contradict each other: the matrix is not positive definite. Make some of them smaller."
        )
        problems.add("correlation", "correlation_impossible", said)
    return matrix if problems.count == before else ()


def cholesky(matrix: Matrix) -> Matrix | None:
    """The lower triangle L with L L' = matrix; None where the matrix is not positive definite."""
    size = len(matrix)
    lower = [[0.0] * size for _ in range(size)]
    for row in range(size):
        for column in range(row + 1):
            rest = matrix[row][column] - math.fsum(lower[row][k] * lower[column][k] for k in range(column))
            if row == column:
                if rest < _LEAST_PIVOT:
                    return None
                lower[row][row] = math.sqrt(rest)
            else:
                lower[row][column] = rest / lower[column][column]
    return tuple(map(tuple, lower))


def _from_pairs(given: dict[str, Any], names: tuple[str, ...], problems: Problems) -> Matrix:
    matrix = [[float(row == column) for column in range(len(names))] for row in range(len(names))]
    for pair, value in given.items():
        path = f"correlation.{str(pair)[:200]}"
        ends = [end.strip() for end in str(pair).split("*")]
        if len(ends) != 2 or ends[0] == ends[1] or not set(ends) <= set(names):
            problems.add(path, "unknown_key", f"Write two factors as 'first*second'. There is: {', '.join(names)}.")
            continue
        first, second = names.index(ends[0]), names.index(ends[1])
        matrix[first][second] = matrix[second][first] = problems.real(value, path, least=-1, most=1)
    return tuple(map(tuple, matrix))


def _from_rows(given: Any, size: int, problems: Problems) -> Matrix:
    are_rows = isinstance(given, list | tuple) and len(given) == size
    if not are_rows or not all(isinstance(row, list | tuple) and len(row) == size for row in given):
        said = f"The correlation is a matrix of {size} rows with {size} numbers each, in the order of the factors."
        problems.add("correlation", "wrong_type", said)
        return ()
    for row in range(size):
        for column in range(row + 1):
            value, path = given[row][column], f"correlation[{row}][{column}]"
            if not is_number(value) or not -1 <= value <= 1 or value != given[column][row]:
                problems.add(
                    path, "correlation_impossible", "This must be from -1 to 1 and the same in both triangles."
                )
            elif row == column and value != 1:
                problems.add(path, "correlation_impossible", "A factor's correlation with itself is 1.")
    return tuple(tuple(row) for row in given)
