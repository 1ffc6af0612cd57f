"""What every test may ask for: the command in a subprocess, the testdata, real tools, a private Docker engine."""

from __future__ import annotations

import gc
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from support.inside import run_inside

settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell lets what it starts in the background ignore SIGINT, which every process of the tests would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Result:
    """How one run of ocitool ended."""

    args: tuple[str, ...]
    code: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode("utf-8", "surrogateescape")

    @property
    def err(self) -> str:
        return self.stderr.decode("utf-8", "surrogateescape")

    def json(self) -> Any:
        try:
            return json.loads(self.stdout)
        except ValueError:
            raise AssertionError(f"no JSON on standard output of {self}") from None

    def __str__(self) -> str:
        return f"ocitool {' '.join(self.args)}: exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def pytest_collection_finish() -> None:
    """The garbage collector leaves out what is there after collection: the thousands of tests, which stay to the end."""
    gc.freeze()


@pytest.fixture(autouse=True)
def no_credentials() -> Iterator[None]:
    """What a test has the process know as a credential is not replaced in what the next one prints."""
    yield
    if (credentials := sys.modules.get("ocitool.credentials")) is not None:
        credentials.forget()


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of real images."""
    return ROOT / "testdata"


_NUMBERS = itertools.count()


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As pytest's own, but numbered by a counter: pytest lists the directories of all earlier tests to find a free number,
    which takes 8 ms after 12,000 of them."""
    return _numbered(tmp_path_factory, re.sub(r"\W", "_", request.node.name)[:26])


def _numbered(factory: pytest.TempPathFactory, name: str) -> Path:
    path = factory.getbasetemp() / f"{name}{next(_NUMBERS)}"
    path.mkdir(0o700, parents=True)
    return path


@pytest.fixture
def ocitool(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """Runs the command: `ocitool("ls", path, stdin=b"", cwd=..., env={...}, timeout=120)`. One cache for one test.

    An `env` value of None takes that variable away. Standard input is empty unless given.
    """
    cache = _numbered(tmp_path_factory, "caches/")

    def run(
        *args: str | os.PathLike[str],
        stdin: bytes = b"",
        cwd: str | os.PathLike[str] | None = None,
        env: dict[str, str | None] | None = None,
        timeout: float = 120,
    ) -> Result:
        words = tuple(os.fspath(arg) for arg in args)
        wanted = {**os.environ, "OCITOOL_CACHE_DIR": str(cache), **(env or {})}
        done = subprocess.run(
            [sys.executable, "-m", "ocitool", *words],
            input=stdin,
            capture_output=True,
            cwd=cwd,
            env={name: value for name, value in wanted.items() if value is not None},
            timeout=timeout,
        )
        return Result(words, done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def inside(ocitool: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """As `ocitool`, in this process: for tests that ask hundreds of questions, each of which would cost the start of a Python.
    What reads or writes an archive as a stream is a process after all."""
    cache = _numbered(tmp_path_factory, "caches/")

    def run(*args: str | os.PathLike[str], **how: Any) -> Result:
        if how.get("stdin") or "-" in args:
            return ocitool(*args, **how)
        words = tuple(os.fspath(arg) for arg in args)
        env = {"OCITOOL_CACHE_DIR": str(cache), **(how.get("env") or {})}
        return Result(words, *run_inside(words, env, how.get("cwd")))

    return run


def _need(*tools: str) -> str:
    missing = [tool for tool in tools if (os.geteuid() != 0 if tool == "root" else shutil.which(tool) is None)]
    if missing:
        reason = f"needs {', '.join(missing)}"
        if os.environ.get("OCITOOL_REQUIRE_TOOLS") == "1":
            pytest.fail(f"{reason} (OCITOOL_REQUIRE_TOOLS=1)", pytrace=False)
        pytest.skip(reason)
    return tools[0]


@pytest.fixture(scope="session")
def need() -> Callable[..., str]:
    """`need("skopeo")` skips where a tool is missing, and fails with OCITOOL_REQUIRE_TOOLS=1; "root" is one as well.

    It returns the first tool, to be the first word of a command.
    """
    return _need


class Engine:
    """A Docker engine of the tests' own. Calling it runs the docker client: `engine("load", "-i", path)`."""

    def __init__(
        self, host: str, command: Sequence[str] = (), log: Path | None = None, programs: Path | None = None
    ) -> None:  # fmt: skip
        self.host = host
        self._command, self._log = command, log
        self._path = os.pathsep.join([*([str(programs)] if programs else []), os.environ["PATH"]])
        self._daemon: subprocess.Popen[bytes] | None = None
        self.env = {**os.environ, "DOCKER_API_VERSION": "1.41", "DOCKER_HOST": host}
        self.env.pop("DOCKER_CONTEXT", None)

    def __call__(
        self, *args: str | os.PathLike[str], stdin: bytes | None = None, check: bool = True, timeout: float = 300
    ) -> subprocess.CompletedProcess[bytes]:
        """The finished process, output captured; with `check` a failure of the client fails the test."""
        command: Sequence[str | os.PathLike[str]] = ["docker", "-H", self.host, *args]
        feed: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        done = subprocess.run(command, capture_output=True, env=self.env, timeout=timeout, **feed)
        if check and done.returncode:
            pytest.fail(f"{command}: exit {done.returncode}\n{done.stderr.decode(errors='replace')}", pytrace=False)
        return done

    def start(self) -> None:
        """Starts its daemon, again too. Raises `NoEngine`."""
        assert self._log is not None
        with open(self._log, "ab") as log:
            daemon = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "PATH": self._path},
            )  # fmt: skip
        self._daemon = daemon
        deadline = time.monotonic() + 60
        while self("version", check=False).returncode:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise NoEngine(self._log.read_text(errors="replace")[-2000:])
            time.sleep(0.2)

    def kill(self) -> None:
        """Ends its daemon, and the containerd that it started, in the middle of what they do."""
        assert self._daemon is not None and self._log is not None
        self._daemon.kill()
        self._daemon.wait()
        state = self._log.parent / "exec"
        with suppress(OSError, ValueError):
            os.kill(int((state / "containerd/containerd.pid").read_text()), signal.SIGKILL)
        shutil.rmtree(state, ignore_errors=True)  # as after a start of the machine: else it waits for the process id to vanish
        # It has mounted the directory of its images on itself, which only itself would undo.
        subprocess.run(["umount", self._log.parent / "data"], capture_output=True)

    def stop(self) -> None:
        """Ends its daemon, if there is one."""
        if self._daemon is None:
            return
        self._daemon.terminate()
        try:
            self._daemon.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def private_engine(
    driver: str | None, parent: str, *options: str, data: Path | None = None, programs: Path | None = None
) -> Iterator[Engine]:
    """A private dockerd on a Unix socket, without a network; it ends, by its own process id, with the context. `driver`: None
    for its own choice. `data`: where it keeps images, if not in its temporary directory. `programs`: the directory of another
    dockerd and what it starts than those on PATH."""
    # A socket's path has at most 107 bytes, so not under pytest's own temporary directory.
    base = Path(tempfile.mkdtemp(prefix="oci-", dir=parent))
    host = f"unix://{base}/d.sock"
    command = [str(programs / "dockerd") if programs else "dockerd", "--iptables=false", "--bridge=none"]
    command += [f"--storage-driver={driver}"] if driver else []
    command += [
        f"--data-root={data or base / 'data'}",
        f"--exec-root={base}/exec",
        f"--pidfile={base}/pid",
        "-H",
        host,
        *options,
    ]
    engine = Engine(host, command, base / "log", programs)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(base, ignore_errors=True)


class NoEngine(Exception):
    """The end of the log of an engine that did not start."""


@contextmanager
def _engine_of_a_test(*options: str, data: Path | None = None) -> Iterator[Engine]:
    _need("dockerd", "docker", "root")
    try:
        with private_engine("vfs", "/tmp", *options, data=data) as engine:
            yield engine
    except NoEngine as error:
        pytest.fail(f"dockerd did not start:\n{error}", pytrace=False)


@pytest.fixture(scope="session")
def new_engine() -> Callable[..., AbstractContextManager[Engine]]:
    """`with new_engine("--tlsverify", ..., data=PATH) as engine:` is an engine of one test's own, with further options of
    dockerd and the directory of its images."""
    return _engine_of_a_test


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    """An engine that keeps each layer as a whole directory (vfs), which every file system can."""
    with _engine_of_a_test() as engine:
        yield engine


@pytest.fixture(scope="session")
def overlay_engine() -> Iterator[Engine]:
    """An engine that stacks layers (overlay2), where a file system can carry that: not overlayfs itself, so tmpfs is tried."""
    _need("dockerd", "docker", "root")
    with ExitStack() as stack:
        refused = []
        for parent in ("/tmp", "/dev/shm"):
            try:
                engine = stack.enter_context(private_engine("overlay2", parent))
            except (NoEngine, OSError) as error:
                refused.append(f"{parent}: {error}")
                continue
            break
        else:
            reason = "dockerd did not start with overlay2:\n" + "\n".join(refused)
            if os.environ.get("OCITOOL_REQUIRE_TOOLS") == "1":
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
        yield engine
