"""Secrets out of what an image says of itself: values by the name that they go by, or texts, wherever they stand.

Redacted are history, configuration (`container_config` too), annotations of manifest, layers and index. Layers are only
searched, if that is asked for. No message and no history entry repeats what is taken out.
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
"""Characters of a text that is looked for everywhere; a shorter value goes only where its name stands beside it."""

_NAME = pattern(r"[A-Za-z_][A-Za-z0-9_.-]*")
_KEPT = frozenset({"rootfs", "os", "architecture", "variant", "os.version", "os.features", "created", "empty_layer"})
"""Members of a configuration and of its history that say what an image is; no secret stands there."""


class Redaction(NamedTuple):
    """`words`: names or texts to take out; `search`: look for them, and for what `--unset-env` removes, in the layers."""

    words: tuple[str, ...] = ()
    search: bool = False

    def __bool__(self) -> bool:
        return bool(self.words or self.search)


class _Secret:
    """One name or text that was asked for, and what is known of it from the images."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.named = False
        """Whether something goes by it as a name."""
        self.values: dict[str, None] = {}
        self.places: dict[str, None] = {}
        """Where it was taken out."""

    def masker(self, windows: bool) -> Masker:
        """Hides what goes by this name, and nothing else."""

        def same(name: str) -> bool:
            found = name == self.word or (windows and name.upper() == self.word.upper())
            self.named = self.named or found
            return found

        return Masker(same, everywhere=False)

    def learn(self, image: Image) -> None:
        if _NAME.fullmatch(self.word) is None:
            return
        masker = self.masker(image.platform.os == "windows")
        masked(masker, _spoken(image.config.fields))
        masked(masker, dict(image.manifest.annotations) if image.manifest else {})
        self.values.update(dict.fromkeys(way for text in masker.hidden for way in _readings(text)))

    @property
    def texts(self) -> list[str]:
        """What is looked for everywhere, the longest first: one may be part of another."""
        found = self.values if self.named else {self.word: None}
        spelt = {way for text in found if len(text) >= SHORTEST and text != MASK for way in _spellings(text)}
        return sorted(spelt, key=lambda text: (-len(text), text))

    def cleaned(self, value: Any, windows: bool) -> Any:
        """A value of a document without it."""
        if self.named:
            value = masked(self.masker(windows), value)
        return _replaced(value, self.texts)

    def stands_in(self, value: Any, windows: bool) -> bool:
        masker = self.masker(windows)
        if self.named:
            masked(masker, value)
        return bool(masker.hidden) or _holds(value, self.texts)


class Redactor:
    """Takes out what is asked for from one image after another; what it found is told when all are done."""

    def __init__(self, redaction: Redaction, unset: Sequence[str], task: Task) -> None:
        for word in redaction.words:
            if len(word) < SHORTEST and _NAME.fullmatch(word) is None:
                raise UsageError(f"--redact: a text of fewer than {SHORTEST} characters stands in too many places")
        self._secrets = [_Secret(word) for word in redaction.words]
        self._unset = [_Secret(word) for word in unset if word not in redaction.words]
        self._task = task

    @property
    def texts(self) -> list[str]:
        """What must not stand anywhere any more."""
        return list(dict.fromkeys(text for secret in (*self._secrets, *self._unset) for text in secret.texts if secret.word))

    def learn(self, image: Image) -> None:
        """The values of the names in an image. All images come before the first is redacted: one may show what another says."""
        for secret in (*self._secrets, *self._unset):
            secret.learn(image)
        for secret in self._unset:
            secret.named = True  # a variable's name is no text to look for

    def redacted(self, draft: ImageDraft) -> ImageDraft:
        if not self._secrets:
            return draft
        windows = draft.image.platform.os == "windows"
        config, annotations = dict(draft.config), draft.annotations
        stated = annotations if annotations is not None else (draft.image.manifest.annotations if draft.image.manifest else {})
        noted = dict(stated)
        layers = list(draft.layers)
        for secret in self._secrets:
            for place, part in list(_parts(config)):
                _put(config, place, self._clean(secret, _named(place, part), part, windows))
            noted = self._clean(secret, "annotations", noted, windows)
            for number, layer in enumerate(layers):
                told = (layer.descriptor or {}).get("annotations")
                if layer.descriptor is not None and told:
                    new = self._clean(secret, f"annotations of layer {number}", told, windows)
                    if new != told:
                        layers[number] = layer._replace(descriptor={**layer.descriptor, "annotations": new})
        draft = draft._replace(layers=tuple(layers))
        if config != draft.config:
            draft = drafts.configured(draft, config)
            draft = drafts.noted(draft, {"created": timestamp(), "created_by": CREATED_BY})
        return drafts.annotated(draft, noted) if noted != dict(stated) else draft

    def index(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields of an index, or of a descriptor in it, without what is asked for in its annotations."""
        made = dict(fields)
        for secret in self._secrets:
            if made.get("annotations"):
                made["annotations"] = self._clean(secret, "annotations of the index", made["annotations"], False)
        if isinstance(made.get("manifests"), list):
            made["manifests"] = [self.index(one) if isinstance(one, dict) else one for one in made["manifests"]]
        return made

    def _clean(self, secret: _Secret, place: str, value: Any, windows: bool) -> Any:
        cleaned = secret.cleaned(value, windows)
        if cleaned == value:
            return value
        secret.places[place] = None
        return cleaned

    # Telling

    @property
    def places(self) -> tuple[tuple[str, ...], ...]:
        """For each word that is redacted, in their order, the places that it was in."""
        return tuple(tuple(one.places) for one in self._secrets)

    def settle(self, searched: bool, embedded: bool) -> None:
        """`NotFoundError` for what was found nowhere. It may be the secret itself, so its number is told."""
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
        """Where the documents that are written still hold the value of a variable that is removed, with the command that
        takes it out: places and names are returned."""
        windows = image.platform.os == "windows"
        config, manifest = parse_object(output.config, image.where), parse_object(output.manifest, image.where)
        rest = {key: value for key, value in manifest.items() if key not in ("mediaType", "schemaVersion")}
        parts = [(_named(place, part), part) for place, part in _parts(config)]
        parts += [(f"the manifest's {key}", value) for key, value in rest.items()]
        told: list[tuple[str, str]] = []
        for secret in self._unset:
            found = list(dict.fromkeys(name for name, part in parts if secret.stands_in(part, windows)))
            if found:
                told += [(name, secret.word) for name in found]
                hold = "still holds" if len(found) == 1 else "still hold"
                text = f"{', '.join(found)} {hold} the value of {secret.word}: --redact {secret.word} takes it out"
                self._task.notice("leftover", f"{image.where}: {text}")
        for number, secret in enumerate(self._secrets, 1):
            found = list(dict.fromkeys(name for name, part in parts if _holds(part, secret.texts)))
            if found:
                text = f"{', '.join(found)} cannot be changed and still holds what --redact number {number} takes out"
                self._task.notice("leftover", f"{image.where}: {text}")
        return told

    def carried(self, descriptor: Descriptor, found: Closure) -> None:
        """Tells of an attestation, SBOM or other artifact that is carried along and holds what is taken out."""
        from ocitool.operations.edit.search import Needles

        if not self.texts:
            return
        needles = Needles(self.texts)
        blobs: Iterable[Blob | None] = (*found.documents, *(blob for _, blob in found.blobs))
        if any(blob is not None and needles.stand_in(blob, self._task) for blob in blobs):
            kind = "attestation" if descriptor.is_attestation else "artifact"
            self._task.notice(
                "leftover", f"the {kind} {descriptor.digest} is carried along and holds what is taken out, not to be redacted; "
                "--platform writes one image without it",
            )  # fmt: skip


def _readings(text: str) -> Iterator[str]:
    """A value as it stands behind its name, and what it is if a shell's quotes or JSON's escapes stand there."""
    import json
    import shlex

    yield text
    # In double quotes a shell takes a backslash before these away, shlex does not.
    for way in dict.fromkeys((text, re.sub(r"\\([$`])", r"\1", text))):
        with suppress(ValueError):
            words = shlex.split(way)
            if len(words) == 1:
                yield words[0]
    with suppress(ValueError):
        yield json.loads(f'"{text}"', strict=False)


def _spellings(text: str) -> set[str]:
    """A text as it stands by itself, in JSON, in a URL, in a shell's single quotes, and in base64 if it is not too short."""
    import json
    from urllib.parse import quote

    in_json = {json.dumps(text, ensure_ascii=ascii)[1:-1] for ascii in (False, True)}
    in_url = {quote(text, safe=safe, errors="replace") for safe in ("", "/")}
    raw = text.encode("utf-8", "replace")
    in_base64 = {way for altchars in (None, b"-_") for way in _encoded(raw, altchars)} if len(raw) >= 6 else set()
    return {text, *in_json, *in_url, *in_base64, text.replace("'", "'\"'\"'"), text.replace("'", "'\\''")}


def _encoded(raw: bytes, altchars: bytes | None) -> Iterator[str]:
    """Bytes in base64: by themselves, and within a longer text (`user:password`) as the characters that no neighbour shares,
    for each of the three offsets at which they can begin."""
    from base64 import b64encode

    yield b64encode(raw, altchars).decode()
    for before in range(3):
        whole = b64encode(bytes(before) + raw, altchars).decode()
        yield whole[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]


def _spoken(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _KEPT}


Spot = tuple[str | int, ...]


def _parts(config: Mapping[str, Any]) -> Iterable[tuple[Spot, Any]]:
    """The parts of a configuration that are told as one place each. A part comes as an object or list of one member, so that it
    is read by the name it stands under."""
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
    """Sets a part of the configuration; what holds it is copied, not changed."""
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
    """An object with others in a member's place, the order kept."""
    made: dict[str, Any] = {}
    for key, value in fields.items():
        made.update(part if key == name else {key: value})
    return made


def _named(spot: Spot, part: Any) -> str:
    """What a part is called in messages: never by its value, and by a label's name only if that is like one."""
    if spot[0] == "history" and len(spot) == 2:
        return f"history[{spot[1]}]"
    called = ".".join(map(str, spot[:2]))
    if len(spot) < 3:
        return called
    name = str(part["Env"][0]).partition("=")[0] if spot[1] == "Env" else str(spot[2])
    return f"{called} ({name})" if _NAME.fullmatch(name) and len(name) < 80 else called


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
