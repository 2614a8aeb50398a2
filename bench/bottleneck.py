"""A thin line between two network namespaces: a rate, a delay and a queue that drops its tail.

The kernel's TCP speaks over it unchanged: each namespace has a TUN device, and this process
carries the packets between them, late and no faster than the line. It runs beside the
benchmark, as a real-time process where it may, so that a busy machine does not bend the
line::

    namespace A ── TUN ── [queue, rate] ── delay ── TUN ── namespace B
                       ── delay ── [queue, rate] ──

Started by `bench.network`, which tells it over stdin how the line is and asks what passed;
each request and each answer is one line of JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import json
import os
import select
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

DEVICE: Final = "line0"
MTU_BYTES: Final = 1500

_TUNSETIFF: Final = 0x400454CA  # linux/if_tun.h
_IFF_TUN_NO_PI: Final = 0x1001
_CLONE_NEWNET: Final = 0x40000000
#: A packet may be handed on this much late: fewer awakenings, and no matter beside a delay of milliseconds.
_GRAIN_S: Final = 0.0003
_PACKETS_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Line:
    """How a line is, the same in both directions.

    Attributes
    ----------
    queue_s
        How long the last byte waits in a full queue.
    """

    rate_bits_s: float
    round_trip_s: float
    queue_s: float = 0.25

    @property
    def queue_bytes(self) -> float:
        return self.queue_s * self.rate_bits_s / 8


@dataclass(slots=True)
class Passed:
    """What went in one direction since the line was made; lengths of IP packets."""

    packets: int = 0
    bytes: int = 0
    dropped: int = 0


class Direction:
    """One direction of a line. Time is an argument."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.passed = Passed()
        self._free_at = 0.0
        self._under_way: deque[tuple[float, bytes]] = deque()

    @property
    def next_at(self) -> float:
        """Return when the next packet arrives; infinity while none is under way."""
        return self._under_way[0][0] if self._under_way else float("inf")

    def offer(self, now: float, packet: bytes) -> None:
        """Take a packet in, or drop it if the queue is full."""
        rate = self.line.rate_bits_s / 8
        waiting_bytes = max(0.0, self._free_at - now) * rate
        if waiting_bytes + len(packet) > max(self.line.queue_bytes, MTU_BYTES):
            self.passed.dropped += 1
            return
        self._free_at = max(now, self._free_at) + len(packet) / rate
        self._under_way.append((self._free_at + self.line.round_trip_s / 2, packet))

    def due(self, now: float) -> Iterator[bytes]:
        """Yield what has arrived by now."""
        while self._under_way and self._under_way[0][0] <= now:
            _, packet = self._under_way.popleft()
            self.passed.packets += 1
            self.passed.bytes += len(packet)
            yield packet


class Shaper:
    """Carries packets between two TUN devices until its orders end."""

    def __init__(self, near: int, far: int) -> None:
        self._up, self._down = Direction(Line(1e9, 0)), Direction(Line(1e9, 0))
        self._ways = ((near, self._up, far), (far, self._down, near))

    def run(self) -> None:
        orders = sys.stdin.fileno()
        while True:
            until = min(self._up.next_at, self._down.next_at)
            patience_s = None if until == float("inf") else max(0.0, until + _GRAIN_S - time.monotonic())
            readable, _, _ = select.select([*(way[0] for way in self._ways), orders], [], [], patience_s)
            for source, direction, target in self._ways:
                if source in readable:
                    _take_in(source, direction)
                for packet in direction.due(time.monotonic()):
                    with contextlib.suppress(OSError):  # the device is being taken down
                        os.write(target, packet)
            if orders in readable and not self._obey(sys.stdin.buffer.readline()):
                return

    def _obey(self, order: bytes) -> bool:
        if not order:
            return False
        line = json.loads(order)
        if line is not None:
            self._up.line = self._down.line = Line(**line)
        answer = {"up": asdict(self._up.passed), "down": asdict(self._down.passed)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        return True


def _take_in(source: int, direction: Direction) -> None:
    for _ in range(_PACKETS_AT_ONCE):
        try:
            packet = os.read(source, 65536)
        except BlockingIOError:
            return
        direction.offer(time.monotonic(), packet)


def open_tun() -> int:
    """Make the TUN device in the network namespace we are in; it lives as long as the descriptor."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN_NO_PI))
    return device


def enter_namespace(pid: int) -> None:
    """Go into the network namespace of a process: the devices made from now on are there."""
    with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def main() -> None:
    near = open_tun()
    enter_namespace(int(sys.argv[1]))
    shaper = Shaper(near, open_tun())
    gc.disable()  # no cycles here, and no pauses
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    print("{}", flush=True)
    shaper.run()


if __name__ == "__main__":
    main()
