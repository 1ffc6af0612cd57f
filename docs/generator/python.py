"""The public Python API as Markdown, from its signatures and docstrings.

Of a result those fields are listed, and so promised, whose types are public too.
"""

from __future__ import annotations

import ast
import builtins
import enum
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import ocitool

FUNCTIONS = (
    "open", "inspect", "packages", "diff", "budget", "validate", "dedupe", "tags", "copy", "append", "edit", "squash", "rebase",
    "rebuild", "repack", "unpack", "engine_containers", "engine_diff", "engine_commit", "engine_df", "render",
)  # fmt: skip
TO_CALL_WITH = ("RegistryOptions", "EngineOptions", "Progress", "Cancellation")
AN_IMAGE = ("Image", "MergedTree", "File", "Entry", "Kind", "Layer")
ALIASES = ("Reference", "References", "Words", "ImagePath")
"""Types of arguments that the page explains."""
NOT_PROMISED = {
    "Deduped": ("lies",), "Entry": ("offset", "stored", "segments"), "Layer": ("blob",), "WriteResult": ("details",),
    "OutputImage": ("descriptor", "loaded", "made", "foreign", "where", "repositories", "optional", "is_there", "needs",
                    "loaded_image", "manifest", "config", "sparing"),
    "OutputLayer": ("descriptor", "stated"),
}  # fmt: skip
"""Members whose types are public and whose meaning is not."""
DOCUMENTS = ("Manifest", "Config", "HistoryEntry", "Index", "Descriptor", "Digest", "Platform")


def functions() -> str:
    return "\n\n".join(_function(name) for name in FUNCTIONS)


def arguments() -> str:
    return "\n\n".join(map(_class, TO_CALL_WITH))


def image() -> str:
    return "\n\n".join(map(_class, AN_IMAGE))


def documents() -> str:
    return "\n\n".join(map(_class, DOCUMENTS))


def results() -> str:
    return "\n\n".join(map(_class, result_names()))


def result_names() -> list[str]:
    """The public names that are in no other table, in the order of letters."""
    others = {*FUNCTIONS, *TO_CALL_WITH, *AN_IMAGE, *DOCUMENTS, "__version__"}
    return sorted(name for name in ocitool.__all__ if name not in others and not name.endswith("Error"))


def _function(name: str) -> str:
    function = getattr(ocitool, name)
    return f"### {name}\n\n{_signature(function)}\n\n{_said(function)}{_keywords(name)}"


def _keywords(name: str) -> str:
    from ocitool.cli import COMMANDS

    words = name.split("_")  # of a command of `engine`, its own after that
    if words[0] not in COMMANDS:
        return ""
    page = f"{words[0]}.md" + (f"#ocitool-{'-'.join(words)}" if len(words) > 1 else "")
    return f"\n\nThe keywords are the options of [`ocitool {' '.join(words)}`]({page})."


def _signature(function: Any, name: str | None = None) -> str:
    """A call with all defaults, and what it returns; arguments without a default have their types."""
    signature = inspect.signature(function)
    parts: list[str] = []
    keywords = False
    for one in signature.parameters.values():
        if one.name == "self":
            continue
        if one.kind is one.KEYWORD_ONLY and not keywords:
            parts, keywords = [*parts, "*"], True
        given = f"{one.name}={one.default!r}"
        parts.append(f"{one.name}: {_type(_written(one.annotation), function)}" if one.default is one.empty else given)
    text = f"{name or function.__name__}({', '.join(parts)}) -> {_type(_written(signature.return_annotation), function)}"
    lines = textwrap.wrap(text, 116, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return "```python\n" + "\n".join(lines) + "\n```"


def _said(thing: Any) -> str:
    """The docstring, its paragraphs as lines of a page."""
    return inspect.cleandoc(thing.__doc__ or "")


def _class(name: str) -> str:
    kind = getattr(ocitool, name)
    parts = [f"### {name}", _said(kind)]
    if issubclass(kind, enum.Enum):
        parts.append(", ".join(f"`{name}.{one.name}`" for one in kind))
        return "\n\n".join(parts)
    known = [row for row in _members(kind) if row[0] not in NOT_PROMISED.get(name, ())]
    rows = [f"- `{member}`: `{of}`{'. ' * bool(said)}{said}" for member, of, said in known]
    if rows:
        parts.append("\n".join(rows))
    for method in _methods(kind):
        parts += [_signature(method), _said(method)]
    return "\n\n".join(parts)


def _members(kind: type) -> Iterator[tuple[str, str, str]]:
    """Fields and properties whose types are public: name, type, what a property's docstring says."""
    for one in reversed(kind.__mro__):
        if one.__module__.startswith("ocitool."):
            for member, stated in inspect.get_annotations(one).items():
                annotation = _written(stated)
                if not member.startswith("_") and is_public(annotation, one):
                    yield member, _type(annotation, one), ""
            for member, value in vars(one).items():
                getter = value.fget if isinstance(value, property) else getattr(value, "func", None)
                if getter is not None and not member.startswith("_"):
                    annotation = _written(getter.__annotations__["return"])
                    if is_public(annotation, getter):
                        yield member, _type(annotation, getter), " ".join((getter.__doc__ or "").split())


def _methods(kind: type) -> Iterator[Any]:
    """Of what is called: classes whose instances do something, and not values."""
    if kind.__name__ in ("OpenImage", "MergedTree", "Cancellation", "Progress"):
        yield from (value for name, value in vars(kind).items() if inspect.isfunction(value) and not name.startswith("_"))


def _module(of: Any) -> ModuleType:
    module = inspect.getmodule(of)
    assert module is not None
    return module


def _written(annotation: Any) -> str:
    """The annotation as it stands in the source, whether its module postpones annotations or not."""
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return "None" if annotation is type(None) else annotation.__name__
    text = str(getattr(annotation, "__forward_arg__", annotation))
    return _MODULE.sub("", text)


_MODULE = re.compile(r"\b(?:typing|collections\.abc|ocitool(?:\.\w+)*)\.(?=[A-Z])")


def is_public(annotation: str, of: Any) -> bool:
    """Whether a type is made of public names and of Python's own."""
    return all(_public(name, _module(of)) is not None for name in _names(annotation))


def _names(annotation: str) -> Iterator[str]:
    """The names in a type as it is written. What stands in `Literal[...]` is a string."""
    for node in ast.walk(ast.parse(annotation, mode="eval")):
        if isinstance(node, ast.Name):
            yield node.id


def _public(name: str, module: ModuleType) -> str | None:
    """What a name in a module is called publicly; None if it is not. A name for a type made of others is written out."""
    if hasattr(builtins, name) or name in ALIASES or name in ("Any", "Literal", "Iterator", "Mapping", "Sequence"):
        return name
    value = getattr(module, name, None)
    if value is None:  # imported for the type checker alone
        return name if name in ocitool.__all__ else None
    from ocitool.images.image import Image

    if value is Image:
        return "ImageInfo"
    if isinstance(value, ModuleType):
        return name
    if not isinstance(value, type):
        return _alias(value)
    return next((public for public in ocitool.__all__ if getattr(ocitool, public) is value), None)


def _alias(value: Any) -> str | None:
    if typing.get_origin(value) is typing.Literal:
        return repr(value).replace("typing.", "")
    text = inspect.formatannotation(value)
    return text.replace("collections.abc.", "").replace("typing.", "") if "ocitool" not in text else None


class _Renamed(ast.NodeTransformer):
    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def visit_Name(self, node: ast.Name) -> ast.AST:
        public = _public(node.id, self._module)
        return ast.parse(public or node.id, mode="eval").body


def _type(annotation: str, of: Any) -> str:
    """A type as it is written, in public names."""
    return ast.unparse(_Renamed(_module(of)).visit(ast.parse(annotation, mode="eval"))).replace("'", '"')
