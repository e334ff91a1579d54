"""What limits mean for the user's process: the variables that tell it, and the sentences when one is passed."""

from collections.abc import Mapping

from mecapy_platform.sandbox.base import Limits

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "CCX_NPROC_RESULTS",
    "CCX_NPROC_EQUATION_SOLVER",
)


def thread_environment(limits: Limits) -> Mapping[str, str]:
    """The runtime contract's variables: limits in readable form, and thread counts equal to the CPU limit."""
    fixed = {
        "MECAPY_CPU_LIMIT": str(limits.cpu),
        "MECAPY_MEM_LIMIT_MB": str(limits.memory_mb),
        "MECAPY_SCRATCH": "/workspace/scratch",
    }
    return fixed | dict.fromkeys(THREAD_VARIABLES, str(limits.cpu))
