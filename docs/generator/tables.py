"""Tables of what the code says: exit codes, limits, rules, schemas, variables. Each is a function without arguments that
returns Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ocitool import errors, limits
from ocitool.comparison.notable_rules import RULES as NOTABLE
from ocitool.validation import RULES as VALIDATE
from ocitool.volatile import CLASSES, VolatileClass

ROOT = Path(__file__).resolve().parents[2]


def table(*rows: tuple[str, ...]) -> str:
    """A table whose first row is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


# Exit codes


def exit_codes() -> str:
    classes: dict[int, list[str]] = {}
    for one in error_classes(errors.OcitoolError):
        classes.setdefault(one.exit_code, []).append(f"`{one.__name__}`")
    rows = [(str(code), text, ", ".join(classes.get(code, []))) for code, text in errors.EXIT_CODES.items()]
    return table(("Code", "Means", "Error class"), *rows)


def error_classes(kind: type[errors.OcitoolError]) -> Iterator[type[errors.OcitoolError]]:
    """The public classes of errors below this one. Modules add ones of their own for what they catch themselves."""
    for one in kind.__subclasses__():
        if one.__module__ == errors.__name__:
            yield one
        yield from error_classes(one)


# Limits


class Limit(NamedTuple):
    """A row of the table of limits. `{NAME}` in it stands for a number of `ocitool.limits`, in bytes (`KiB`) or, as `{NAME:n}`,
    without a unit; `{name()}` for what a function returns without its variable."""

    what: str
    amount: str
    variable: str = ""


LIMITS = (
    Limit(
        "entries of one layer", "{LAYER_ENTRIES:n}; of a compressed one {ENTRIES_FREE:n}, or one for each stored byte",
        "OCITOOL_MAX_LAYER_ENTRIES",
    ),
    Limit("a layer or archive, decompressed", "{unpacked_size}", "OCITOOL_MAX_UNPACKED_SIZE"),
    Limit("unpacked bytes for a stored byte, beyond {RATIO_FREE}", "{unpacked_ratio:n}", "OCITOOL_MAX_RATIO"),
    Limit(
        "unpacked bytes and holes of sparse files beyond that ratio, of all layers that a command reads", "{EXPANSION}",
        "OCITOOL_MAX_RATIO",
    ),
    Limit("all files of the cache", "{cache_size}", "OCITOOL_CACHE_SIZE"),
    Limit(
        "seconds that the lock of a layout or store is waited for (exit code 9)", "{lock_wait:n}", "OCITOOL_LOCK_WAIT"
    ),
    Limit("a manifest, index or configuration", "{DOCUMENT_SIZE}, {DOCUMENT_DEPTH:n} levels, {DOCUMENT_VALUES:n} values"),
    Limit(
        "what lists a store (`index.json`, `manifest.json`)",
        "{STORE.size}, {DOCUMENT_DEPTH:n} levels, {STORE.values:n} values: 100,000 long names and more",
    ),
    Limit("configurations that `inspect` prints again, for other images that have the same", "{REPEATED}"),
    Limit("an index", "{INDEX_DEPTH:n} levels, {INDEX_MANIFESTS:n} manifests"),
    Limit("members of an archive", "{ARCHIVE_MEMBERS:n}"),
    Limit("one answer of an engine", "{ENGINE_ANSWER.size}, {ENGINE_ANSWER.values:n} values"),
    Limit(
        "a registry's list of tags, repositories or referrers, all pages",
        "{LIST.size}, {LIST.values:n} values, {LIST_ITEMS:n} entries, {LIST_PAGES:n} pages, {LIST_SECONDS:n} seconds",
    ),
    Limit("manifests and configurations that `dedupe --state` keeps", "{STATE_DOCUMENTS:n}"),
    Limit(
        "manifests and configurations that one reference to a registry holds at once", "{documents_size}",
        "OCITOOL_MAX_DOCUMENTS",
    ),
    Limit("a token server's answer; what is read of an error", "{TOKEN.size}, {TOKEN.values:n} values; {ERROR_SIZE}"),
    Limit("what stands before the body of an answer; redirects of a request", "{ANSWER_HEAD}; {REDIRECTS:n}"),
    Limit("an answer's speed, while it is waited for and the time-out has passed", "{SLOWEST} a second, at least"),
    Limit("pax records or long name of one entry", "{TAR_HEADER_DATA}, {TAR_HEADERS:n} headers"),
    Limit(
        "long names, extended attributes and sparse maps of one layer",
        "{LAYER_HEADERS}, and {ENTRY_HEADERS:n} bytes for each entry",
    ),
    Limit("what global pax headers give to the entries of one layer", "{GLOBAL_RECORDS}"),
    Limit("a path", "{PATH_LENGTH}, {PATH_DEPTH:n} components, {SYMLINK_HOPS:n} symbolic links"),
    Limit(
        "names in the targets of all symbolic links that are followed in an image",
        "{LINK_STEPS:n}, and {ENTRY_LINK_STEPS:n} for each entry",
    ),
    Limit("real paths of entries below symbolic links", "{LINKED_PATHS}, and {ENTRY_LINKED:n} bytes for each entry"),
    Limit(
        "directories of an image that no layer lists",
        "{IMPLIED_FREE:n} and {ENTRY_IMPLIED:n} for each entry, never more than {IMPLIED_DIRECTORIES:n}, with paths of "
        "{IMPLIED_PATHS}",
    ),
    Limit(
        "databases of installed packages: a file (and all holes of sparse ones), the packages of an image, the files that a "
        "kind of packages lists, the memory of their paths, a record of conda, a text of rpm such as a license (a notice)",
        "{DATABASE_FILE}, {PACKAGES:n}, {PACKAGE_FILES:n}, {PACKAGE_PATH_MEMORY}, {PACKAGE_RECORD.size} with "
        "{PACKAGE_RECORD.values:n} values, {PACKAGE_TEXT}",
    ),
    Limit(
        "changed files that `diff` looks into: a file, its members or sections, what all of them unpack to, and with "
        "`--inside`; without it, the part of layers that is unpacked for them (less is told)",
        "{DATABASE_FILE}, {INNER_PARTS:n}, {INNER_UNPACKED}, {EXPANSION}; {INNER_QUICK}",
    ),
    Limit("layers of an image for Docker: more give a notice, and no delta is made", "{MAX_LAYERS:n}"),
    Limit("data segments of a sparse file", "{SPARSE_SEGMENTS:n}"),
    Limit("the window of a zstd frame", "{ZSTD_WINDOW}"),
)  # fmt: skip

NUMBER = re.compile(r"\{([A-Za-z_]+)(?:\.(\w+))?(:n)?\}")


def limit_rows() -> Iterator[tuple[str, str, str]]:
    for row in LIMITS:
        what, amount = (NUMBER.sub(_number, text) for text in (row.what, row.amount))
        yield what, amount, f"`{row.variable}`" if row.variable else ""


def limits_table() -> str:
    return table(("Limit", "Default", "Variable"), *limit_rows())


def named_limits() -> set[str]:
    """The names of `ocitool.limits` that the table has."""
    return {match[1] for row in LIMITS for text in (row.what, row.amount) for match in NUMBER.finditer(text)}


def _number(match: re.Match[str]) -> str:
    value = getattr(limits, match[1])
    value = value() if callable(value) else getattr(value, match[2]) if match[2] else value
    if match[3]:
        return f"{value:,}"
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value % size == 0:
            return f"{value // size} {unit}"
    return f"{value:,} bytes"


# Rules


def validate_rules() -> str:
    return table(("Rule", "Finding"), *((f"`{rule}`", text) for rule, text in VALIDATE.items()))


def notable_rules() -> str:
    rows = ((f"`{name}`", f"`{rule.severity}`", "yes" if rule.alone else "", rule.finds) for name, rule in NOTABLE.items())
    return table(("Rule", "Class", "One image", "Finds"), *rows)


def volatile_classes() -> str:
    return table(("Class", "Files", "Paths", "To avoid"), *map(_volatile_row, CLASSES))


def _volatile_row(one: VolatileClass) -> tuple[str, str, str, str]:
    conditions = {None: "", "packages": "; if both images have the same packages"}
    text = one.text + conditions.get(one.rule, "; if nothing else in it differs")
    return f"`{one.name}`", text, "<br>".join(f"`{glob}`" for glob in one.globs), f"`{one.fix}`" if one.fix else ""


# Variables of the environment

VARIABLES = (
    ("OCITOOL_CACHE_DIR", "the directory of the [cache](../performance.md#cache)"),
    ("OCITOOL_CACHE_SIZE", "how many bytes the cache may take ({cache_size} unless it is set)"),
    ("OCITOOL_LOCK_WAIT", "seconds that the lock of a layout or store is waited for ({lock_wait:n} unless it is set)"),
    (
        "OCITOOL_MAX_DOCUMENTS, OCITOOL_MAX_LAYER_ENTRIES, OCITOOL_MAX_RATIO, OCITOOL_MAX_UNPACKED_SIZE",
        "raise a [limit](limits.md)",
    ),
    (
        "SOURCE_DATE_EPOCH",
        "seconds since 1970: the time that commands which [write an image](../scripts.md#builds-that-can-be-repeated) use in "
        "place of the present one",
    ),
    ("REGISTRY_AUTH_FILE", "the file of credentials, if `--authfile` does not name one"),
    ("DOCKER_CONFIG", "the directory of docker's `config.json`, where credentials and contexts are looked for"),
    ("DOCKER_HOST", "the address of the engine: `unix:///PATH`, `tcp://HOST:PORT`, `ssh://USER@HOST`"),
    ("DOCKER_CONTEXT", "the context of the docker client that names the engine, unless `DOCKER_HOST` does"),
    ("DOCKER_TLS_VERIFY", "not empty: TLS to the engine that `DOCKER_HOST` or `--host` names, its certificate is checked"),
    ("DOCKER_TLS", "not empty: the same without the check"),
    ("DOCKER_CERT_PATH", "the directory of `ca.pem`, `cert.pem` and `key.pem` for it; else that of `config.json`"),
    ("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY", "[proxies](../registries.md#proxies), also in lower case"),
    (
        "SSL_CERT_FILE, SSL_CERT_DIR",
        "[authorities](../registries.md#tls-and-certificates) in place of the system's",
    ),
    ("REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE", "authorities; beside one of them only what such a variable names is trusted"),
    ("SSLKEYLOGFILE", "a file that the keys of TLS sessions are added to, for who looks for a fault"),
    (
        "XDG_CACHE_HOME, XDG_CONFIG_HOME, XDG_RUNTIME_DIR",
        "where the cache and files of credentials lie, as in the XDG specification",
    ),
    ("NO_COLOR, TERM", "reports have no colours if the first is set, or the second is `dumb`"),
)


def variable_rows() -> Iterator[tuple[str, str]]:
    """Names, and what they do, as Markdown."""
    yield from ((names, NUMBER.sub(_number, text)) for names, text in VARIABLES)


def variables() -> str:
    rows = ((", ".join(f"`{name}`" for name in names.split(", ")), text) for names, text in variable_rows())
    return table(("Variable", "Means"), *rows)


# Schemas


def _schemas() -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted((ROOT / "schemas").glob("*.json")):
        yield path, json.loads(path.read_bytes())


def report_schemas() -> str:
    reports = [(path, schema) for path, schema in _schemas() if path.name.startswith("report-")]
    rows = [("`" + schema["title"].replace("|", r"\|") + "`", _file(path)) for path, schema in reports]
    return table(("Report of", "Schema"), *rows)


def document_schemas() -> str:
    rows = [
        (schema["title"], _file(path), schema.get("description", ""))
        for path, schema in _schemas()
        if not path.name.startswith("report-")
    ]
    return table(("Document", "Schema", "From"), *rows)


def _file(path: Path) -> str:
    return f"[{path.name}](../../schemas/{path.name})"


def report_fields() -> str:
    """The fields of each report, as a list."""
    parts = []
    for path, schema in _schemas():
        if path.name.startswith("report-"):
            fields = dict.fromkeys(_fields(schema, schema, "", ()))
            lines = [f"- `{name}`" + (f": {text}" if text else "") for name, text in fields]
            parts.append(f"### {path.name}\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _fields(part: dict[str, Any], schema: dict[str, Any], prefix: str, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Each field below a part of a schema: its path as jq writes it, and what the schema says of it."""
    if reference := part.get("$ref"):
        if reference in above:
            return
        target: Any = schema
        for word in reference.removeprefix("#/").split("/"):
            target = target[word]
        yield from _fields(target, schema, prefix, (*above, reference))
    for key in ("then", "else"):
        if isinstance(part.get(key), dict):
            yield from _fields(part[key], schema, prefix, above)
    for key in ("oneOf", "anyOf", "allOf"):
        for one in part.get(key, ()):
            yield from _fields(one, schema, prefix, above)
    for name, below in part.get("properties", {}).items():
        path = f"{prefix}.{name}"
        if isinstance(below, dict):
            yield path, _said(below)
            yield from _fields(below, schema, path, above)
    if isinstance(part.get("items"), dict):
        yield from _fields(part["items"], schema, f"{prefix}[]", above)


def _said(part: dict[str, Any]) -> str:
    """What a schema says of a field, in words."""
    text = part.get("description") or part.get("$comment") or ""
    if "enum" in part:
        text = f"{text} One of {', '.join(f'`{json.dumps(one)}`' for one in part['enum'])}.".strip()
    return re.sub(r"([*_<|])", r"\\\1", text) if "`" not in text else text
