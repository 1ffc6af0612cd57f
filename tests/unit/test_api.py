"""The public API of `ocitool`: each function does what the command of its name does, and leaves nothing behind."""

from __future__ import annotations

import ast
import gc
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from generator import python
from support.registry import ScriptedRegistry

import ocitool
from ocitool import cli, credentials, errors
from ocitool.api import running
from ocitool.cli import access
from ocitool.task import Task

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "testdata"
V1, V2, MULTI = (str(DATA / name) for name in ("app-v1.tar", "app-v2.tar", "multiarch"))
INDEX = f"{MULTI}:latest"

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCITOOL_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path_factory.mktemp("none") / "none.json"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")  # what is made at two moments is the same


def held() -> tuple[set[int | None], int]:
    """The threads of this process, and how many files it has open."""
    gc.collect()
    return {thread.ident for thread in threading.enumerate()}, len(os.listdir("/proc/self/fd"))


# What is public


def typed() -> dict[str, str]:
    """The names that a type checker finds, and the modules that they come from."""
    tree = ast.parse((ROOT / "ocitool" / "__init__.py").read_text("utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ocitool.")]
    return {one.asname or one.name: f"{node.module}:{one.name}" for node in found for one in node.names}


def test_what_is_named_is_typed_and_there() -> None:
    assert {*typed(), "__version__"} == set(ocitool.__all__)
    for name, there in typed().items():
        module, _, own = there.partition(":")
        assert getattr(import_module(module), own) is getattr(ocitool, name), name


def test_dir_names_what_is_public_and_nothing_else_is_found() -> None:
    assert sorted(ocitool.__all__) == dir(ocitool)
    with pytest.raises(AttributeError, match="no attribute 'pull_everything'"):
        ocitool.pull_everything  # type: ignore[attr-defined]  # noqa: B018


def test_every_error_that_can_be_met_is_public() -> None:
    tree = {name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, errors.OcitoolError)}
    assert tree == {name for name in ocitool.__all__ if name.endswith("Error")}


def modules(program: str) -> set[str]:
    script = f"import sys, types; before = set(sys.modules)\n{program}\nprint(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert 0 == done.returncode, done.stderr
    return set(done.stdout.split())


def test_the_import_brings_nothing_with_it() -> None:
    assert {"ocitool"} == modules("import ocitool")


def test_errors_and_values_are_cheap_and_opening_brings_nothing_heavy() -> None:
    brought = {name for name in modules("import ocitool; ocitool.NotFoundError") if name.startswith("ocitool")}
    assert {"ocitool", "ocitool.errors"} == brought
    heavy = {"rich", "typer", "jsonschema", "oras", "urllib3", "zstandard", "concurrent.futures", "asyncio"}
    assert set() == heavy & modules(f"import ocitool; ocitool.open({V1!r}).close()")


def test_a_report_of_one_image_in_json_needs_nothing_that_compares() -> None:
    brought = modules("import ocitool.report.json.inspect")
    assert set() == {name for name in brought if name.startswith(("ocitool.comparison", "ocitool.layers.cache"))}


def test_a_function_is_not_hidden_by_a_package_of_its_name() -> None:
    program = "import ocitool.dedupe.advice, ocitool; assert callable(ocitool.dedupe), ocitool.dedupe; ocitool.dedupe"
    assert "ocitool.api.reading" in modules(program)


def test_the_reference_has_everything_that_is_public() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text("utf-8")
    codes = (ROOT / "docs" / "reference" / "exit-codes.md").read_text("utf-8")
    named = {*re.findall(r"^### (\w+)$", page, re.MULTILINE), *re.findall(r"`(\w+Error)`", page + codes), "__version__"}
    assert set(ocitool.__all__) == named


def test_everything_that_is_public_says_what_it_is() -> None:
    public = {name: getattr(ocitool, name) for name in ocitool.__all__ if name != "__version__" and not name.endswith("Error")}
    assert [] == [name for name, one in public.items() if not one.__doc__ or one.__doc__.startswith(f"{one.__name__}(")]


def test_a_member_of_a_private_type_is_not_promised() -> None:
    assert (True, False) == tuple(python.is_public(one, ocitool.Deduped) for one in ("tuple[Advice, ...]", "Collection"))
    assert "ImageInfo" == python._type("Image", ocitool.Diff), "the image of a result is no image that is open"


# Options: those of the command line, by their names, with their defaults

OF_THE_TERMINAL = {"format", "report", "quiet", "no_color", "debug", "help"}
RUNNING = {"registry", "engine", "progress", "cancellation"}
OF_THE_ENGINE = {"host", "context"}
NOT_HERE = {
    "inspect": {"raw", "digest", "force", "show_secrets"},  # `open` has documents and digest; `render` shows secrets
    "diff": {"stat", "all"},  # of `render`
    "engine_diff": {"stat", "all"},
    "copy": {"from_file"},  # sources are a list
}
ELSEWHERE = {"with_": "supply", "from_": "first", "as_": "form"}
"""Keywords that are words of Python."""


def options(name: str) -> dict[str, Any]:
    """The options of a command as Python names them, with their defaults."""
    first, _, second = name.partition("_")  # `engine_diff` is `ocitool engine diff`
    command: Any = typer.main.get_command(import_module(f"ocitool.cli.{first}").app)
    command = command.commands[second] if second else command
    found = {}
    for one in command.params:
        long = next((word for word in one.opts if word.startswith("--")), None)
        if long is not None:
            word = long.removeprefix("--").replace("-", "_")
            found[word + "_" * (word in ("with", "from", "as"))] = one.default
    ours = OF_THE_TERMINAL | OF_THE_ENGINE | set(access.OPTIONS) | NOT_HERE.get(name, set())
    return {word: default for word, default in found.items() if word not in ours}


OF_ENGINES = tuple(name for name in ocitool.__all__ if name.startswith("engine_"))
COMMANDS = tuple(name for name in cli.COMMANDS if name in ocitool.__all__)


def keywords(name: str) -> dict[str, Any]:
    found = inspect.signature(getattr(ocitool, name)).parameters.values()
    return {one.name: one.default for one in found if one.kind is one.KEYWORD_ONLY}


@pytest.mark.parametrize("name", [*COMMANDS, *OF_ENGINES])
def test_keywords_are_the_options_of_the_command(name: str) -> None:
    apart = {"tags": {"engine"}, "engine_containers": {"registry"}, "engine_df": {"registry"}}.get(name, set())
    assert {*options(name), *RUNNING} - apart == set(keywords(name))


def test_every_command_of_engines_has_its_function() -> None:
    group: Any = typer.main.get_command(import_module("ocitool.cli.engine").app)
    assert {f"engine_{name}" for name in group.commands} == set(OF_ENGINES)


@pytest.mark.parametrize("name", [*COMMANDS, *OF_ENGINES])
def test_defaults_are_those_of_the_command(name: str) -> None:
    """An option that may be repeated has no values then."""
    for word, default in options(name).items():
        own = keywords(name)[word]
        same = getattr(default, "value", default)
        assert own == same or (same in (None, ()) and own in (None, ())), f"{name}({word}={own!r}), --{word}: {same!r}"


def test_every_writing_and_reading_command_has_its_function() -> None:
    in_others = {"ls", "cat", "pull", "push"}  # an image walks and reads, and copy goes to registries and from them
    assert set(cli.COMMANDS) - in_others - {"catalog", "login", "logout", "layout", "engine", "volume"} == set(COMMANDS)


def test_registry_options_are_those_of_the_command() -> None:
    own = {name: default for name, (_, default) in access.OPTIONS.items() if name != "insecure"}
    fields = inspect.signature(ocitool.RegistryOptions).parameters
    assert {name: default or None for name, default in own.items()} == {
        one.name: one.default or None for one in fields.values()
    }


def test_engine_options_are_those_of_the_command() -> None:
    assert OF_THE_ENGINE == set(ocitool.EngineOptions._fields)


def test_one_host_is_one_and_not_its_letters() -> None:
    made = running.access(ocitool.RegistryOptions(insecure_host="localhost:5000", realm=iter(["a.example", "b.example"])))
    assert (True, False, False) == tuple(made.is_insecure(host) for host in ("localhost:5000", "localhost", "5"))
    assert ("a.example", "b.example") == made.realms


# Each function does what its command does


class Call(NamedTuple):
    """A function and a command that are the same. `DEST` stands for where it writes. `place` has what they name."""

    name: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    words: str


CALLS = (
    Call("inspect", (V1,), {}, f"inspect {V1}"),
    Call(
        "inspect", (INDEX,), {"all_platforms": True, "files": True, "top": 2},
        f"inspect {INDEX} --all-platforms --files --top 2",
    ),
    Call("diff", (V1, V2), {}, f"diff {V1} {V2}"),
    Call(
        "diff", (V1, Path(V2)), {"path": "usr/**", "ignore": ["mtime"], "patch": True, "fail_on": ("files", "size:+5%")},
        f"diff {V1} {V2} --path usr/** --ignore mtime -p --fail-on files --fail-on size:+5%",
    ),
    Call("diff", (INDEX, INDEX), {"all_platforms": True}, f"diff {INDEX} {INDEX} --all-platforms"),
    Call("validate", (V1,), {}, f"validate {V1}"),
    Call("validate", (f"{MULTI}/index.json",), {"as_": "index"}, f"validate {MULTI}/index.json --as index"),
    Call("dedupe", ([V1, V2],), {"files": True, "top": 3}, f"dedupe {V1} {V2} --files --top 3"),
    Call("dedupe", (Path(V1),), {}, f"dedupe {V1}"),
    Call("copy", (V1, "DEST"), {}, f"copy {V1} DEST"),
    Call(
        "copy", ([V1, V2], "DEST"), {"compression": "gzip", "omit": "base.tar", "allow_no_match": True},
        f"copy {V1} {V2} DEST --compression gzip --omit base.tar --allow-no-match",
    ),
    Call(
        "copy", (INDEX, "DEST"), {"platform": "linux/arm64", "tag": "app:arm"},
        f"copy {INDEX} DEST --platform linux/arm64 -t app:arm",
    ),
    Call(
        "edit", (V1, "DEST"),
        {"env": ["A=b", "C=d"], "unset_env": "PATH", "user": "1000", "cmd": '["/x"]', "rm": "/etc/group", "drop_layer": -1,
         "created": "@0", "tag": ["x:1", "y:2"]},
        f"""edit {V1} DEST --env A=b --env C=d --unset-env PATH --user 1000 --cmd ["/x"] --rm /etc/group --drop-layer -1
        --created @0 --tag x:1 --tag y:2""",
    ),
    Call(
        "append", (V1, "DEST"), {"layer": "files", "to": "/srv", "owner": "7:8"},
        f"append {V1} DEST --layer files --to /srv --owner 7:8",
    ),
    Call("squash", (V1, "DEST"), {"from_": 2}, f"squash {V1} DEST --from 2"),
    Call("squash", (V1, "DEST"), {"keep_base": "base.tar", "dry_run": True}, f"squash {V1} DEST --keep-base base.tar -n"),
    Call(
        "rebase", (V1, "DEST"), {"old_base": "base.tar", "new_base": "new.tar"},
        f"rebase {V1} DEST --old-base base.tar --new-base new.tar",
    ),
    Call("rebuild", (V2, "DEST"), {"against": V1, "plan": "delta"}, f"rebuild {V2} DEST --against {V1} --plan delta"),
    Call("repack", ("work", "DEST"), {"mode": "append"}, "repack work DEST --mode append"),
    Call("unpack", (V1, "DEST"), {"as_": "rootfs"}, f"unpack {V1} DEST --as rootfs"),
    Call("unpack", (V1, "DEST"), {"as_": "layers", "mode": 0o755}, f"unpack {V1} DEST --as layers --mode 0755"),
    Call("unpack", (V1, "DEST"), {"as_": "tar"}, f"unpack {V1} DEST --as tar"),
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("place")
    (place / "files").mkdir()
    (place / "files" / "one").write_text("1\n")
    os.utime(place / "files" / "one", (0, 0))
    ocitool.edit(V1, place / "base.tar", drop_layer=-1)
    ocitool.append(place / "base.tar", place / "new.tar", layer=str(place / "files"))
    ocitool.unpack(V1, place / "work")
    (place / "work" / "rootfs" / "etc" / "added").write_text("text\n")
    return place


def target(call: Call) -> str:
    return "out" if call.name == "unpack" and call.keywords["as_"] != "tar" else "out.tar"


def called(call: Call, place: Path) -> Any:
    arguments = [target(call) if one == "DEST" else one for one in call.arguments]
    remove(place / target(call))
    return getattr(ocitool, call.name)(*arguments, **call.keywords)


def remove(path: Path) -> None:
    subprocess.run(["chmod", "-Rf", "u+rwX", path], check=False)
    subprocess.run(["rm", "-rf", path], check=True)


def content(path: Path) -> Any:
    """What was written: a file's bytes, a directory's paths."""
    if path.is_dir():
        return sorted(str(one.relative_to(path)) for one in path.rglob("*"))
    return path.read_bytes() if path.exists() else None


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.name}-{CALLS.index(call)}")
def test_it_does_what_the_command_does_and_leaves_nothing(
    call: Call, place: Path, inside: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    called(call, place)  # what a first run imports and keeps is no leak
    capfd.readouterr()
    before = held()
    report = json.loads(ocitool.render(called(call, place), "json"))
    assert ("", "") == capfd.readouterr(), "a library prints nothing"
    assert before == held(), "no thread survives, and no file stays open when the result is gone"
    own = content(place / target(call))
    remove(place / target(call))
    words = call.words.replace("DEST", target(call)).split()
    command = inside(*words, "--format", "json", "--quiet", cwd=place)
    assert command.json() == report, command.err
    assert content(place / target(call)) == own
    remove(place / target(call))


def test_a_report_is_what_the_command_prints(place: Path, inside: Run) -> None:
    for name, words in (("inspect", [V1]), ("diff", [V1, V2]), ("dedupe", [V1, V2]), ("validate", [V1])):
        result = getattr(ocitool, name)(*([words] if name == "dedupe" else words))
        for format in ("text", "json", "markdown")[: 2 if name == "validate" else 3]:
            assert inside(name, *words, "--format", format).out == ocitool.render(result, format), (name, format)
    assert inside("diff", V1, V2, "--stat").out == ocitool.render(ocitool.diff(V1, V2), stat=True)
    with pytest.raises(ocitool.UsageError, match="markdown"):
        ocitool.render(ocitool.validate(V1), "markdown")
    with pytest.raises(ocitool.UsageError, match="no report exists for a value of type int"):
        ocitool.render(5)  # type: ignore[arg-type]


def test_secrets_are_hidden_in_reports_unless_they_are_asked_for(tmp_path: Path) -> None:
    secret = "correct-horse-battery"
    ocitool.edit(V1, tmp_path / "a.tar", env=f"API_TOKEN={secret}")
    found = ocitool.inspect(tmp_path / "a.tar")
    assert [False, True] == [secret in ocitool.render(found, show_secrets=shown) for shown in (False, True)]


def test_results_cannot_be_changed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    for call in (call for call in CALLS if call.name in ("inspect", "diff", "validate", "copy", "unpack")):
        result = called(call, place)
        with pytest.raises(AttributeError):
            setattr(result, next(iter(type(result).__annotations__)), None)


# An image


def test_an_image_says_what_inspect_says(inside: Run) -> None:
    (stated,) = inside("inspect", f"{MULTI}:arm64", "--format", "json").json()["images"]
    with ocitool.open(f"{MULTI}:arm64") as image:
        assert stated["digest"] == str(image.digest)
        assert stated["imageId"] == image.image_id
        assert stated["mediaType"] == image.media_type
        assert stated["tags"] == list(image.tags)
        assert stated["platform"]["architecture"] == image.platform.architecture
        assert [one["digest"] for one in stated["layers"]] == [str(layer.digest) for layer in image.layers]
        assert stated["totals"]["size"] == image.size
        assert stated["config"] == image.config.settings


def test_documents_are_the_exact_bytes(inside: Run) -> None:
    with ocitool.open(INDEX, platform="linux/arm64") as image:
        assert ["config", "index", "manifest"] == sorted(image.documents)
        for name, raw in image.documents.items():
            assert inside("inspect", INDEX, "--platform", "linux/arm64", "--raw", name).stdout == raw, name
    with ocitool.open(DATA / "encodings" / "docker-1.2.tar") as image:
        assert ["config"] == list(image.documents)
        assert (None, None) == (image.manifest, image.digest)


@pytest.mark.parametrize("name", ["app-v1.tar", "names.tar", "links-across.tar", "whiteouts.tar"])
def test_walk_is_ls_and_read_is_cat(name: str, inside: Run) -> None:
    reference = str(DATA / name)
    for words, how in (([], {}), (["--layer", "-1"], {"layer": -1})):
        listed = inside("ls", "--recursive", reference, "/", "--format", "json", *words).json()["entries"]
        with ocitool.open(reference) as image:
            files = list(image.walk(**how))
            assert [one["path"] for one in listed] == [file.path.decode("utf-8", "replace").join(["/", ""]) for file in files]
            assert [one["size"] for one in listed] == [file.entry.size for file in files]
            layers = [file.layer and file.layer.number for file in files]
            assert [one["layer"] and one["layer"]["index"] for one in listed] == layers
            some = [file for file in files if file.entry.kind is ocitool.Kind.FILE][:2]
            for file in some:
                assert inside("cat", reference, file.name, *words).stdout == image.read(file.name, **how)
                assert image.read(file.path, **how) == b"".join(image.chunks(file.name, **how))


def test_a_tree_finds_follows_and_lists() -> None:
    with ocitool.open(V1) as image:
        tree = image.tree()
        names = [file.name for file in image.walk("/etc")]
    assert names == [file.name for file in tree.walk("etc")]  # the tree stays when the image is closed
    assert {f"/{name}" for name in ("etc", "usr")} <= {file.name for file in tree.children()}
    directory = tree.find("/etc")
    assert directory is not None and directory.entry.kind is ocitool.Kind.DIRECTORY
    assert tree.find("/no/such/path") is None
    assert [] == list(tree.children(next(file.path for file in tree.walk() if file.entry.kind is ocitool.Kind.FILE)))
    link = next(file for file in tree.walk() if file.entry.kind is ocitool.Kind.SYMLINK and tree.find(file.path))
    at_link, behind = tree.find(link.path, follow=False), tree.find(link.path)
    assert at_link == link and behind is not None and behind.entry.kind is not ocitool.Kind.SYMLINK
    with pytest.raises(ocitool.NotFoundError):
        tree.children("/no/such/path")


def test_a_layer_of_a_file_is_one_of_the_image() -> None:
    with ocitool.open(V1) as image:
        assert all(file.layer is None or file.layer == image.layers[file.layer.number] for file in image.walk())
        assert {image.layers[-1]} == {file.layer for file in image.walk(layer=-1)}


def test_a_closed_image_says_what_it_is_and_reads_nothing() -> None:
    before = held()
    with ocitool.open(V1) as image:
        name = next(file.name for file in image.walk() if file.entry.kind is ocitool.Kind.FILE)
        layers = image.layers
    assert image.closed
    assert before == held()
    assert (layers, "linux") == (image.layers, image.platform.os)
    for ask in (image.tree, image.walk, lambda: image.read(name), lambda: image.walk(layer=0), lambda: image.notices):
        with pytest.raises(ocitool.UsageError, match="the image is closed"):
            ask()  # type: ignore[operator]
    image.close()


def test_an_image_that_nothing_refers_to_leaves_nothing() -> None:
    before = held()
    image = ocitool.open(V1, verify=True)
    assert list(image.walk())
    del image
    assert before == held()


def test_a_file_that_was_begun_and_left_leaves_nothing() -> None:
    before = held()
    with ocitool.open(DATA / "encodings" / "oci-gzip.tar", no_cache=True) as image:
        largest = max(image.walk(), key=lambda file: file.entry.size)
        pieces = image.chunks(largest.path)
        next(pieces)
        del pieces
    assert before == held()


def test_several_threads_read_one_image() -> None:
    with ocitool.open(DATA / "encodings" / "oci-gzip.tar", no_cache=True) as image:
        found: dict[int, list[str]] = {}
        threads = [
            threading.Thread(target=lambda n=n: found.update({n: [file.name for file in image.walk()]})) for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [[file.name for file in image.walk()]] * 4 == list(found.values())


# Errors


@pytest.mark.parametrize(
    ("error", "wrong"),
    [
        (ocitool.NotFoundError, lambda to: ocitool.open(to / "none.tar")),
        (ocitool.NotFoundError, lambda to: ocitool.open(MULTI)),
        (ocitool.NotFoundError, lambda to: ocitool.open(V1).read("/no/such/file")),
        (ocitool.UsageError, lambda to: ocitool.open(V1).read("/etc")),
        (ocitool.UsageError, lambda to: ocitool.open(V1).read("")),
        (ocitool.UsageError, lambda to: ocitool.open(V1).walk(layer=99)),
        (ocitool.UsageError, lambda to: ocitool.open(V1, jobs=0)),
        (ocitool.UsageError, lambda to: ocitool.open(V1, platform="a/b/c/d")),
        (ocitool.UsageError, lambda to: ocitool.diff("-", "-")),
        (ocitool.UsageError, lambda to: ocitool.diff(V1, V2, fail_on="fils")),
        (ocitool.UsageError, lambda to: ocitool.diff(V1, V2, platform="linux/amd64", all_platforms=True)),
        (ocitool.UsageError, lambda to: ocitool.dedupe(V1, zstd=99)),
        (ocitool.UsageError, lambda to: ocitool.copy([], to / "a.tar")),
        (ocitool.UsageError, lambda to: ocitool.copy(V1, to / "a.tar", compression="lzma")),
        (ocitool.UsageError, lambda to: ocitool.edit(V1, to / "a.tar", rm="/..")),
        (ocitool.UsageError, lambda to: ocitool.edit(V1, to / "a.tar", layer=0)),
        (ocitool.UsageError, lambda to: ocitool.rebuild(V1, to / "a.tar", against=V2, plan="fast")),
        (ocitool.UsageError, lambda to: ocitool.repack(to, to / "a.tar", mode="fast")),
        (ocitool.UsageError, lambda to: ocitool.rebase(V1, to / "a.tar", fail_on="all")),
        (ocitool.UsageError, lambda to: ocitool.unpack(V1, to / "a", as_="zip")),
        (ocitool.UsageError, lambda to: ocitool.unpack(V1, to / "a", mode=0o077)),
        (ocitool.UsageError, lambda to: ocitool.unpack(V1, to / "a", force=True)),
        (ocitool.UsageError, lambda to: ocitool.validate(V1, as_="image")),
        (ocitool.UsageError, lambda to: ocitool.render(ocitool.validate(V1), "html")),
        (ocitool.UsageError, lambda to: ocitool.append(V1, to / "a.tar", to="/srv")),
        (ocitool.NotAnImageError, lambda to: ocitool.inspect(ROOT / "docs")),
        (ocitool.FormatError, lambda to: ocitool.inspect(__file__)),
        (ocitool.DestinationError, lambda to: ocitool.copy(V1, V2)),
        (ocitool.TransportError, lambda to: ocitool.tags("docker://127.0.0.1:9/app")),
    ],
)  # fmt: skip
def test_an_error_is_of_the_tree_and_leaves_nothing(
    error: type[ocitool.OcitoolError], wrong: Callable[[Path], Any], tmp_path: Path
) -> None:
    threads = held()[0]
    with pytest.raises(error) as caught:
        wrong(tmp_path)
    assert type(caught.value).exit_code == caught.value.exit_code
    assert caught.value.what
    del caught
    assert threads == held()[0]
    assert [] == list(tmp_path.iterdir())


def test_a_full_disk_is_a_destination_error(tmp_path: Path) -> None:
    with pytest.raises(ocitool.DestinationError):
        ocitool.copy(V1, "docker-archive:/dev/full", force=True)


def test_credentials_do_not_leave_in_errors_and_notices(tmp_path: Path) -> None:
    credentials.remember("hunter2-hunter2")
    with pytest.raises(ocitool.NotFoundError) as caught:
        ocitool.open(tmp_path / "hunter2-hunter2.tar")
    assert f"no such file or directory ({tmp_path}/***.tar)" == str(caught.value)
    assert "hunter2" not in repr(caught.value)
    with Task() as task:
        task.notice("code", "the server says hunter2-hunter2")
    assert ["the server says ***"] == [notice.text for notice in task.notices]


# Progress, and ends before the end


class RecordingProgress(ocitool.Progress):
    """Keeps what it is told, and does something at the first bytes."""

    def __init__(self, at_first: Callable[[], object] = lambda: None) -> None:
        self.expected = self.bytes = 0
        self.notices: list[ocitool.Notice] = []
        self._at_first = at_first

    def notice(self, notice: ocitool.Notice) -> None:
        self.notices.append(notice)

    def expect(self, blobs: Any, times: int, anew: bool) -> None:
        self.expected += times * sum(size for _, size in blobs)

    def advance(self, label: str, done: int, total: int | None) -> None:
        if not self.bytes:
            self._at_first()
        self.bytes += done


def test_progress_is_told(tmp_path: Path) -> None:
    progress = RecordingProgress()
    result = ocitool.copy(V1, tmp_path / "a.tar", compression="zstd", progress=progress)
    assert 0 < progress.bytes
    assert 0 < progress.expected
    assert result.notices == tuple(progress.notices) != ()


def test_progress_of_an_image_is_told_when_it_is_read() -> None:
    progress = RecordingProgress()
    with ocitool.open(DATA / "encodings" / "oci-gzip.tar", no_cache=True, progress=progress) as image:
        assert 0 == progress.bytes
        image.tree()
        assert sum(layer.size for layer in image.layers) == progress.bytes


GZIP = str(DATA / "encodings" / "oci-gzip.tar")


def test_what_is_cancelled_ends_and_leaves_nothing(tmp_path: Path) -> None:
    before = held()
    stop = ocitool.Cancellation()
    with pytest.raises(ocitool.CancelledError) as caught:
        ocitool.squash(GZIP, tmp_path / "a.tar", no_cache=True, progress=RecordingProgress(stop.cancel), cancellation=stop)
    assert 130 == caught.value.exit_code
    assert stop.cancelled
    del caught
    assert before == held()
    assert [] == list(tmp_path.iterdir())
    with pytest.raises(ocitool.CancelledError, match="before it began"):
        ocitool.inspect(V1, cancellation=stop)


def test_an_image_that_is_cancelled_reads_no_more() -> None:
    stop = ocitool.Cancellation()
    with ocitool.open(V1, cancellation=stop) as image:
        stop.cancel()
        for ask in (image.tree, lambda: image.read("/etc/passwd"), lambda: image.walk(layer=0)):
            with pytest.raises(ocitool.CancelledError):
                ask()
        assert image.layers


def test_what_is_over_is_not_held_by_its_cancellation(tmp_path: Path) -> None:
    stop = ocitool.Cancellation()
    ocitool.inspect(V1, cancellation=stop)
    ocitool.open(V1, cancellation=stop).close()
    assert not stop._tasks
    stop.cancel()


def test_ctrl_c_is_keyboard_interrupt_and_leaves_nothing(tmp_path: Path) -> None:
    before = held()
    progress = RecordingProgress(lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        ocitool.squash(GZIP, tmp_path / "a.tar", no_cache=True, progress=progress)
    assert before == held()
    assert [] == list(tmp_path.iterdir())
    assert signal.default_int_handler == signal.getsignal(signal.SIGINT)


def test_an_image_that_ctrl_c_interrupted_is_to_be_opened_again() -> None:
    before = held()
    with ocitool.open(GZIP, no_cache=True, progress=RecordingProgress(lambda: os.kill(os.getpid(), signal.SIGINT))) as image:
        with pytest.raises(KeyboardInterrupt):
            image.tree()
        with pytest.raises(ocitool.CancelledError):
            image.tree()
    assert before == held()


def test_processes_do_not_run_the_program_again(tmp_path: Path) -> None:
    """`dedupe` works on layers in processes of its own: a script needs no `if __name__ == "__main__"` for that."""
    script = tmp_path / "script.py"
    script.write_text(
        f"print('it runs', flush=True)\nimport ocitool\nfrom ocitool.dedupe import layer_jobs\nlayer_jobs._ALONE = 0\n"
        f"from ocitool.task import Task\nTask.workers = 2\n"
        f"print(ocitool.dedupe([{V1!r}, {V2!r}], files=True).problems)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert ("it runs\n()\n", "") == (done.stdout, done.stderr)


# Registries


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    with ScriptedRegistry() as one:
        yield one


def test_a_registry_is_written_to_and_read_from(registry: ScriptedRegistry, tmp_path: Path) -> None:
    before = held()
    there = f"docker://{registry.host}/team/app:1"
    how = ocitool.RegistryOptions(insecure_host=registry.host)
    sent = ocitool.copy(V1, there, registry=how)
    assert sent.transferred > 0
    assert ("1",) == ocitool.tags(f"docker://{registry.host}/team/app", registry=how).tags
    with ocitool.open(there, registry=how) as image:
        assert image.digest == sent.images[0].digest
        with ocitool.open(V1) as local:
            assert local.read("/etc/passwd") == image.read("/etc/passwd")
    until = time.monotonic() + 10
    while held() != before and time.monotonic() < until:  # the registry lets go of its ends of the connections
        time.sleep(0.05)
    assert before == held()
