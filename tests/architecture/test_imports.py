"""The house rules, read from every module with `ast`: who may import whom, who may print, exit or start threads, and who may
wait: for what, and holding what.

Each rule is a checker: modules in, breaches out. `test_the_code_keeps` runs it on ocitool, `test_it_can_fail` shows
it a made-up breach.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from support.images import image, layer_tar
from support.registries import put_images
from support.registry import BlobServer, ScriptedRegistry

ROOT = Path(__file__).resolve().parents[2]

LEVELS: tuple[frozenset[str], ...] = (
    frozenset(
        {
            "task",
            "allocation",
            "progress",
            "processes",
            "shared_counts",
            "interrupts",
            "signals",
            "atomic",
            "blob",
            "byte_sizes",
            "digest",
            "directories",
            "reference",
            "limits",
            "globs",
            "errors",
            "masking",
            "patterns",
            "volatile",
            "credentials",
        }
    ),
    frozenset({"spec"}),
    frozenset({"layers"}),
    frozenset({"transports"}),
    frozenset({"images"}),
    frozenset({"trees"}),
    frozenset({"packages", "policy"}),
    frozenset({"disk", "pipeline"}),
    frozenset({"comparison", "validation"}),
    frozenset({"operations"}),
    frozenset({"dedupe", "containers", "volumes"}),
    frozenset({"report"}),  # draws what operations return, so it may import their types; never the other way
    frozenset({"api"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
"""From the lowest up: a module imports its own level and those below. `ocitool` itself names what is public, and imports it
when it is asked for."""

LEVEL = {part: number for number, parts in enumerate(LEVELS) for part in parts}

OWNERS: dict[str, tuple[str, ...]] = {
    "oras": ("ocitool.transports.registry",),
    "docker": ("ocitool.transports.engine",),
    "jsonschema": ("ocitool.spec",),
    "referencing": ("ocitool.spec",),
    "typer": ("ocitool.cli",),
    "click": ("ocitool.cli",),
    "rich": ("ocitool.report", "ocitool.cli"),
    "distributed": ("ocitool.dedupe",),
    "pyarrow": ("ocitool.dedupe",),
    "packageurl": ("ocitool.packages",),
    "packaging": ("ocitool.packages",),
    "yaml": ("ocitool.policy",),
    "tomlkit": ("ocitool.policy",),
}
"""Library -> the only modules or packages that may import it."""

HEAVY = frozenset(
    {
        "oras",
        "jsonschema",
        "referencing",
        "docker",
        "zstandard",
        "rich",
        "requests",
        "urllib3",
        "isal",
        "distributed",
        "pyarrow",
        "packageurl",
        "packaging",
        "yaml",
        "tomlkit",
    }
)
"""Libraries that are imported in the function that uses them, so that quick commands start quickly."""

LATE = frozenset(
    f"ocitool.transports.registry.{name}"
    for name in (
        "auth",
        "blobs",
        "client",
        "endpoint",
        "http.connections",
        "http.connector",
        "http.http1",
        "http.proxy_connections",
        "http.response_bodies",
        "http.trust",
        "lists",
        "mounting",
        "ranges",
        "sink",
        "source",
        "tags",
    )
) | {f"ocitool.transports.engine.{name}" for name in ("client", "description", "images", "sink", "ssh", "unix")}
"""Modules about a heavy library, which they import at their top: they are imported in functions, and by each other."""

MAKERS = {
    **dict.fromkeys(("ThreadPoolExecutor", "Thread", "Timer", "start_new_thread", "_thread", "asyncio"), "ocitool.task"),
    **dict.fromkeys(("ProcessPoolExecutor", "multiprocessing"), "ocitool.processes"),
}
"""What makes threads and processes -> the only module that may use it."""

Modules = Mapping[str, ast.Module]
Checker = Callable[[Modules], list[str]]


class Import(NamedTuple):
    """One import in `module`: the module it names in full, the name taken from it if any, and where it stands."""

    module: str
    target: str
    name: str | None
    line: int
    inside: bool  # in a function
    typing: bool  # under `if TYPE_CHECKING:`


def read(folder: Path) -> dict[str, ast.Module]:
    modules = {}
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = ast.parse(file.read_text("utf-8"), str(file))
    return modules


def parse(**sources: str) -> dict[str, ast.Module]:
    """Made-up modules: `parse(spec__schema="import rich")` is ocitool.spec.schema; `ocitool` itself is always there."""
    made = {"ocitool": ast.parse("")}
    for name, source in sources.items():
        made["ocitool." + (name if name == "__main__" else name.replace("__", "."))] = ast.parse(source)
    return made


def imports(modules: Modules) -> Iterator[Import]:
    """Every import, at module level or not. `from package import module` names the module."""
    for name, tree in modules.items():
        package = name if any(other.startswith(name + ".") for other in modules) else name.rpartition(".")[0]

        def walk(node: ast.AST, inside: bool, typing: bool, name: str = name, package: str = package) -> Iterator[Import]:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(name, alias.name, None, node.lineno, inside, typing)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    above = package.split(".")[: len(package.split(".")) - node.level + 1]
                    base = ".".join([*above, base] if base else above)
                for alias in node.names:
                    if f"{base}.{alias.name}" in modules:
                        yield Import(name, f"{base}.{alias.name}", None, node.lineno, inside, typing)
                    else:
                        yield Import(name, base, alias.name, node.lineno, inside, typing)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                for child in node.body:
                    yield from walk(child, inside, True)
                for child in node.orelse:
                    yield from walk(child, inside, typing)
            else:
                deeper = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                for child in ast.iter_child_nodes(node):
                    yield from walk(child, deeper, typing)

        yield from walk(tree, False, False)


def within(module: str, *places: str) -> bool:
    return any(module == place or module.startswith(place + ".") for place in places)


def part_of(module: str) -> str:
    """`spec` of ocitool.spec.schema, "" of ocitool itself."""
    return module.split(".")[1] if "." in module else ""


def upward(modules: Modules) -> list[str]:
    """An import of a higher level; also a module that has no level yet."""
    found = [f"{name} has no place in LEVELS" for name in modules if part_of(name) and part_of(name) not in LEVEL]
    for one in imports(modules):
        source, target = part_of(one.module), part_of(one.target)
        if not within(one.target, "ocitool") or not target or source not in LEVEL:
            continue
        if not source:
            if not one.typing:
                found.append(f"ocitool:{one.line} imports {one.target} before it is asked for")
        elif LEVEL.get(target, len(LEVELS)) > LEVEL[source]:
            found.append(f"{one.module}:{one.line} imports {one.target}, which is above it")
    return found


def strangers(modules: Modules) -> list[str]:
    """A library imported by a module that does not own it."""
    found = []
    for one in imports(modules):
        owners = OWNERS.get(one.target.split(".")[0])
        if owners is not None and not within(one.module, *owners):
            found.append(f"{one.module}:{one.line} imports {one.target}; only {', '.join(owners)} may")
    return found


def heavy(modules: Modules) -> list[str]:
    """A heavy library, or a module that brings one, imported when the module is."""
    return [
        f"{one.module}:{one.line} imports {one.target} outside a function"
        for one in imports(modules)
        if (one.target.split(".")[0] in HEAVY or one.target in LATE)
        and not one.inside
        and not one.typing
        and one.module not in LATE
    ]


def speaking(modules: Modules) -> list[str]:
    """print, exit and their likes outside cli and report, and signals, which end the program before and after those two."""
    banned = {"print", "exit", "quit", "sys.exit", "os._exit", "os.abort", "SystemExit"}
    found = []
    for module, tree in modules.items():
        if within(module, "ocitool.cli", "ocitool.report", "ocitool.signals"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in banned:
                found.append(f"{module}:{node.lineno} calls {ast.unparse(node.func)}")
            elif isinstance(node, ast.Raise) and node.exc is not None and ast.unparse(node.exc) == "SystemExit":
                found.append(f"{module}:{node.lineno} raises SystemExit")
    for one in imports(modules):
        if within(one.module, "ocitool.cli", "ocitool.report", "ocitool.signals"):
            continue
        if (one.target, one.name) in {("sys", "exit"), ("os", "_exit"), ("os", "abort")}:
            found.append(f"{one.module}:{one.line} imports {one.target}.{one.name}")
    return found


def threads(modules: Modules) -> list[str]:
    """A pool or thread made outside task.py, or a process outside processes.py."""
    found = []
    for one in imports(modules):
        for name in (one.name, one.target.split(".")[0]):
            if not one.typing and MAKERS.get(name or "", one.module) != one.module:
                found.append(f"{one.module}:{one.line} imports {name}")
    for module, tree in modules.items():
        found += [
            f"{module}:{node.lineno} uses {ast.unparse(node)}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and MAKERS.get(node.attr, module) != module
        ]
    return found


def circles(modules: Modules) -> list[str]:
    """Modules that import each other in the end; an import inside a function counts, one for types does not."""
    edges: dict[str, list[str]] = {name: [] for name in modules}
    for one in imports(modules):
        if one.target in modules and one.target != one.module and not one.typing:
            edges[one.module].append(one.target)
    found, done = [], set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for target in edges[name]:
                visit(target, [*path, name])
            done.add(name)

    for name in modules:
        visit(name, [])
    return found


WAITS = frozenset({"wait", "wait_for", "acquire", "result", "as_completed", "lockf", "sleep"})
"""What a thread may stand still in, for longer than anybody has patience; `join` is told by what it takes."""

LONG = WAITS | frozenset(
    {"open", "read", "pread", "chunks", "request", "fetched", "document", "send", "recv", "connect", "urlopen", "blob", "map",
     "spread", "submit", "pause", "notice", "within", "flock", "stat", "listdir", "scandir", "of"}
)  # fmt: skip
"""What may take as long as a disk, a network or another thread does."""

BRIEF = frozenset({"ocitool.cli.progress", "ocitool.disk.staged_files"})
"""Modules that may print a line, or count what runs, under their lock."""


def calls(node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call in it, by the last part of what is called."""
    for one in ast.walk(node):
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name | ast.Attribute):
            yield one.func.id if isinstance(one.func, ast.Name) else one.func.attr, one


def lazy(modules: Modules) -> list[str]:
    """A `cached_property` that may read or wait: until Python 3.12 all threads wait for it, whatever object they ask. Only
    documents have them, of what is in memory."""
    found = []
    for module, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and any("cached_property" in ast.unparse(one) for one in node.decorator_list):
                if not within(module, "ocitool.spec"):
                    found.append(f"{module}:{node.lineno} {node.name} is a cached_property, and no document's")
                long = (call for name, call in calls(node) if name in LONG and ast.unparse(call.func) != "Digest.of")
                found += [f"{module}:{call.lineno} {node.name} calls {ast.unparse(call.func)}" for call in long]
    return found


def waits(modules: Modules) -> list[str]:
    """Waiting without end outside task.py, where all of it looks in steps whether the task is over, and outside processes.py,
    which waits for the ends of processes."""
    found = []
    for module, tree in modules.items():
        if module in MAKERS.values():
            continue
        waited = [call for name, call in calls(tree) if name in WAITS and not _bounded(name, call)]
        for name, call in calls(tree):
            if name == "flock" and not re.search("LOCK_(NB|UN)", ast.unparse(call)) and "fcntl" in ast.unparse(call.func):
                waited.append(call)
            elif name == "join" and isinstance(call.func, ast.Attribute) and not call.args and not call.keywords:
                waited.append(call)  # of a thread
            elif name == "run" and "subprocess" in ast.unparse(call.func) and not _bounded(name, call):
                waited.append(call)
        found += [f"{module}:{call.lineno} waits in {ast.unparse(call.func)}" for call in waited]
    return found + [f"{one.module}:{one.line} imports a queue" for one in imports(modules)
                    if one.module != "ocitool.task" and one.target in ("queue", "multiprocessing.queues")]  # fmt: skip


def _bounded(name: str, call: ast.Call) -> bool:
    """Whether it says how long it waits, as a step of a loop does."""
    if any(one.arg == "timeout" for one in call.keywords):
        return True
    if name == "sleep":
        return bool(call.args)
    return name in ("wait", "result") and bool(call.args) and isinstance(call.func, ast.Attribute)


def locked(modules: Modules) -> list[str]:
    """Something that may take long, done while a mutex is held: what wants it can neither wait in steps nor end."""
    found = []
    for module, tree in modules.items():
        names = {
            ast.unparse(target)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if re.search(r"\b(Lock|RLock|Condition|Semaphore)\(", ast.unparse(node.value))
        }
        for node in ast.walk(tree):
            if module in BRIEF or not isinstance(node, ast.With):
                continue
            if names.intersection(ast.unparse(item.context_expr) for item in node.items):
                body = ast.Module(node.body, [])
                found += [f"{module}:{call.lineno} calls {name} under a lock" for name, call in calls(body) if name in LONG]
    return found


NAMING = {
    **dict.fromkeys(("rename", "replace"), ("src_dir_fd", "dst_dir_fd")),
    "link": ("dst_dir_fd",), "chmod": ("dir_fd",), "chown": ("dir_fd",),
    **dict.fromkeys(("unlink", "rmdir", "mkdir", "symlink", "mknod", "mkfifo", "rmtree"), ("dir_fd",)),
}  # fmt: skip
"""Calls of `os` and `shutil` that change what a name means -> the arguments that say in which directory."""

BY_PATH = frozenset({"remove", "makedirs", "removedirs", "renames", "move", "copy", "copyfile", "copytree", "truncate"})
"""Those that take paths only."""

PARENTS = frozenset({"ocitool.directories", "ocitool.transports.registry.keychain", "ocitool.dedupe.export"})
"""Modules that make the directories above what the user named."""


def by_path(modules: Modules) -> list[str]:
    """A name that is made, changed or removed by a path, which may lead elsewhere than when it was looked at: it is to be
    looked up in a directory that is held (`ocitool.directories`)."""
    found = []
    for module, tree in modules.items():
        for name, call in calls(tree):
            owner = ast.unparse(call.func).rpartition(".")[0]
            words = {one.arg for one in call.keywords}
            text = ast.unparse(call)
            if owner in ("os", "shutil"):
                held = "/proc/self/fd/" in text and name == "chmod"
                wrong = name in BY_PATH and not (name == "makedirs" and module in PARENTS)
                wrong = wrong or (not held and not words >= set(NAMING.get(name, ())))
                wrong = wrong or (name == "open" and "dir_fd" not in words and bool(re.search("O_(CREAT|WRONLY|RDWR)", text)))
            else:
                mode = "".join(one.value for one in (*call.args[1:2], *(k.value for k in call.keywords if k.arg == "mode"))
                               if isinstance(one, ast.Constant) and isinstance(one.value, str))  # fmt: skip
                wrong = not owner and name == "open" and bool(set(mode) & set("wax+"))
            if wrong and not within(module, "ocitool.cli"):  # which opens nothing but /dev/null
                found.append(f"{module}:{call.lineno} calls {ast.unparse(call.func)} by a path")
    return found


def doubled(modules: Modules) -> list[str]:
    """A public class whose name another module's class has: what one reads of it would hold for which?"""
    homes: dict[str, list[str]] = {}
    for module, tree in modules.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    return [f"{name} is a class of {' and of '.join(places)}" for name, places in homes.items() if len(places) > 1]


def aliased(modules: Modules) -> list[str]:
    """A module of ours that is imported under another name: it is to be named so that nothing else has its name."""
    found = []
    for module, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names = [(f"{node.module}.{one.name}", one) for one in node.names]
            elif isinstance(node, ast.Import):
                names = [(one.name, one) for one in node.names]
            else:
                continue
            found += [f"{module}:{node.lineno} imports {name} as {one.asname}" for name, one in names
                      if one.asname is not None and name in modules]  # fmt: skip
    return found


CHECKERS: tuple[Checker, ...] = (
    upward, strangers, heavy, speaking, threads, circles, lazy, waits, locked, by_path, doubled, aliased,
)  # fmt: skip

BREACHES: tuple[tuple[Checker, dict[str, str]], ...] = (
    (upward, {"spec__manifest": "from ocitool.layers import tar", "layers": ""}),
    (upward, {"spec__manifest": "def f():\n  import ocitool.layers.tar"}),
    (upward, {"errors": "from .cli import app"}),
    (upward, {"layers__tar": "from ..images.tree import Tree"}),
    (upward, {"images__tree": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  import ocitool.report"}),
    (upward, {"operations__ls": "from ocitool import report", "report": ""}),
    (upward, {"digest": "from ocitool import spec", "spec": ""}),
    (upward, {"cli": "import ocitool.__main__"}),
    (upward, {"cli": "import ocitool.nowhere"}),
    (upward, {"helpers": ""}),
    (upward, {"spec__manifest": "from ocitool.api import reading", "api__reading": ""}),
    (upward, {"api__reading": "from ocitool import cli", "cli": ""}),
    (strangers, {"transports__archive": "import oras.client"}),
    (strangers, {"transports__registryish": "import oras"}),
    (strangers, {"operations__validate": "def f():\n  from jsonschema import validate"}),
    (strangers, {"report__text": "import typer"}),
    (strangers, {"operations__ls": "from rich.table import Table"}),
    (heavy, {"report__text": "from rich.table import Table"}),
    (heavy, {"layers__codec": "try:\n  import zstandard\nexcept ImportError:\n  pass"}),
    (heavy, {"layers__codec": "class A:\n  import docker"}),
    (heavy, {"transports__registry__keychain": "import requests"}),
    (heavy, {"transports__opening": "from ocitool.transports.registry import source", "transports__registry__source": ""}),
    (speaking, {"operations__ls": "def f():\n  print('x')"}),
    (speaking, {"layers__tar": "import sys\nsys.exit(1)"}),
    (speaking, {"layers__tar": "import os\nos._exit(1)"}),
    (speaking, {"layers__tar": "from sys import exit as leave"}),
    (speaking, {"layers__tar": "raise SystemExit"}),
    (speaking, {"layers__tar": "raise SystemExit(3)"}),
    (threads, {"layers__scan": "def f():\n  from concurrent.futures import ThreadPoolExecutor"}),
    (threads, {"layers__scan": "import threading\nthreading.Thread(target=f).start()"}),
    (threads, {"layers__scan": "import concurrent.futures as c\nc.ProcessPoolExecutor()"}),
    (threads, {"layers__scan": "import multiprocessing.pool"}),
    (threads, {"processes": "from threading import Thread"}),
    (threads, {"task": "from concurrent.futures import ProcessPoolExecutor"}),
    (circles, {"spec__a": "from ocitool.spec import b", "spec__b": "def f():\n  from ocitool.spec.a import x"}),
    (circles, {"spec": "from ocitool.spec.a import x", "spec__a": "from ocitool.spec import y"}),
    (lazy, {"images__select": "class A:\n  @cached_property\n  def found(self):\n    return 1"}),
    (lazy, {"images__select": "class A:\n  @functools.cached_property\n  def found(self):\n    return self._known"}),
    (lazy, {"spec__manifest": "class A:\n  @cached_property\n  def size(self):\n    return self.source.blob(self)"}),
    (lazy, {"spec__manifest": "class A:\n  @cached_property\n  def first(self):\n    return open(self.path)"}),
    (doubled, {"spec__manifest": "class Layer: ...", "images__image": "class Layer: ..."}),
    (aliased, {"images__drafts": "", "operations__edit": "def f():\n  from ocitool.images import drafts as d"}),
    (aliased, {"images__drafts": "", "operations__edit": "import ocitool.images.drafts as drafts"}),
    (waits, {"operations__ls": "def f(event):\n  event.wait()"}),
    (waits, {"operations__ls": "def f(lock):\n  lock.acquire()"}),
    (waits, {"operations__ls": "def f(future):\n  return future.result()"}),
    (waits, {"operations__ls": "from queue import Queue"}),
    (waits, {"operations__ls": "def f(thread):\n  thread.join()"}),
    (waits, {"operations__ls": "def f(condition, g):\n  condition.wait_for(g)"}),
    (waits, {"operations__ls": "def f(many):\n  wait(many, return_when=FIRST_COMPLETED)"}),
    (waits, {"operations__ls": "def f(many):\n  for one in as_completed(many):\n    pass"}),
    (waits, {"transports__layout": "def f(number):\n  fcntl.flock(number, fcntl.LOCK_EX)"}),
    (waits, {"transports__layout": "def f(words):\n  subprocess.run(words)"}),
    (by_path, {"transports__a": "os.unlink(path)"}),
    (by_path, {"transports__a": "os.replace(made, path)"}),
    (by_path, {"transports__a": "os.rename(made, name, src_dir_fd=at)"}),
    (by_path, {"transports__a": "os.makedirs(path, exist_ok=True)"}),
    (by_path, {"transports__a": "os.open(path, os.O_WRONLY | os.O_CLOEXEC)"}),
    (by_path, {"transports__a": "with open(path, 'ab') as file:\n  pass"}),
    (by_path, {"transports__a": "shutil.rmtree(path, ignore_errors=True)"}),
    (
        locked,
        {
            "transports__a": "class A:\n  def __init__(self):\n    self._mine = Lock()\n"
            "  def f(self):\n    with self._mine:\n      return self.client.request(1)"
        },
    ),
    (locked, {"transports__a": "guard: Lock = threading.Lock()\ndef f():\n  with guard:\n    open('x')"}),
    (
        locked,
        {
            "transports__a": "class A:\n  def __init__(self):\n    self._mine = RLock()\n"
            "  def f(self):\n    with self._mine, x:\n      if 1:\n        self.task.map(g, [])"
        },
    ),
)

ALLOWED: tuple[dict[str, str], ...] = (
    {"task": "from ocitool.errors import CancelledError", "errors": ""},
    {"report__text": "from ocitool.operations.ls import Listing\ndef f():\n  import rich.table", "operations__ls": ""},
    {"transports__registry": "def f():\n  import oras.client"},
    {
        "transports__registry__client": "from oras import auth",
        "transports__registry__source": "import ocitool.transports.registry.client",
    },
    {"transports__opening": "def f():\n  from ocitool.transports.registry import source", "transports__registry__source": ""},
    {"spec__a": "from ocitool.spec import b", "spec__b": "", "spec": ""},
    {"cli": "import sys, typer\nfrom ocitool import __version__\nprint(1)\nsys.exit(2)"},
    {"__main__": "from ocitool.cli import main\nmain()", "cli": ""},
    {"layers__scan": "from threading import Event, Lock\ndef f(tar):\n  tar.print()\n  tar.exit()"},
    {"layers__a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  from concurrent.futures import Executor, Future"},
    {"spec__a": "class A:\n  @cached_property\n  def digest(self):\n    return Digest.of(self.raw)"},
    {"task": "from threading import Thread\ndef f(event, future):\n  event.wait()\n  future.result()"},
    {"processes": "from multiprocessing import parent_process\nparent_process().join()"},
    {
        "layers__a": "def f(event, names, known, process):\n  event.wait(0.1)\n  ', '.join(names)\n  known.get('x')\n"
        "  process.communicate(timeout=1)\n  fcntl.flock(1, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    },
    {"layers__a": "lock = Lock()\ndef f(known):\n  with lock:\n    known.add(1)\n  return open('x')"},
    {
        "layers__a": "os.unlink(name, dir_fd=at)\nos.rename(a, b, src_dir_fd=at, dst_dir_fd=at)\n"
        "open(path, 'rb')\nself.replace(a, b)"
    },
    {"layers__a": "import typing\nif typing.TYPE_CHECKING:\n  import zstandard\nelse:\n  import zlib"},
)


@pytest.mark.parametrize("checker", CHECKERS, ids=lambda checker: checker.__name__)
def test_the_code_keeps(checker: Checker) -> None:
    modules = read(ROOT / "ocitool")
    assert len(modules) > 10
    assert not checker(modules), f"{checker.__doc__}\n" + "\n".join(checker(modules))


@pytest.mark.parametrize(("checker", "sources"), BREACHES, ids=lambda part: getattr(part, "__name__", None))
def test_it_can_fail(checker: Checker, sources: dict[str, str]) -> None:
    assert checker(parse(**sources))


@pytest.mark.parametrize("sources", ALLOWED, ids=lambda sources: next(iter(sources)))
def test_what_is_allowed_passes(sources: dict[str, str]) -> None:
    assert [breach for checker in CHECKERS for breach in checker(parse(**sources))] == []


def test_every_checker_is_seen_to_fail() -> None:
    assert {checker for checker, _ in BREACHES} == set(CHECKERS)


# ------------------------------------------------------------------------------------------------ start-up

SLOW = ("rich", "jsonschema", "oras", "zstandard", "docker", "requests", "pydantic", "concurrent.futures", "asyncio")


def imported(*args: str) -> set[str]:
    """The modules that one run of ocitool really imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ocitool", *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=60,
    )
    lines = done.stderr.splitlines()
    timed = re.compile(r"import time:\s+\d+ \|\s+\d+ \|\s+(\S+)")
    assert done.returncode == 0, "\n".join(line for line in lines if not line.startswith("import time:"))
    return {match[1] for line in lines if (match := timed.match(line))}


@pytest.mark.parametrize(
    "args",
    [
        ("--version",),
        ("inspect", "--format", "json", "testdata/app-v1.tar"),
        ("inspect", "--format", "json", "testdata/multiarch:arm64"),
        ("inspect", "--format", "json", "testdata/encodings/oci-gzip.tar"),
    ],
    ids=" ".join,
)
def test_a_quick_command_imports_nothing_slow(args: tuple[str, ...]) -> None:
    names = imported(*args)
    assert "typer" in names, "what was imported was not seen"
    assert not sorted(name for name in names if within(name, *SLOW))


NOT_FOR_REQUESTS = ("oras", "requests", "urllib3", "http.client", "email", "jsonschema")
"""What a registry without authorization is asked without."""


def test_a_registry_that_asks_for_no_login_is_asked_without_requests_and_urllib3() -> None:
    with BlobServer(b'{"tags": ["1"]}') as registry:
        names = imported("tags", "--insecure", f"docker://{registry.host}/app")
    assert "ocitool.transports.registry.client" in names, "what was imported was not seen"
    assert not sorted(name for name in names if within(name, *NOT_FOR_REQUESTS))


def test_inspect_pull_and_push_at_a_registry_import_nothing_slow(tmp_path: Path) -> None:
    with ScriptedRegistry() as registry:
        put_images(registry, "app", image([layer_tar([("a", b"a")])]), tag="1")
        name, layout = f"{registry.host}/app:1", str(tmp_path / "layout")
        pull = ("pull", name, f"oci:{layout}")
        for words in (("inspect", f"docker://{name}"), pull, pull, ("push", layout, name)):
            names = imported(words[0], "--insecure", *words[1:])
            assert "ocitool.transports.registry.client" in names, "what was imported was not seen"
            slow = ("rich", "zstandard", "docker", "pydantic", "asyncio", "isal", *NOT_FOR_REQUESTS)
            assert not sorted(one for one in names if within(one, *slow)), words
