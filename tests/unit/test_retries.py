"""What follows a failed attempt."""

import pytest

from mecapy_platform.core.retries import End, Interruption, Policy, Retry, after_failure, after_interruption
from mecapy_platform.core.states import FailureKind, TaskState


def decide(
    kind: FailureKind, *, machine: int = 0, own: int = 0, policy: Policy | None = None, jitter: float = 0.0
) -> Retry | End:
    return after_failure(
        kind,
        machine_failures=machine,
        own_failures=own,
        policy=policy or Policy(),
        max_machine_failures=5,
        jitter=jitter,
    )


def test_the_first_lost_machine_is_retried_at_once() -> None:
    assert decide(FailureKind.LOST_MACHINE, machine=1) == Retry(0.0)


def test_a_task_that_keeps_losing_its_machine_is_parked() -> None:
    assert decide(FailureKind.LOST_MACHINE, machine=5) == End(TaskState.LOST, is_parked=True)


@pytest.mark.parametrize("kind", [FailureKind.USER_ERROR, FailureKind.TIMEOUT, FailureKind.OUT_OF_MEMORY])
def test_the_users_failures_are_final_unless_asked(kind: FailureKind) -> None:
    assert isinstance(decide(kind, own=1), End)


def test_a_retry_asked_for_backs_off_exponentially_within_its_jitter() -> None:
    policy = Policy(max=3, backoff_seconds=2.0)
    delays = [decide(FailureKind.USER_ERROR, own=own, policy=policy) for own in (1, 2, 3)]
    assert delays == [Retry(1.0), Retry(2.0), Retry(4.0)]
    latest = decide(FailureKind.USER_ERROR, own=1, policy=policy, jitter=0.999)
    assert isinstance(latest, Retry)
    assert latest.delay_seconds == pytest.approx(2.0, rel=0.01)


def test_retries_end_after_the_asked_number() -> None:
    assert decide(FailureKind.USER_ERROR, own=4, policy=Policy(max=3)) == End(TaskState.FAILED)


def test_only_the_named_kinds_are_retried() -> None:
    policy = Policy(max=3, on=frozenset({FailureKind.TIMEOUT}))
    assert decide(FailureKind.USER_ERROR, own=1, policy=policy) == End(TaskState.FAILED)
    assert isinstance(decide(FailureKind.TIMEOUT, own=1, policy=policy), Retry)


def test_a_cancelled_task_is_never_retried() -> None:
    policy = Policy(max=3, on=frozenset(FailureKind))
    assert decide(FailureKind.CANCELLED, own=1, policy=policy) == End(TaskState.CANCELLED)


def test_an_interruption_is_followed_by_another_attempt_at_once_or_when_there_may_be_room_again() -> None:
    assert after_interruption(Interruption.DRAINED) == Retry(0.0)
    assert after_interruption(Interruption.NO_ROOM) == Retry(5.0)


def test_an_outage_is_given_back_twenty_times_and_then_counts() -> None:
    delays = [after_interruption(Interruption.OUTAGE, outages=count, jitter=0.9) for count in range(1, 22)]
    assert all(retry is not None and retry.delay_seconds <= 5.0 for retry in delays[:20])
    assert delays[20] is None


def test_what_an_outage_ended_is_never_parked_for_it() -> None:
    for failures in (1, 5, 19):
        decided = after_failure(
            FailureKind.LOST_MACHINE, machine_failures=failures, own_failures=0, policy=Policy(),
            max_machine_failures=5, jitter=0.5, is_outage=True,
        )  # fmt: skip
        assert isinstance(decided, Retry)
        assert decided.delay_seconds <= 5.0
