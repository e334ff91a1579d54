"""Tables of signs for screening: the smallest order at which a Hadamard matrix is built here for a number of factors.

Constructions: R. E. A. C. Paley, "On orthogonal matrices", J. Math. Phys. 12 (1933) 311-320, and Sylvester's doubling.
Plackett and Burman (Biometrika 33, 1946, 305-325) use the columns of such matrices.
"""

from functools import lru_cache

Signs = tuple[tuple[int, ...], ...]


def order_for(factors: int) -> int:
    """The number of runs: the smallest multiple of four above `factors` that can be built."""
    order = 4 * (factors // 4 + 1)
    while not _is_built(order):
        order += 4
    return order


def columns_for(factors: int) -> Signs:
    """Rows of `factors` signs, one a run; columns are balanced and orthogonal."""
    return tuple(row[1 : factors + 1] for row in _hadamard(order_for(factors)))


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def _is_built(order: int) -> bool:
    if order <= 2:
        return order > 0
    paley_two = order % 4 == 0 and (order // 2 - 1) % 4 == 1 and _is_prime(order // 2 - 1)
    return (order % 4 == 0 and _is_prime(order - 1)) or paley_two or (order % 2 == 0 and _is_built(order // 2))


@lru_cache(maxsize=8)
def _hadamard(order: int) -> Signs:
    """Normalised so that the first column is +1."""
    if order == 1:
        return ((1,),)
    if order % 4 == 0 and _is_prime(order - 1):
        rows = _paley_one(order - 1)
    elif order > 2 and (order // 2 - 1) % 4 == 1 and _is_prime(order // 2 - 1):
        rows = _paley_two(order // 2 - 1)
    else:
        half = _hadamard(order // 2)
        rows = [[*row, *row] for row in half] + [[*row, *(-sign for sign in row)] for row in half]
    return tuple(tuple(sign * row[0] for sign in row) for row in rows)


def _residue_signs(prime: int) -> list[int]:
    squares = {value * value % prime for value in range(1, prime)}
    return [0, *(1 if value in squares else -1 for value in range(1, prime))]


def _paley_one(prime: int) -> list[list[int]]:
    """I + S with S skew: of a prime 3 modulo 4."""
    signs = _residue_signs(prime)
    below = [[-1, *(signs[(row - column) % prime] for column in range(prime))] for row in range(prime)]
    for row in range(prime):
        below[row][row + 1] = 1
    return [[1] * (prime + 1), *below]


def _paley_two(prime: int) -> list[list[int]]:
    """Of a symmetric conference matrix: each 0 becomes one block of signs, each 1 another."""
    signs = _residue_signs(prime)
    conference = [[0, *([1] * prime)], *([1, *(signs[(r - c) % prime] for c in range(prime))] for r in range(prime))]
    rows = []
    for line in conference:
        rows.append([sign for value in line for sign in ((1, -1) if value == 0 else (value, value))])
        rows.append([sign for value in line for sign in ((-1, -1) if value == 0 else (value, -value))])
    return rows
