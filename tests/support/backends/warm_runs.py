"""What tests ask of a run of the bubblewrap backend: whether it is a call in a warm slot, and in which."""

from mecapy_platform.sandbox.base import Run
from mecapy_platform.sandbox.bubblewrap.run import BubblewrapRun
from mecapy_platform.sandbox.bubblewrap.slot_channel import SlotChannel
from mecapy_platform.sandbox.bubblewrap.zygote import Slot


def is_warm(run: Run) -> bool:
    return isinstance(run, BubblewrapRun) and isinstance(run.channel, SlotChannel)


def slot_of(run: Run) -> Slot:
    assert isinstance(run, BubblewrapRun)
    assert isinstance(run.channel, SlotChannel)
    return run.channel.slot
