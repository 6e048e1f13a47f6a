"""Put a server under load from a process of its own, and tell how long each answer took.

Open loop: requests are sent on schedule, whether or not earlier ones are answered, and an answer's time counts from
when its request was due; a server that stalls is not asked less often for it (coordinated omission). Closed loop: so
many connections, each asking again as soon as it has its answer: the most that the server does.
"""

import asyncio
import contextlib
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import psutil

from tests.bench.api_http import Answer, AnswerLostError, Connections
from tests.bench.api_traffic import Request, Traffic

TIMEOUT_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Phase:
    """A stretch of load: at `rate` requests a second, or by `connections` that ask as fast as they are answered."""

    name: str
    seconds: float
    rate: float = 0.0
    connections: int = 0


@dataclass
class Told:
    """What one phase saw.

    Attributes:
        seconds: How long each right answer took, by kind of request.
        errors: How often what went wrong.
        errors_of: How many errors each kind of request had.
        elapsed_seconds: From the first request that was due to the last answer.
        late_seconds: The longest that a request was sent after it was due: the generator's own fault.
        opened: Connections there were to be opened.
        body_bytes: Of all right answers.
        own_cpu_seconds: Of the generator.
        cpu_seconds: Of each server process that it was to look at, children included.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    errors_of: Counter[str] = field(default_factory=Counter)
    elapsed_seconds: float = 0.0
    late_seconds: float = 0.0
    opened: int = 0
    body_bytes: int = 0
    own_cpu_seconds: float = 0.0
    cpu_seconds: dict[int, float] = field(default_factory=dict)

    @property
    def answered(self) -> int:
        """How many requests had the right answer."""
        return sum(len(taken) for taken in self.seconds.values())


def put_under_load(port: int, traffic: Traffic, phases: list[Phase], pids: list[int]) -> list[Told]:
    """Run the phases one after the other in a new process, and return what each saw.

    Args:
        port: Of the server, on this machine.
        traffic: What is asked.
        phases: How it is asked.
        pids: Processes whose CPU time is to be told.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (port, traffic, phases, pids))


def _run(port: int, traffic: Traffic, phases: list[Phase], pids: list[int]) -> list[Told]:
    return asyncio.run(_phases(port, traffic, phases, pids))


async def _phases(port: int, traffic: Traffic, phases: list[Phase], pids: list[int]) -> list[Told]:
    generator = _Generator(Connections(port), traffic)
    for request in traffic.first():
        await generator.ask(request, time.monotonic())
    if generator.told.errors:
        raise RuntimeError(f"the server does not answer as it should: {generator.told.errors.most_common(3)}")
    told = []
    for phase in phases:
        generator.told = Told()
        with _cpu_counted(generator.told, pids):
            await (generator.open_loop(phase) if phase.rate else generator.closed_loop(phase))
        told.append(generator.told)
    generator.connections.close()
    return told


class _Generator:
    def __init__(self, connections: Connections, traffic: Traffic) -> None:
        self.connections = connections
        self.told = Told()
        self._traffic = traffic

    async def open_loop(self, phase: Phase) -> None:
        started = time.monotonic()
        opened = self.connections.opened
        under_way = []
        for number in range(int(phase.rate * phase.seconds)):
            due = started + number / phase.rate
            await asyncio.sleep(due - time.monotonic())  # also at 0: the answers must be read
            self.told.late_seconds = max(self.told.late_seconds, time.monotonic() - due)
            under_way.append(asyncio.create_task(self.ask(self._traffic.next(), due)))
        await asyncio.gather(*under_way)
        self.told.elapsed_seconds = time.monotonic() - started
        self.told.opened = self.connections.opened - opened

    async def closed_loop(self, phase: Phase) -> None:
        started = time.monotonic()

        async def ask_again_and_again() -> None:
            while (due := time.monotonic()) < started + phase.seconds:
                await self.ask(self._traffic.next(), due)

        await asyncio.gather(*(ask_again_and_again() for _ in range(phase.connections)))
        self.told.elapsed_seconds = time.monotonic() - started

    async def ask(self, request: Request, due: float) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer = await self.connections.ask(request.raw)
        except TimeoutError:
            self._failed(request, f"no answer in {TIMEOUT_SECONDS:.0f} s")
        except (AnswerLostError, OSError) as error:
            self._failed(request, str(error))
        else:
            self._answered(request, answer, time.monotonic() - due)

    def _answered(self, request: Request, answer: Answer, seconds: float) -> None:
        fault = request.fault(answer)
        if fault is not None:
            self._failed(request, fault)
            return
        self.told.body_bytes += len(answer.body)
        self.told.seconds.setdefault(request.kind, []).append(seconds)
        self._traffic.answered(request, answer)

    def _failed(self, request: Request, how: str) -> None:
        self.told.errors[how] += 1
        self.told.errors_of[request.kind] += 1


@contextlib.contextmanager
def _cpu_counted(told: Told, pids: list[int]) -> Iterator[None]:
    own, others = time.process_time(), {pid: cpu_seconds(pid) for pid in pids}
    yield
    told.own_cpu_seconds = time.process_time() - own
    told.cpu_seconds = {pid: cpu_seconds(pid) - before for pid, before in others.items()}


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its children, those that ended included."""
    process = psutil.Process(pid)
    own = process.cpu_times()
    live = [child.cpu_times() for child in process.children(recursive=True)]
    ended = own.children_user + own.children_system
    return own.user + own.system + ended + sum(each.user + each.system for each in live)
