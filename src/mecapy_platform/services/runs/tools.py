"""What an advance is given by the process that makes it."""

from dataclasses import dataclass

from mecapy_platform.core.queue_rules import QueueRules
from mecapy_platform.services.values import ValueStore

MOST_LOOKS = 300


@dataclass(frozen=True)
class Tools:
    """How, and with what.

    Attributes
    ----------
    takes_marks : the platform's role alone may see what is due to others; without it marks stay for the relay
    starts : whether nodes may start; not where another one than the run's user acts, who may see less than they
    """

    values: ValueStore
    rules: QueueRules
    takes_marks: bool = False
    starts: bool = True


@dataclass
class Budget:
    """How many more looks at a run, and at those inside it, go into one transaction: it holds locks to its end."""

    looks: int = MOST_LOOKS
