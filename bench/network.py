"""Two sites and the thin line between them, on one machine: ``python -m bench.network`` proves the line.

The benchmark itself moves into a network namespace of its own (the near site, where the
client and the edge are), makes a second one (the far site, where the archive is), and joins
them by `bench.bottleneck`. Nothing outside is touched, and all of it goes with the process.
Needs root or user namespaces, and ``/dev/net/tun``; where they lack, it says which.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench.bottleneck import DEVICE, MTU_BYTES, Line, Passed
from bench.peers import Place

#: Of the loopback range, though a line lies between: a node without access control listens on no other.
NEAR_ADDRESS: Final = "127.99.0.1"
FAR_ADDRESS: Final = "127.99.0.2"
#: What Linux comes with; the machine's own choice would say more about the machine.
CONGESTION_CONTROL: Final = "cubic"

#: No thin line: for putting things in place.
WIDE: Final = Line(rate_bits_s=1e9, round_trip_s=0.0, queue_s=0.05)

_INSIDE: Final = "BENCH_NAMESPACE"
_MEGABIT: Final = 1e6
#: What TCP carries of a packet: less 20 bytes of IP, 20 of TCP and 12 of time stamps.
PAYLOAD_SHARE: Final = (MTU_BYTES - 52) / MTU_BYTES


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went over the line, in IP packets; `up` is from the near site to the far one."""

    up: Passed
    down: Passed

    @property
    def bytes(self) -> int:
        return self.up.bytes + self.down.bytes

    def since(self, earlier: Traffic) -> Traffic:
        """Return what went between an earlier look and this one."""
        return Traffic(_minus(self.up, earlier.up), _minus(self.down, earlier.down))


def _minus(now: Passed, then: Passed) -> Passed:
    return Passed(now.packets - then.packets, now.bytes - then.bytes, now.dropped - then.dropped)


class Network:
    """The far site, and the line that leads there."""

    def __init__(self, far_pid: int, shaper: subprocess.Popen[str]) -> None:
        enter = ("nsenter", f"--net=/proc/{far_pid}/ns/net")
        self.far = Place(FAR_ADDRESS, enter)
        self._shaper = shaper

    def shape(self, line: Line) -> None:
        """Let the line be like this from now on."""
        self._order(json.dumps(asdict(line)))

    def traffic(self) -> Traffic:
        """Return what went over the line so far."""
        return self._order("null")

    def _order(self, text: str) -> Traffic:
        assert self._shaper.stdin is not None
        assert self._shaper.stdout is not None
        self._shaper.stdin.write(text + "\n")
        self._shaper.stdin.flush()
        passed = json.loads(self._shaper.stdout.readline())
        return Traffic(Passed(**passed["up"]), Passed(**passed["down"]))


def why_not() -> str | None:
    """Return why there can be no two sites here, or None."""
    for command in ("unshare", "nsenter", "ip"):
        if not any(Path(folder, command).exists() for folder in (*os.get_exec_path(), "/usr/sbin", "/sbin")):
            return f"the command {command} is missing: apt-get install util-linux iproute2"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "/dev/net/tun cannot be opened: load the module tun, or give the container --device /dev/net/tun"
    tried = subprocess.run(
        [*_unshare(), "ip", "tuntap", "add", "dev", DEVICE, "mode", "tun"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        reason = tried.stderr.strip()
        return f"a network namespace with a TUN device is refused ({reason}): run as root, with CAP_SYS_ADMIN"
    return None


def _unshare() -> list[str]:
    return ["unshare", "--net", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]


def move_in(module: str) -> None:
    """Start this program anew in a namespace of its own, unless it is there; ends it where that cannot be."""
    if os.environ.get(_INSIDE):
        # Ended from outside, it still ends what it started.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        return
    reason = why_not()
    if reason is not None:
        sys.exit(f"python -m {module} needs two network namespaces, and {reason}")
    os.environ[_INSIDE] = "1"
    os.execvp("unshare", [*_unshare(), sys.executable, "-m", module, *sys.argv[1:]])  # noqa: S606 - no shell wanted


@contextlib.contextmanager
def two_sites(congestion_control: str = CONGESTION_CONTROL) -> Iterator[Network]:
    """Make the far site and a wide line to it; we are the near site (`move_in`)."""
    with contextlib.ExitStack() as stack:
        # `cat` keeps the namespace until its input ends, which it does when we do, however we end.
        far = stack.enter_context(_helper(["unshare", "--net", "sh", "-c", "echo {}; exec cat"]))
        shaper = stack.enter_context(_helper([sys.executable, "-m", "bench.bottleneck", str(far.pid)]))
        network = Network(far.pid, shaper)
        _set_up((), NEAR_ADDRESS, FAR_ADDRESS, congestion_control)
        _set_up(network.far.enter, FAR_ADDRESS, NEAR_ADDRESS, congestion_control)
        network.shape(WIDE)
        yield network


@contextlib.contextmanager
def _helper(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a process that says a line when it is ready, and ends with its input."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"{command[0]} ended with {process.wait()}")
        yield process
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.communicate()


def _set_up(enter: Sequence[str], address: str, peer: str, congestion_control: str) -> None:
    # Let the loopback device be no more than 127.0.0.1, and the line carry the rest of the range.
    subprocess.run([*enter, "sh", "-c", f"echo 1 > /proc/sys/net/ipv4/conf/{DEVICE}/route_localnet"], check=True)
    for arguments in (
        ["link", "set", "lo", "up"],
        ["addr", "del", "127.0.0.1/8", "dev", "lo"],
        ["addr", "add", "127.0.0.1/32", "dev", "lo"],
        ["addr", "add", address, "peer", peer, "dev", DEVICE],
        # What is dropped is dropped by the bottleneck, not by the device before it.
        ["link", "set", DEVICE, "mtu", str(MTU_BYTES), "txqueuelen", "20000", "up"],
        # By route: a namespace may choose only among what the machine allows for all of it.
        ["route", "change", peer, "dev", DEVICE, "src", address, "congctl", congestion_control],
    ):
        subprocess.run([*enter, "ip", *arguments], check=True)
    # No connection profits from what an earlier one learned of the line.
    subprocess.run([*enter, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/tcp_no_metrics_save"], check=True)


# -- proving the line ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proof:
    """What the line did, beside what it should.

    Attributes
    ----------
    goodput
        TCP payload over what the rate leaves for payload.
    counted
        What one connection received, over what the line counted of it: payload and headers.
    queued_ms
        Round trip while eight connections fill the queue; `should_queue_ms` if it is full.
    """

    megabits: float
    round_trip_ms: float
    goodput: float
    counted: float
    goodput_of_eight: float
    queued_ms: float
    should_queue_ms: float
    dropped: int


def prove(network: Network, line: Line, seconds: float) -> Proof:
    """Measure round trip and rate, idle and with eight connections."""
    enter, port, pings = network.far.enter, 5001, 5002
    server = [*enter, sys.executable, "-m", "bench.network", "--serve", FAR_ADDRESS]
    with _helper(server):
        network.shape(line)
        idle = statistics.median(_ping(pings, 20))
        before = network.traffic()
        one, received = _pull(port, 1, seconds)
        counted = network.traffic().since(before).down.bytes
        before = network.traffic()
        result: list[tuple[float, int]] = []
        load = threading.Thread(target=lambda: result.append(_pull(port, 8, seconds + 1)))
        load.start()
        time.sleep(min(2.0, seconds / 2))  # past slow start
        queued = _ping(pings, int(seconds * 4), pause_s=0.1)
        load.join()
        dropped = network.traffic().since(before).down.dropped
    payload = line.rate_bits_s * PAYLOAD_SHARE
    return Proof(
        line.rate_bits_s / _MEGABIT,
        idle * 1e3,
        one / payload,
        received / counted,
        result[0][0] / payload,
        statistics.median(queued) * 1e3,
        (line.round_trip_s + line.queue_s) * 1e3,
        dropped,
    )


def _ping(port: int, times: int, pause_s: float = 0.0) -> list[float]:
    taken = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((FAR_ADDRESS, port))
        sock.settimeout(2)
        for _ in range(times):
            start = time.perf_counter()
            sock.send(b"?")
            with contextlib.suppress(TimeoutError):  # dropped at a full queue, like any packet
                sock.recv(16)
                taken.append(time.perf_counter() - start)
            time.sleep(pause_s)
    return taken


def _pull(port: int, connections: int, seconds: float) -> tuple[float, int]:
    """Receive over so many connections; return the bits per second after the first fifth of the time, and all bytes."""
    received, early = [0] * connections, [0] * connections
    start = time.perf_counter()
    counted_from, until = start + seconds / 5, start + seconds

    def pull(number: int) -> None:
        with socket.create_connection((FAR_ADDRESS, port)) as sock:
            sock.settimeout(seconds)
            while (now := time.perf_counter()) < until:
                size = len(sock.recv(1 << 18))
                received[number] += size
                early[number] += size if now < counted_from else 0

    threads = [threading.Thread(target=pull, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (sum(received) - sum(early)) * 8 / (until - counted_from), sum(received)


def serve(address: str) -> None:
    """Send zeros to whoever connects, and datagrams back, until stdin ends."""
    listener = socket.create_server((address, 5001))
    echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    echo.bind((address, 5002))

    def send(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while True:
                connection.sendall(bytes(1 << 16))

    def accept() -> None:
        while True:
            threading.Thread(target=send, args=(listener.accept()[0],), daemon=True).start()

    def answer() -> None:
        while True:
            data, sender = echo.recvfrom(64)
            echo.sendto(data, sender)

    for work in (accept, answer):
        threading.Thread(target=work, daemon=True).start()
    print("{}", flush=True)
    sys.stdin.read()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return 0
    move_in("bench.network")
    with two_sites() as network:
        proofs = [prove(network, Line(rate * _MEGABIT, 0.04), options.seconds) for rate in (50, 10)]
    if options.json:
        print(json.dumps([asdict(proof) for proof in proofs]))
        return 0
    for proof in proofs:
        print(
            f"{proof.megabits:g} Mbit/s: round trip {proof.round_trip_ms:.1f} ms idle; "
            f"goodput {proof.goodput:.1%} of what the rate leaves, {proof.goodput_of_eight:.1%} with eight connections "
            f"which see {proof.queued_ms:.0f} ms (full queue: {proof.should_queue_ms:.0f} ms) and {proof.dropped} drops"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
