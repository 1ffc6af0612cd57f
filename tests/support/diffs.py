"""Results of `diff` made by hand, and texts that break out of what they are quoted in."""

from __future__ import annotations

import json
from typing import Any

from ocitool.comparison.groups import grouped
from ocitool.comparison.inside.values import FileInside, InnerChange, InnerFact, Insides
from ocitool.comparison.result import ConfigChange, Diff, Failure, FileChange, LayerPair, Notable, Patch, Quoted, Side, Summary
from ocitool.digest import Digest
from ocitool.images.image import Image, Layer
from ocitool.layers.entry import Entry, Kind
from ocitool.progress import Notice
from ocitool.spec.manifest import Config

EVIL = "EVIL"
HOSTILE = [
    *(f"{'`' * n}{EVIL}{'`' * m}" for n in (0, 1, 2, 3, 4, 9) for m in (0, 1, 3, 8)),
    f"`` {EVIL} ` {EVIL} ```{EVIL}",
    f"</details>{EVIL}", f"<script>{EVIL}</script>", f"[{EVIL}](http://{EVIL})", f"@{EVIL}", f"#1 {EVIL}",
    f"\n\n# {EVIL}\n```\n{EVIL}", f"\r\n{EVIL}", f"\x1b[2J{EVIL}", f"\u202e{EVIL}\u2066", f"a|{EVIL}|`|\\|{EVIL}",
    f"\\`{EVIL}\\",
    f"<!-- {EVIL} -->", f"{EVIL}\u2028{EVIL}", f" {EVIL} ", f"`{EVIL}|", f"|`{EVIL}", "~~~\n" + EVIL,
]  # fmt: skip


def layer(number: int, by: str | None = "RUN make", size: int = 1000) -> Layer:
    return Layer(number, None, Digest.of(b"%d" % number), Digest.of(b"d%d" % number), size, "application/x", by, None)


def image(layers: tuple[Layer, ...], config: dict[str, Any] | None = None, tags: tuple[str, ...] = ()) -> Image:
    fields = config or {}
    made = Config(json.dumps(fields).encode(), fields)
    return Image("x.tar", "docker-archive", tags, None, None, made, "sha256:00", layers, made.platform, True, True)


def side(size: int = 0, kind: Kind = Kind.FILE, link: bytes = b"", mode: int = 0o644) -> Side:
    return Side(Entry(b"", kind, mode, 0, 0, 0, size, link, 0, 0, None, None, None), None, (), None)


def change(path: bytes, fields: tuple[str, ...] = ("content",), size: int = 5, of: Layer | None = None) -> FileChange:
    kind: Any = "modified" if "content" in fields else "metadata"
    return FileChange(path, kind, fields, side(0), side(size), of)


def result(**changes: Any) -> Diff:
    layers = (layer(0), layer(1))
    made: dict[str, Any] = {
        "before_reference": "old.tar", "after_reference": "new.tar", "before": image(layers), "after": image(layers),
        "identical": False, "verified": False, "layers": (LayerPair("shared", layers[0], layers[0]),
        LayerPair("changed", layers[1], layers[1], "its files changed")), "config": (), "files": (), "notable": (),
        "failures": (), "summary": Summary(0, 0, 0, 0, 0, 0, 0, 0, False), "patches": None, "notices": (),
    }  # fmt: skip
    made |= changes
    return Diff(**({"groups": grouped(made["files"])} | made))


def hostile(text: str) -> Diff:
    raw = text.encode("utf-8", "surrogatepass") + b"\xff"
    bad = layer(1, text)
    link = side(1, Kind.SYMLINK, raw)
    return result(
        before_reference=text, after_reference=text,
        after=image((layer(0), bad)),
        layers=(LayerPair("shared", layer(0, text), layer(0, text)),
                LayerPair("equivalent", bad, bad, f"built again after the instruction {text}", bad),
                LayerPair("changed", bad, bad, text, bad), LayerPair("removed", bad, None)),
        config=(ConfigChange("config", f"/config/{text}", text, "modified", text, text),
                ConfigChange("manifest", "/annotations", None, "added", None, {text: [text]}),
                ConfigChange("config", "/author", None, "removed", text, None)),
        files=(change(raw, of=bad), FileChange(raw, "metadata", ("linkTarget",), link, link, bad),
               FileChange(raw, "removed", (), side(10), None, None)),
        notable=tuple(Notable(rule, raw, text, bad, said, "security", key=text) for rule, said in (
            ("setuid", ("new setuid file",)), ("user-root", ("USER was ", Quoted(text))), ("port", ("new port ", Quoted(text))),
            ("unshared-layer", ("cannot be shared any more: ", Quoted(f"built again after the instruction {text}"))),
            ("other", (Quoted(text),)))),
        failures=(Failure("files", 0, 3), Failure("other", text, text)),
        patches=(Patch(raw, f"--- a/{text}\n+++ b/{text}\n@@ -1 +1 @@\n-{text}\n+```\n+{text}\n"),),
        notices=(Notice("x", f"about {text}"),),
        inside=Insides({raw: FileInside(
            "a zip archive", "member", (InnerFact(text, text, None),), (InnerChange("added", raw, None, 1),), 1, 0, 0, "", text,
        )}, 1, True),
    )  # fmt: skip
