"""When a schedule is due: a cron expression of five fields in a time zone.

Where the clock skips an hour, what lies in it comes at its end; where an hour comes twice, a fixed time comes once, as
Debian's cron does it (cronsim).
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from mecapy_platform.core.errors import InvalidInputError, Problem

FIELDS = 5
CRON_LENGTH = 100


class Times:
    """The times of a schedule, in UTC. Raises InvalidInputError: "cron_invalid", "time_zone_unknown"."""

    def __init__(self, cron: str, time_zone: str) -> None:
        self._zone = _zone(time_zone)
        self._cron = cron
        _check(cron, self._zone)

    def after(self, moment: datetime) -> datetime | None:
        """The first time after a moment; None where there is none in the next fifty years."""
        return next(self._each(moment), None)

    def upcoming(self, moment: datetime, count: int) -> list[datetime]:
        return list(islice(self._each(moment), count))

    def explained(self) -> str:
        """In words, in English: "At 07:00 on Monday through Friday"."""
        return str(CronSim(self._cron, datetime.now(self._zone)).explain())

    def _each(self, moment: datetime) -> Iterator[datetime]:
        for found in CronSim(self._cron, moment.astimezone(self._zone)):
            yield found.astimezone(UTC)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:  # of a name with odd letters, of a folder, of an unknown one
        message = f"{name[:60]!r} is no time zone; name one as Europe/Paris or UTC."
        raise _refused("time_zone", "time_zone_unknown", message) from error


def _check(cron: str, zone: ZoneInfo) -> None:
    if len(cron) > CRON_LENGTH or len(cron.split()) != FIELDS:
        message = 'A cron expression has five fields: minute, hour, day of month, month, day of week ("30 6 * * 1-5").'
        raise _refused("cron", "cron_invalid", message)
    try:
        first = next(CronSim(cron, datetime.now(zone)), None)
    except CronSimError as error:
        raise _refused("cron", "cron_invalid", f"The cron expression {cron!r} does not hold: {error}.") from error
    if first is None:
        raise _refused("cron", "cron_invalid", f"The cron expression {cron!r} names no date that comes.")


def _refused(path: str, code: str, message: str) -> InvalidInputError:
    return InvalidInputError(code, message, problems=[Problem(path, code, message)])
