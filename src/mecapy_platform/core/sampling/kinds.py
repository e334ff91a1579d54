"""The closed sets of designs, distributions and driven studies, and their limits."""

from enum import StrEnum

MAX_POINTS = 50_000
MAX_FACTORS = 100
MAX_OPTIMISED_POINTS = 2_000  # of a Latin hypercube whose places are exchanged until they lie evenly
MAX_CORRELATED = 50
MAX_CSV_BYTES = 16 << 20
MAX_SEED = 2**53 - 1  # the largest whole number that every reader of JSON keeps


class DesignKind(StrEnum):
    GRID = "grid"
    LIST = "list"
    CSV = "csv"
    ONE_AT_A_TIME = "one_at_a_time"
    FULL_FACTORIAL = "full_factorial"
    FRACTIONAL_FACTORIAL = "fractional_factorial"
    PLACKETT_BURMAN = "plackett_burman"
    CENTRAL_COMPOSITE = "central_composite"
    LATIN_HYPERCUBE = "latin_hypercube"
    SOBOL = "sobol"
    HALTON = "halton"
    SOBOL_INDICES = "sobol_indices"
    MORRIS = "morris"
    MONTE_CARLO = "monte_carlo"


LISTED = frozenset({DesignKind.LIST, DesignKind.CSV})
WITH_DISTRIBUTIONS = frozenset(
    {
        DesignKind.LATIN_HYPERCUBE,
        DesignKind.SOBOL,
        DesignKind.HALTON,
        DesignKind.SOBOL_INDICES,
        DesignKind.MONTE_CARLO,
    }
)
RANDOM = WITH_DISTRIBUTIONS | {DesignKind.MORRIS}  # these have a seed, which is recorded
CORRELATED = frozenset({DesignKind.MONTE_CARLO, DesignKind.SOBOL, DesignKind.HALTON})
GROWING = frozenset(LISTED | {DesignKind.MONTE_CARLO, DesignKind.SOBOL, DesignKind.HALTON})  # points may be added
WITH_LEVELS = frozenset({DesignKind.GRID, DesignKind.FULL_FACTORIAL})  # a factor may list its levels, texts too
TWO_LEVELS = frozenset({DesignKind.FRACTIONAL_FACTORIAL, DesignKind.PLACKETT_BURMAN, DesignKind.CENTRAL_COMPOSITE})


class DrivenKind(StrEnum):
    """Studies whose next points depend on the results of those before."""

    OPTIMISATION = "optimisation"
    ROOT_FINDING = "root_finding"
    CONVERGENCE = "convergence"
    RELIABILITY = "reliability"


class DistributionKind(StrEnum):
    NORMAL = "normal"
    LOG_NORMAL = "log_normal"
    UNIFORM = "uniform"
    TRIANGULAR = "triangular"
    WEIBULL = "weibull"
    TABLE = "table"


class Spacing(StrEnum):
    """How levels lie between the ends of a range."""

    LINEAR = "linear"
    LOG = "log"


class Variant(StrEnum):
    """Stars of a central composite design: outside the range, on its ends with smaller corners, on its faces."""

    CIRCUMSCRIBED = "circumscribed"
    INSCRIBED = "inscribed"
    FACED = "faced"
