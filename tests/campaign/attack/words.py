"""Command lines: every command with its options, given values that are right, odd or wrong.

The commands and their options are read from the program itself, so that a new one is tried without a change here.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from functools import cache
from typing import Any

import typer
from campaign.attack.places import TEXTS, Place, names_of

from ocitool import cli

GLOBS = (
    "**",
    "*",
    "/etc/**",
    "**/*a*",
    "*" * 40,
    "*a" * 25 + "b",
    "[",
    "[!a-z]*",
    "a/../b",
    "/",
    "",
    "etc",
    "?" * 30,
    "**/" * 20 + "x",
    "{a,b}",
)
PLATFORMS = ("linux/amd64", "linux/arm64/v8", "windows(10.0.1)/amd64", "x", "a/b/c/d", "", "\x1b/x", "unknown/unknown")
SIZES = (
    "files",
    "config",
    "notable",
    "none",
    "size:+10MB",
    "size:+5%",
    "transfer:+20MiB",
    "notable:setuid",
    "setuid,secret-env",
    "size:",
    "x",
    "size:+1e999MB",
)
INTEGERS = ("0", "1", "-1", "2", "99", "-99", str(1 << 70), "x", "1.5", "")
CODECS = ("none", "gzip", "zstd", "zstd:19", "zstd:3", "gzip:9", "gzip:0", "x", "zstd:99", "")
VERBATIM = "cat"
LISTS = ("tags", "catalog", "login", "logout", "pull", "push")
SKIPPED = frozenset(
    {
        "--help",
        "--cluster",
        "--export",
        "--insecure",
        "--cert",
        "--key",
        "--ca",
        "--authfile",
        "--foreign",
        "--insecure-host",
        "--jobs",
    }
)
"""Options that another part of a command line gives, or that need another machine."""


@dataclass(frozen=True, slots=True)
class Option:
    names: tuple[str, ...]
    metavar: str
    flag: bool
    choices: tuple[str, ...]


@cache
def commands() -> dict[str, tuple[Option, ...]]:
    """The options of every command, those of `layout` by both words."""
    program: Any = typer.main.get_command(cli.app)
    found: dict[str, tuple[Option, ...]] = {}
    for name in cli.COMMANDS:
        command = program.get_command(None, name)
        below = getattr(command, "commands", None)
        for key, each in ({f"{name} {sub}": one for sub, one in below.items()} if below else {name: command}).items():
            found[key] = tuple(_option(one) for one in each.params if one.param_type_name == "option")
    return found


def _option(one: Any) -> Option:
    choices = tuple(str(getattr(each, "value", each)) for each in getattr(one.type, "choices", ()))
    return Option(tuple(one.opts), str(one.metavar or one.type.name).upper(), bool(getattr(one, "is_flag", False)), choices)


@dataclass(slots=True)
class Line:
    """A command line. `outputs`: what it may write; `copies`: an image that is whole after exit 0; `verbatim`: see `laws`."""

    words: list[str]
    outputs: tuple[str, ...] = ()
    copies: str = ""
    verbatim: bool = False


WRITERS = ("copy", "edit", "append", "squash", "rebuild", "rebase", "repack")


def line(chance: random.Random, places: list[Place], unpacked: str | None) -> Line:
    """A command line about these places, which stand in `in/`; outputs go to `out/`."""
    local = [name for name in commands() if name not in LISTS and not (name == "repack" and unpacked is None)]
    name = chance.choice(local)
    refs = [name for one in places for name in below(one)]

    def ref() -> str:
        return chance.choice(refs)

    if name.startswith("layout "):
        return _layout(chance, name, places)
    words, made = [*name.split()], Line([])
    if name == "validate":
        words += [ref() for _ in range(chance.choice((1, 1, 2)))]
    elif name == "dedupe":
        words += [ref() for _ in range(chance.choice((1, 2, 3)))] if chance.random() < 0.7 else ["in"]
    elif name == "diff":
        words += [ref(), ref()]
    elif name in ("ls", "cat"):
        words += [ref(), chance.choice(places[0].paths + [text for text in TEXTS if text])]
        made.verbatim = name == VERBATIM
    elif name in ("inspect", "packages", "budget"):
        words += [ref()]
    elif name == "unpack":
        form = chance.choice(("editable", "rootfs", "bundle", "layers", "tar"))
        dest = chance.choice(("out/new", "out/empty", "out/full")) if form != "tar" else chance.choice(("out/new.tar", "-"))
        words += [ref(), dest, "--as", form, *chance.choice(([], ["--rootless"]))]
        made.outputs, made.verbatim = (dest,), dest == "-"
    else:
        dest = chance.choice(("out/new/", "out/new.tar", "out/new.tar.gz", "out/new.tar.zst", "out/old/", "out/old.tar", "-"))
        words += (
            [unpacked or ""] if name == "repack" else [ref() for _ in range(1 if name != "copy" else chance.choice((1, 1, 2)))]
        )
        words += [dest, *_about(chance, name, ref)]
        if dest == "out/old.tar" or chance.random() < 0.2:
            words += ["--force"]
        made.outputs = (dest.rstrip("/"),)
        made.verbatim = dest == "-"
        made.copies = "" if dest == "-" or "--omit" in words else dest.rstrip("/")
    words += options(chance, name, refs)
    if "--report" in words:
        made.outputs += (words[words.index("--report") + 1],)
    made.verbatim |= "--raw" in words or "--show-secrets" in words or (name == "inspect" and "json" in words)
    if "--omit" in words:
        made.copies = ""
    made.words = [word for word in words if sound(word)]
    return made


def below(one: Place) -> list[str]:
    found = []
    for name in names_of(one):
        kind, _, rest = name.partition(":")
        found.append(f"{kind}:in/{rest}" if kind in ("oci", "oci-archive", "docker-archive") else f"in/{name}")
    return found


def _about(chance: random.Random, name: str, ref: Any) -> list[str]:
    """What a writing command is to do."""
    if name == "edit":
        some = [
            ["--env", "A=b"], ["--label", "a=b"], ["--rm", chance.choice(("etc/motd", "a", "/", "l0/f1", "../x", "d"))],
            ["--redact", "API_TOKEN"],
            ["--drop-layer", chance.choice(INTEGERS)], ["--add", "in/file:" + chance.choice(("/x", "etc/new", "a/b/c/d",
            "l0/x", "../../x", ""))],
            ["--cmd", chance.choice(('["a"]', "a b", "[", ""))], ["--created", chance.choice(("@0", "x",
            "2024-01-01T00:00:00Z"))],
            ["--expose", chance.choice(("80", "1-70000", "x/y", "80/tcp"))], ["--unset-env", "API_TOKEN"], ["--volume", "/v"],
            ["--user", "x:y"],
        ]  # fmt: skip
        return [word for each in chance.sample(some, chance.randrange(1, 4)) for word in each]
    if name == "append":
        return [chance.choice(("--layer", "--upperdir")), chance.choice(("in/tree", "in/layer.tar", "in/file", "in/none"))]
    if name == "squash":
        return chance.choice(
            ([], ["--from", chance.choice(INTEGERS)], ["--last", chance.choice(INTEGERS)], ["--keep-base", ref()])
        )
    if name == "rebuild":
        return ["--against", ref(), "--plan", chance.choice(("auto", "as-is", "reuse", "delta"))]
    if name == "rebase":
        return ["--old-base", ref(), "--new-base", ref()]
    if name == "repack":
        return chance.choice(([], ["--mode", "append"], ["--checksum"], ["--source", ref()]))
    return []


def _layout(chance: random.Random, name: str, places: list[Place]) -> Line:
    """Commands that change a layout where it stands: in `out/`, beside one that the sandbox made."""
    where = chance.choice(("out/old", "out/store", "out/full", "out/none"))
    words, outputs = [*name.split(), where], [where]
    if name == "layout rm":
        words += [chance.choice((*(one for each in places for one in each.tags if one), "app", "@0", "@sha256:" + "0" * 64))]
    if name == "layout link":
        words += ["out/old"]
        outputs += ["out/old"]
    words += options(chance, name, ["out/old"])
    if "--report" in words:
        outputs += [words[words.index("--report") + 1]]
    return Line([word for word in words if sound(word)], tuple(outputs))


def options(chance: random.Random, name: str, refs: list[str]) -> list[str]:
    """A few options of the command with values."""
    found: list[str] = []
    known = [one for one in commands()[name] if not SKIPPED & set(one.names)]
    for one in chance.sample(known, min(len(known), chance.choice((0, 0, 1, 1, 2, 4)))):
        word = chance.choice(one.names)
        if word in found or (one.flag and word.startswith("--no-") and chance.random() < 0.5):
            continue
        found += [word] if one.flag else [word, _value(chance, one, refs)]
    if chance.random() < 0.02:
        found.append(chance.choice(("--no-such", "-Z", "extra", "--format", "--")))
    return found


def _value(chance: random.Random, one: Option, refs: list[str]) -> str:
    if "--report" in one.names:
        return chance.choice(("out/report", "out/report", "out/linked-report"))
    if one.choices:
        return chance.choice((*one.choices, *one.choices, "x"))
    for words, values in (
        ("GLOB", GLOBS), ("OS/ARCH", PLATFORMS), ("RULE", SIZES), ("GZIP", CODECS), ("LEVEL", INTEGERS), ("REF", tuple(refs)),
        ("N", INTEGERS), ("INT", INTEGERS),
    ):  # fmt: skip
        if words in one.metavar and chance.random() < 0.9:
            return chance.choice(values)
    return chance.choice([text for text in TEXTS if text != "-"])


def sound(word: str) -> bool:
    """Whether a program can be given this word."""
    try:
        return b"\0" not in os.fsencode(word)
    except UnicodeEncodeError:
        return False
