"""Removes secrets from the documents of an image: the values of a name, or a text, wherever they occur.

History, configuration (with `container_config`), and annotations of manifest, layers and index are redacted. Layers are
only searched, and only with `search`. No message and no history entry repeats what is taken out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ocitool.blob import Blob
from ocitool.errors import NotFoundError, UsageError
from ocitool.images import drafts
from ocitool.images.closure import Closure
from ocitool.images.drafts import ImageDraft
from ocitool.images.image import Image
from ocitool.masking.lines import MASK, Masker
from ocitool.masking.values import masked
from ocitool.patterns import pattern
from ocitool.pipeline.source_date import timestamp
from ocitool.spec.document import parse_object
from ocitool.spec.manifest import Descriptor
from ocitool.task import Task
from ocitool.transports.sink import OutputImage

CREATED_BY = "ocitool edit --redact"

SHORTEST = 4
"""Fewest characters of a text that is searched everywhere; a shorter value is only redacted next to its name."""

_NAME = pattern(r"[A-Za-z_][A-Za-z0-9_.-]*")
_KEPT = frozenset({"rootfs", "os", "architecture", "variant", "os.version", "os.features", "created", "empty_layer"})
"""Members of a configuration and of its history that are not redacted: tools depend on them, and they hold no free text."""


class Redaction(NamedTuple):
    """`words`: names or texts to take out. `search`: find files in the layers that hold them, or what `--unset-env`
    removes."""

    words: tuple[str, ...] = ()
    search: bool = False

    def __bool__(self) -> bool:
        return bool(self.words or self.search)


class _Secret:
    """A name or text to take out, and its values in the images."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.named = False
        """The word is the name of something in an image, such as a variable."""
        self.values: dict[str, None] = {}
        self.places: dict[str, None] = {}
        """Places where it was taken out."""

    def masker(self, windows: bool) -> Masker:
        """Returns a masker that hides the values of this name, and nothing else. `windows`: names ignore case."""

        def same(name: str) -> bool:
            found = name == self.word or (windows and name.upper() == self.word.upper())
            self.named = self.named or found
            return found

        return Masker(same, everywhere=False)

    def collect_values(self, image: Image) -> None:
        """Adds the values that the word has as a name in an image."""
        if _NAME.fullmatch(self.word) is None:
            return
        masker = self.masker(image.platform.os == "windows")
        masked(masker, _redactable(image.config.fields))
        masked(masker, dict(image.manifest.annotations) if image.manifest else {})
        self.values.update(dict.fromkeys(value for text in masker.hidden for value in _unquoted(text)))

    @property
    def texts(self) -> list[str]:
        """The texts to search everywhere, the longest first, since one may contain another."""
        found = self.values if self.named else {self.word: None}
        encoded = {form for text in found if len(text) >= SHORTEST and text != MASK for form in _encodings(text)}
        return sorted(encoded, key=lambda text: (-len(text), text))

    def cleaned(self, value: Any, windows: bool) -> Any:
        """Returns a value of a document without the secret."""
        if self.named:
            value = masked(self.masker(windows), value)
        return _replaced(value, self.texts)

    def occurs_in(self, value: Any, windows: bool) -> bool:
        """Returns whether a value of a document holds the secret."""
        masker = self.masker(windows)
        if self.named:
            masked(masker, value)
        return bool(masker.hidden) or _holds(value, self.texts)


class Redactor:
    """Redacts the images of one command, one after another, and records where it found something."""

    def __init__(self, redaction: Redaction, unset: Sequence[str], task: Task) -> None:
        for word in redaction.words:
            if len(word) < SHORTEST and _NAME.fullmatch(word) is None:
                raise UsageError(f"--redact: text too short, it needs at least {SHORTEST} characters")
        self._secrets = [_Secret(word) for word in redaction.words]
        self._unset = [_Secret(word) for word in unset if word not in redaction.words]
        self._task = task

    @property
    def texts(self) -> list[str]:
        """All texts that must not occur in the result."""
        return list(dict.fromkeys(text for secret in (*self._secrets, *self._unset) for text in secret.texts if secret.word))

    def collect_values(self, image: Image) -> None:
        """Adds the values of the names in an image. To be called for all images before the first is redacted, since the
        value of one image may occur in another."""
        for secret in (*self._secrets, *self._unset):
            secret.collect_values(image)
        for secret in self._unset:
            secret.named = True  # the name of a variable is not searched as a text

    def redacted(self, draft: ImageDraft) -> ImageDraft:
        """Returns the draft without the secrets in configuration and annotations, with a history entry if the configuration
        changed."""
        if not self._secrets:
            return draft
        windows = draft.image.platform.os == "windows"
        config, annotations = dict(draft.config), draft.annotations
        stated = annotations if annotations is not None else (draft.image.manifest.annotations if draft.image.manifest else {})
        noted = dict(stated)
        layers = list(draft.layers)
        for secret in self._secrets:
            for place, part in list(_parts(config)):
                _put(config, place, self._clean(secret, _place_name(place, part), part, windows))
            noted = self._clean(secret, "annotations", noted, windows)
            for number, layer in enumerate(layers):
                old = (layer.descriptor or {}).get("annotations")
                if layer.descriptor is not None and old:
                    new = self._clean(secret, f"annotations of layer {number}", old, windows)
                    if new != old:
                        layers[number] = layer._replace(descriptor={**layer.descriptor, "annotations": new})
        draft = draft._replace(layers=tuple(layers))
        if config != draft.config:
            draft = drafts.configured(draft, config)
            draft = drafts.noted(draft, {"created": timestamp(), "created_by": CREATED_BY})
        return drafts.annotated(draft, noted) if noted != dict(stated) else draft

    def index(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the fields of an index, or of a descriptor in it, without the secrets in its annotations."""
        made = dict(fields)
        for secret in self._secrets:
            if made.get("annotations"):
                made["annotations"] = self._clean(secret, "annotations of the index", made["annotations"], False)
        if isinstance(made.get("manifests"), list):
            made["manifests"] = [self.index(one) if isinstance(one, dict) else one for one in made["manifests"]]
        return made

    def _clean(self, secret: _Secret, place: str, value: Any, windows: bool) -> Any:
        """Returns a value without a secret; records the place if it held it."""
        cleaned = secret.cleaned(value, windows)
        if cleaned == value:
            return value
        secret.places[place] = None
        return cleaned

    # Results

    @property
    def places(self) -> tuple[tuple[str, ...], ...]:
        """For each redacted word, in order, the places that held it."""
        return tuple(tuple(one.places) for one in self._secrets)

    def refuse_unfound(self, searched: bool, embedded: bool) -> None:
        """Raises `NotFoundError` for a word that was found nowhere. `searched`: layers were searched; `embedded`: files
        were found. The word may be the secret itself, so the message has only its number."""
        for number, secret in enumerate(self._secrets, 1):
            if not secret.places and not (embedded and len(self._secrets) == 1):
                which = "" if len(self._secrets) == 1 else f" number {number}"
                where = "history, configuration, annotations" + (" and layers" if searched else "")
                raise NotFoundError(
                    f"--redact{which}: not found in {where}",
                    hint="a variable's or build argument's name, or the text as it stands there"
                    + ("" if searched else "; --search looks into the layers"),
                )

    def tell_leftovers(self, output: OutputImage, image: Image) -> list[tuple[str, str]]:
        """Adds a notice for each removed variable whose value the written documents still hold, with the option that takes
        it out. Returns the places and names."""
        windows = image.platform.os == "windows"
        config, manifest = parse_object(output.config, image.where), parse_object(output.manifest, image.where)
        rest = {key: value for key, value in manifest.items() if key not in ("mediaType", "schemaVersion")}
        parts = [(_place_name(place, part), part) for place, part in _parts(config)]
        parts += [(f"the manifest's {key}", value) for key, value in rest.items()]
        reported: list[tuple[str, str]] = []
        for secret in self._unset:
            found = list(dict.fromkeys(name for name, part in parts if secret.occurs_in(part, windows)))
            if found:
                reported += [(name, secret.word) for name in found]
                hold = "still holds" if len(found) == 1 else "still hold"
                text = f"{', '.join(found)} {hold} the value of {secret.word}: --redact {secret.word} takes it out"
                self._task.notice("leftover", f"{image.where}: {text}")
        for number, secret in enumerate(self._secrets, 1):
            found = list(dict.fromkeys(name for name, part in parts if _holds(part, secret.texts)))
            if found:
                text = f"{', '.join(found)} cannot be changed and still holds what --redact number {number} takes out"
                self._task.notice("leftover", f"{image.where}: {text}")
        return reported

    def carried(self, descriptor: Descriptor, found: Closure) -> None:
        """Adds a notice if an attestation, SBOM or other artifact that is copied along holds what is taken out."""
        from ocitool.operations.edit.search import Needles

        if not self.texts:
            return
        needles = Needles(self.texts)
        blobs: Iterable[Blob | None] = (*found.documents, *(blob for _, blob in found.blobs))
        if any(blob is not None and needles.occur_in(blob, self._task) for blob in blobs):
            kind = "attestation" if descriptor.is_attestation else "artifact"
            self._task.notice(
                "leftover", f"the {kind} {descriptor.digest} is carried along and holds what is taken out, not to be redacted; "
                "--platform writes one image without it",
            )  # fmt: skip


def _unquoted(text: str) -> Iterator[str]:
    """Yields a value as it follows its name, then what it means if it has shell quotes or JSON escapes."""
    import json
    import shlex

    yield text
    # In double quotes a shell removes a backslash before these characters, shlex does not.
    for line in dict.fromkeys((text, re.sub(r"\\([$`])", r"\1", text))):
        with suppress(ValueError):
            words = shlex.split(line)
            if len(words) == 1:
                yield words[0]
    with suppress(ValueError):
        yield json.loads(f'"{text}"', strict=False)


def _encodings(text: str) -> set[str]:
    """Returns a text as it is, and encoded for JSON, URLs, single quotes of a shell, and base64 if it is not too short."""
    import json
    from urllib.parse import quote

    in_json = {json.dumps(text, ensure_ascii=ascii)[1:-1] for ascii in (False, True)}
    in_url = {quote(text, safe=safe, errors="replace") for safe in ("", "/")}
    raw = text.encode("utf-8", "replace")
    in_base64 = {form for altchars in (None, b"-_") for form in _base64(raw, altchars)} if len(raw) >= 6 else set()
    return {text, *in_json, *in_url, *in_base64, text.replace("'", "'\"'\"'"), text.replace("'", "'\\''")}


def _base64(raw: bytes, altchars: bytes | None) -> Iterator[str]:
    """Yields bytes in base64: alone, and as part of a longer text (`user:password`): for each of the three offsets modulo 3
    at which they can begin, the characters that depend on no other bytes."""
    from base64 import b64encode

    yield b64encode(raw, altchars).decode()
    for before in range(3):
        whole = b64encode(bytes(before) + raw, altchars).decode()
        yield whole[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]


def _redactable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the members of a configuration that are redacted."""
    return {key: value for key, value in config.items() if key not in _KEPT}


Spot = tuple[str | int, ...]


def _parts(config: Mapping[str, Any]) -> Iterable[tuple[Spot, Any]]:
    """Yields the parts of a configuration that are reported as one place each. A part is an object with one member, so that
    the masker knows its name."""
    for key, value in config.items():
        if key in _KEPT:
            continue
        if key == "history" and isinstance(value, list):
            for number, entry in enumerate(value):
                known = entry if isinstance(entry, dict) else {"": entry}
                yield ("history", number), {name: one for name, one in known.items() if name not in _KEPT}
        elif isinstance(value, dict) and key in ("config", "container_config"):
            for name, one in value.items():
                if name == "Env" and isinstance(one, list):
                    for number, line in enumerate(one):
                        yield (key, name, number), {"Env": [line]}
                elif name == "Labels" and isinstance(one, dict):
                    for label, text in one.items():
                        yield (key, name, label), {label: text}
                else:
                    yield (key, name), {name: one}
        else:
            yield (key,), {key: value}


def _put(config: dict[str, Any], spot: Spot, part: Any) -> None:
    """Sets a part of a configuration. Objects and lists that contain it are copied, not changed."""
    if spot[0] == "history" and len(spot) == 2:
        history = list(config["history"])
        entry = history[int(spot[1])]
        history[int(spot[1])] = {**entry, **part} if isinstance(entry, dict) else part[""]
        config["history"] = history
    elif len(spot) == 1:
        del config[str(spot[0])]
        config.update(part)
    else:
        section = dict(config[str(spot[0])])
        name = str(spot[1])
        if len(spot) == 2:
            section = _exchanged(section, name, part)
        elif name == "Env":
            lines = list(section[name])
            lines[int(spot[2])] = part["Env"][0]
            section[name] = lines
        else:
            section[name] = _exchanged(section[name], str(spot[2]), part)
        config[str(spot[0])] = section


def _exchanged(fields: Mapping[str, Any], name: str, part: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an object with the members of `part` in place of one member, in the same order."""
    made: dict[str, Any] = {}
    for key, value in fields.items():
        made.update(part if key == name else {key: value})
    return made


def _place_name(spot: Spot, part: Any) -> str:
    """Returns the name of a part for messages. It never has the value, and the name of a label only if that looks like a
    name."""
    if spot[0] == "history" and len(spot) == 2:
        return f"history[{spot[1]}]"
    member = ".".join(map(str, spot[:2]))
    if len(spot) < 3:
        return member
    name = str(part["Env"][0]).partition("=")[0] if spot[1] == "Env" else str(spot[2])
    return f"{member} ({name})" if _NAME.fullmatch(name) and len(name) < 80 else member


def _replaced(value: Any, texts: Sequence[str]) -> Any:
    if isinstance(value, str):
        for text in texts:
            value = value.replace(text, MASK)
        return value
    if isinstance(value, list):
        return [_replaced(item, texts) for item in value]
    if isinstance(value, dict):
        return {_replaced(key, texts): _replaced(item, texts) for key, item in value.items()}
    return value


def _holds(value: Any, texts: Sequence[str]) -> bool:
    if isinstance(value, str):
        return any(text in value for text in texts)
    if isinstance(value, list):
        return any(_holds(item, texts) for item in value)
    if isinstance(value, dict):
        return any(_holds(key, texts) or _holds(item, texts) for key, item in value.items())
    return False
