"""Which warm sandboxes are kept: follows demand, bounded in number, fair between organizations.

What cannot be warm goes cold.
"""

import json
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache

from mecapy_platform.core.errors import MecapyError, SandboxError
from mecapy_platform.core.living import LivingThread
from mecapy_platform.sandbox.base import Limits, Run, SandboxSpec
from mecapy_platform.sandbox.bubblewrap.demand import AHEAD_SECONDS, Demand
from mecapy_platform.sandbox.bubblewrap.run import BubblewrapRun
from mecapy_platform.sandbox.bubblewrap.shared_channel import SharedSlot
from mecapy_platform.sandbox.bubblewrap.slot_channel import SlotChannel, WarmInputs, inputs_of
from mecapy_platform.sandbox.bubblewrap.zygote import Function, Key, Slot, Zygote
from mecapy_platform.sandbox.eviction import Held, choose_victim
from mecapy_platform.sandbox.limits import thread_environment

log = logging.getLogger(__name__)
USUAL = Limits(cpu=1, memory_mb=512, timeout_seconds=60, disk_bytes=0)
LOOK_SECONDS = 1.0
SETTLE_SECONDS = 0.003
REFUSED_SECONDS = 60.0  # how long a machine that could not start one is left alone
OVER_SECONDS = 1.0  # how long one may wait for which there is no memory set aside
SHARING_PROCESSES = 2  # of ours, in a slot whose calls share a worker: it, and the first process of theirs
START_SECONDS = 20.0  # how long calls that share a worker wait for a warm sandbox
KEPT_SECONDS = 60.0  # how long a worker that serves several calls waits for the next


@dataclass(frozen=True)
class WarmLimits:
    """`sandboxes`: zygotes in all; `slots`: of each; `calls`, `idle_seconds`: after these a zygote is thrown away."""

    sandboxes: int = 16
    slots: int = 4
    calls: int = 20_000
    idle_seconds: float = 300.0
    memory_mb: int = 192  # of a zygote itself; its calls are limited one by one
    ahead_memory_mb: int = 1024  # of workers that have loaded a function and wait: no claim has reserved it for them


@lru_cache(maxsize=64)
def real_path(path: str) -> str:
    """Of an interpreter, which stays where it is."""
    return os.path.realpath(path)


def key_of(spec: SandboxSpec, tools: tuple[str, ...]) -> Key:
    """With whom a call may share a zygote."""
    environment = spec.environment
    assert environment is not None
    site, vetted = (None if path is None else str(path) for path in (environment.site_packages, environment.vetted))
    return Key(spec.organization, real_path(str(environment.interpreter)), site, tools, vetted, environment.libraries)


def function_of(spec: SandboxSpec) -> Function:
    """What a worker can be prepared for; with calls in one process, of one version."""
    assert spec.handler is not None
    files = (spec.required_files, spec.optional_files)
    reused = (spec.version, spec.reuse) if spec.reuse > 1 else ()
    return Function(str(spec.package), spec.handler, spec.limits, *files, *reused)


class WarmPool:
    """`connect` gives a connection to the spawner. `start` answers a run, or None: then the call goes cold."""

    def __init__(self, connect: Callable[[], socket.socket], filter_hex: str, limits: WarmLimits) -> None:
        self._connect = connect
        self._filter = filter_hex
        self._limits = limits
        self._zygotes: dict[Key, Zygote] = {}
        self._starting: set[Key] = set()
        self._demand: dict[Function, Demand] = {}
        self._returning_mb: dict[int, int] = {}  # of slots whose worker may wait again after its call
        self._refused_until = 0.0
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._wanted: deque[Key] = deque()

    def start(self, spec: SandboxSpec, tools: tuple[str, ...]) -> Run | None:
        """Run a call in a warm slot, or say None and make one ready for the next call."""
        inputs = inputs_of(spec)
        key = key_of(spec, tools)
        function = function_of(spec)
        zygote = self._zygote_for(key, function) if inputs is not None else None
        if zygote is None or inputs is None:
            return None
        return self._call(zygote, function, spec, inputs)

    def start_at_once(self, spec: SandboxSpec, tools: tuple[str, ...]) -> Run | None:
        """Run a call where a worker waits that has loaded its function; None, without waiting, where none does."""
        if spec.inputs_text is None or (inputs := inputs_of(spec)) is None:
            return None
        key, function, now = key_of(spec, tools), function_of(spec), time.monotonic()
        with self._lock:
            zygote, demand = self._zygotes.get(key), self._demand.get(function)
            slot = None if zygote is None else next((slot for slot in zygote.free if slot.waits_for(function)), None)
            if zygote is None or slot is None or demand is None or demand.is_barred:
                return None
            demand.note(now)
            zygote.used_at = now
            zygote.busy += 1
            zygote.free.remove(slot)
            if function.is_reused:
                self._returning_mb[id(slot)] = function.limits.memory_mb
        try:
            channel = SlotChannel(slot, spec.limits, self._give_back)
        except OSError as error:
            log.warning("a warm slot is lost: %s", error)
            self._lose(zygote, slot)
            return None
        return self._begin(channel, function, spec, inputs)

    def share(self, spec: SandboxSpec, tools: tuple[str, ...], handlers: Sequence[str]) -> SharedSlot | None:
        """A worker that has loaded these handlers; waits for a warm sandbox. None where calls must go alone."""
        key, function = key_of(spec, tools), function_of(spec)
        zygote = self._awaited(key, function)
        if zygote is None or not zygote.facts["native"]:
            if zygote is not None:
                self._leave(zygote)
            return None
        slot = None
        try:
            slot = self._slot(zygote, function, needs_files=False)
            if slot is None:
                self._leave(zygote)
                return None
            if slot.ahead is not None:
                slot.renew()
            zygote.limit(slot, replace(function.limits, processes=function.limits.processes + SHARING_PROCESSES))
            slot.last = None
            shared = SharedSlot(slot, spec, self._give_back)
        except (MecapyError, OSError) as error:
            log.warning("calls go alone: %s", error)
            self._lose(zygote, slot)
            return None
        if not shared.load(function, handlers):
            shared.close()
            return None
        return shared

    def _awaited(self, key: Key, function: Function) -> Zygote | None:
        """The warm sandbox of calls that are worth waiting for it."""
        until = time.monotonic() + START_SECONDS
        while (zygote := self._zygote_for(key, function)) is None:
            if key not in self._starting or time.monotonic() > until or self._closing.wait(SETTLE_SECONDS):
                return None
        return zygote

    def make_ready(self, spec: SandboxSpec, tools: tuple[str, ...]) -> None:
        """Start what a call of this kind needs, unless it is there; returns when it can take the call.

        Raises
        ------
        SandboxError
            This machine cannot have one.
        """
        key = key_of(spec, tools)
        with self._lock:
            is_there = key in self._zygotes
            self._look_after()
        if not is_there:
            self._start_zygote(key)
        self._refused_until = 0.0  # what was missing is here again

    def held(self) -> Mapping[Key, Zygote]:
        with self._lock:
            return dict(self._zygotes)

    def clear(self, organization: str | None = None) -> None:
        """Throw away what is kept now, of one organization where it is named; the pool goes on."""
        for zygote in self.held().values():
            if organization in {None, zygote.key.organization}:
                self._throw_away(zygote)

    def close(self) -> None:
        self._closing.set()
        self._wake.set()
        with self._lock:
            zygotes, self._zygotes = list(self._zygotes.values()), {}
        for zygote in zygotes:
            zygote.close()

    def _zygote_for(self, key: Key, function: Function) -> Zygote | None:
        now = time.monotonic()
        with self._lock:
            self._demand.setdefault(function, Demand()).note(now)
            zygote = self._zygotes.get(key)
            if zygote is not None:
                zygote.used_at = now
                zygote.busy += 1
                return zygote
            if key not in self._starting and now >= self._refused_until and not self._closing.is_set():
                self._starting.add(key)
                self._wanted.append(key)
                self._look_after()
                self._wake.set()
        return None

    def _call(self, zygote: Zygote, function: Function, spec: SandboxSpec, inputs: WarmInputs) -> Run | None:
        slot = None
        try:
            slot = self._slot(zygote, function, needs_files=bool(inputs.files))
            if slot is None:
                self._leave(zygote)
                return None
            self._fit(slot, function, needs_files=bool(inputs.files))
            channel = SlotChannel(slot, spec.limits, self._give_back)
        except (MecapyError, OSError) as error:
            log.warning("a warm call goes cold: %s", error)
            self._lose(zygote, slot)
            return None
        return self._begin(channel, function, spec, inputs)

    def _begin(self, channel: SlotChannel, function: Function, spec: SandboxSpec, inputs: WarmInputs) -> Run | None:
        try:
            channel.begin(function, inputs)
        except (MecapyError, OSError) as error:
            log.warning("a warm call goes cold: %s", error)
            if channel.slot.ahead is not None:
                with self._lock:
                    self._demand[function].is_barred = True
            channel.close(None)
            return None
        return BubblewrapRun(channel, spec)

    def _slot(self, zygote: Zygote, function: Function, *, needs_files: bool) -> Slot | None:
        """A free slot that fits best; `busy` counts it already."""
        with self._lock:
            best = min(zygote.free, key=lambda slot: _misfit(slot, function, needs_files=needs_files), default=None)
            has_room = zygote.slots <= self._limits.slots
            if best is not None and has_room and _is_kept_for_another(best, function):
                best = None
            elif best is not None:
                zygote.free.remove(best)
            elif not has_room:
                return None
        return zygote.open_slot(function.limits) if best is None else best

    def _fit(self, slot: Slot, function: Function, *, needs_files: bool) -> None:
        """Let the slot be what the call needs.

        What goes wrong here costs this slot alone, not its neighbours' calls.
        """
        if slot.ahead is not None and (slot.ahead != function or needs_files or self._demand[function].is_barred):
            slot.renew()
        slot.zygote.limit(slot, function.limits)
        slot.worker()
        if function.is_reused and not needs_files and not self._demand[function].is_barred:
            if slot.ahead is None:
                slot.prepare(function)
            with self._lock:
                self._returning_mb[id(slot)] = function.limits.memory_mb
        slot.last = function

    def _give_back(self, slot: Slot, is_clean: bool) -> None:
        zygote = slot.zygote
        with self._lock:
            self._returning_mb.pop(id(slot), None)
        if not is_clean:
            self._lose(zygote, slot)
            return
        if slot.ends is None:
            slot.ahead = None
        slot.calls += 1
        with self._lock:
            zygote.calls += 1
            zygote.used_at = time.monotonic()
            if not zygote.is_closed and not zygote.is_retired:
                zygote.busy -= 1
                zygote.free.append(slot)
                self._wake.set()
                return
        slot.close()
        self._leave(zygote)

    def _leave(self, zygote: Zygote) -> None:
        with self._lock:
            zygote.busy -= 1
            is_over = zygote.is_retired and zygote.busy == 0
        if is_over:
            zygote.close()

    def _lose(self, zygote: Zygote, slot: Slot | None) -> None:
        """A slot about which there is any doubt is killed; a zygote that does not answer goes with it."""
        self._leave(zygote)
        with self._lock:
            self._returning_mb.pop(id(slot), None)
        try:
            if slot is not None:
                zygote.drop(slot)
                return
        except SandboxError as error:
            log.warning("a warm sandbox is thrown away: %s", error.message)
        self._throw_away(zygote)

    def _throw_away(self, zygote: Zygote) -> None:
        """It takes no more calls; those that run in it come to their end first."""
        with self._lock:
            if self._zygotes.get(zygote.key) is zygote:
                del self._zygotes[zygote.key]
            zygote.is_retired = True
            is_over = zygote.busy == 0
        if is_over:
            zygote.close()

    def _look_after(self) -> None:
        if self._thread is None:
            self._thread = LivingThread("warm-pool", self._keep)
            self._thread.start()

    def _keep(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
            while self._wanted:
                self._start_wanted(self._wanted.popleft())
            self._closing.wait(
                SETTLE_SECONDS
            )  # under load a slot is taken again before this; then nothing is loaded ahead
            for slot in self._to_load_ahead():
                self._load_ahead(slot)
            self._tidy()

    def _to_load_ahead(self) -> list[Slot]:
        """Free slots of functions in demand, taken out of their zygote.

        And those that waited with a function too long.
        """
        now = time.monotonic()
        with self._lock:
            free = [slot for zygote in self._zygotes.values() for slot in zygote.free]
            held_mb = sum(slot.ahead.limits.memory_mb for slot in free if slot.ahead is not None)
            chosen = self._beyond_memory(free, held_mb - self._limits.ahead_memory_mb, now)
            room_mb = self._limits.ahead_memory_mb - held_mb - sum(self._returning_mb.values())
            for slot in free:
                if slot in chosen or not self._should_change(slot, now):
                    continue
                if slot.ahead is None and slot.last is not None:
                    if slot.last.limits.memory_mb > room_mb:
                        continue
                    room_mb -= slot.last.limits.memory_mb
                chosen.append(slot)
            for slot in chosen:
                slot.zygote.free.remove(slot)
                slot.zygote.busy += 1
        return chosen

    def _beyond_memory(self, free: Sequence[Slot], over_mb: int, now: float) -> list[Slot]:
        """Which waiting workers go where they hold too much: first those that are for one call, then who waits longest.

        One that is reused stays for a moment: under load its next call is there before that.
        """
        chosen: list[Slot] = []
        waiting = [slot for slot in free if slot.ahead is not None]
        for slot in sorted(waiting, key=lambda slot: (slot.ahead is not None and slot.ahead.is_reused, slot.ahead_at)):
            assert slot.ahead is not None
            if over_mb > 0 and (not slot.ahead.is_reused or now - slot.ahead_at > OVER_SECONDS):
                chosen.append(slot)
                over_mb -= slot.ahead.limits.memory_mb
        return chosen

    def _should_change(self, slot: Slot, now: float) -> bool:
        if slot.ahead is not None:
            return now - slot.ahead_at > (KEPT_SECONDS if slot.ahead.is_reused else AHEAD_SECONDS)
        demand = None if slot.last is None else self._demand.get(slot.last)
        return demand is not None and demand.is_hot(now)

    def _load_ahead(self, slot: Slot) -> None:
        """Let the waiting worker load the function.

        One that nobody called is thrown away, with the tenant's code in it.
        """
        try:
            if slot.ahead is not None:
                slot.renew()
            elif slot.last is not None:
                slot.prepare(slot.last)
        except (MecapyError, OSError, ValueError) as error:
            log.warning("a warm slot is thrown away: %s", error)
            self._lose(slot.zygote, slot)
            return
        with self._lock:
            if not slot.zygote.is_closed and not slot.zygote.is_retired:
                slot.zygote.busy -= 1
                slot.zygote.free.append(slot)
                return
        slot.close()
        self._leave(slot.zygote)

    def _start_wanted(self, key: Key) -> None:
        try:
            self._start_zygote(key)
        except (MecapyError, OSError, ValueError) as error:
            log.warning("no warm sandbox for now: %s", error)
            self._refused_until = time.monotonic() + REFUSED_SECONDS
        finally:
            with self._lock:
                self._starting.discard(key)

    def _start_zygote(self, key: Key) -> None:
        with self._lock:
            victim = None
            if len(self._zygotes) >= self._limits.sandboxes:
                held = [
                    Held(item.key, item.key.organization, item.used_at, item.busy > 0)
                    for item in self._zygotes.values()
                ]
                chosen = choose_victim(held, key.organization, time.monotonic())
                if chosen is None:
                    return
                victim = self._zygotes.pop(chosen)
        if victim is not None:
            victim.close()
        zygote = self._connected(key)
        with self._lock:
            if not self._closing.is_set():
                self._zygotes[key] = zygote
                return
        zygote.close()

    def _connected(self, key: Key) -> Zygote:
        guest = json.dumps({"libraries": key.libraries, "filter": self._filter, "site": key.site_packages is not None})
        request = {
            "interpreter": key.interpreter,
            "site_packages": key.site_packages,
            "vetted": key.vetted,
            "tools": key.tools,
            "environment": thread_environment(USUAL),  # one thread: a fork keeps no other
            "guest": guest,
            "memory_mb": self._limits.memory_mb,
        }
        connection = self._connect()
        try:
            connection.sendall(json.dumps({"warm": request}).encode() + b"\n")
            raw = b""
            while not raw.endswith(b"\n"):
                piece = connection.recv(65536)
                if not piece:
                    raise SandboxError("warm_sandbox_refused", "The spawner ended before a warm sandbox had started.")
                raw += piece
            answer = json.loads(raw)
            if "started" not in answer:
                raise SandboxError("warm_sandbox_refused", f"No warm sandbox can be had here: {answer.get('error')}.")
        except (OSError, ValueError, MecapyError):
            connection.close()
            raise
        return Zygote(key, connection, answer["started"])

    def _tidy(self) -> None:
        """Throw away what was idle or used long enough."""
        now = time.monotonic()
        with self._lock:
            old = [
                item
                for item in self._zygotes.values()
                if item.busy == 0
                and (now - item.used_at > self._limits.idle_seconds or item.calls >= self._limits.calls)
            ]
            for function in [
                name for name, demand in self._demand.items() if now - demand.moments[-1] > self._limits.idle_seconds
            ]:
                del self._demand[function]
        for zygote in old:
            with suppress(OSError):
                self._throw_away(zygote)


def _is_kept_for_another(slot: Slot, function: Function) -> bool:
    """Its worker serves more calls of its own function: a new slot costs less than that worker."""
    return slot.ahead is not None and slot.ahead.is_reused and slot.ahead != function


def _misfit(slot: Slot, function: Function, *, needs_files: bool) -> int:
    """0 is best: loaded ahead; then idle with the same limits, idle with others, loaded with something else."""
    if slot.ahead is not None:
        return 0 if slot.ahead == function and not needs_files else 3
    return 1 if slot.limits == function.limits else 2
