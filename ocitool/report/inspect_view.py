"""The content of an `inspect` report, for every format."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ocitool import masking
from ocitool.images.image import Image, Layer
from ocitool.operations.inspect import InspectedEntry, InspectedImage, Inspection, LayerFacts
from ocitool.report.escape import human
from ocitool.report.phrases import (
    LazyRows,
    Phrase,
    Quote,
    count_of,
    exact_quote,
    made_by,
    masked_quote,
    platform_quote,
    value_quote,
)
from ocitool.spec import mediatypes

if TYPE_CHECKING:
    from ocitool.report.installed_view import InstalledView
    from ocitool.report.notable import FailureRow, NotableRow
    from ocitool.report.waste_view import WasteView

_SETTINGS = ("User", "WorkingDir", "Entrypoint", "Cmd", "StopSignal", "Healthcheck", "OnBuild", "Shell")


class EntryRow(NamedTuple):
    """An entry of an index. `what`: the platform of an image, the kind of any other entry. `short`: the digest shortened.
    `state`: that its blob is missing or cannot be read, else empty. `media_type`: empty if it is one of the usual types of
    manifests and indexes."""

    what: Phrase
    digest: str
    short: str
    size: str
    state: str
    tags: tuple[Quote, ...]
    media_type: Phrase


class LayerFactsRow(NamedTuple):
    """A layer. `size`: of its blob; `unpacked`: of its tar. `files`: their number, None if they were not counted."""

    number: str
    size: str
    unpacked: str
    files: str | None
    codec: str
    digest: Phrase
    made_by: Phrase


class NamedValue(NamedTuple):
    """A variable or label. `name`: None if an entry of `Env` is not a string."""

    name: Quote | None
    value: Quote


class ImageView(NamedTuple):
    """An image. `what`: its platform, or the type of an artifact. `settings` and `keys`: by field of the configuration;
    `keys` has those whose values are lists of names. `unpaired`: a remark if layers and history do not agree, else
    empty. `notable`: None unless requested; `accepted`: what of it the policy accepts."""

    tags: tuple[Quote, ...]
    what: Phrase
    transport: str
    facts: tuple[tuple[str, Phrase], ...]
    settings: tuple[tuple[str, Quote], ...]
    variables: LazyRows[NamedValue]
    keys: tuple[tuple[str, tuple[Quote, ...]], ...]
    labels: LazyRows[NamedValue]
    layers: LazyRows[LayerFactsRow]
    unpaired: str
    waste: "WasteView | None"
    packages: "InstalledView | None"
    notable: "tuple[NotableRow, ...] | None"
    accepted: Phrase


class IndexHead(NamedTuple):
    """The title of an index that was inspected as a whole, and what it is."""

    title: str
    media_type: Quote
    digest: str


class InspectView(NamedTuple):
    """What an `inspect` report says. `head`: None unless an index was inspected as a whole. `entries`: those of the index.
    `images`: the inspected images. `problems`: messages about what could not be read. `failures`: the rules that are met."""

    reference: Quote
    head: IndexHead | None
    entries: LazyRows[EntryRow]
    images: LazyRows[ImageView]
    problems_title: str
    problems: LazyRows[Quote]
    failures: "tuple[FailureRow, ...]"


def inspect_view(result: Inspection) -> InspectView:
    """Returns the report as values that a format lays out."""
    head = None
    if result.document is not None:
        title = f"index of {len(result.entries)} ({result.transport})"
        head = IndexHead(title, masked_quote(str(result.document.media_type)), str(result.document.digest))
    problems = f"{count_of(len(result.problems), 'problem')}: what could not be read"
    return InspectView(
        exact_quote(result.reference), head, LazyRows(result.entries, _entry), LazyRows(result.images, _image), problems,
        LazyRows(result.problems, lambda one: Quote(str(one), "message")), _failures(result),
    )  # fmt: skip


def _failures(result: Inspection) -> "tuple[FailureRow, ...]":
    if not result.failures:
        return ()
    from ocitool.report.notable import failure_row

    return tuple(map(failure_row, result.failures))


def _entry(entry: InspectedEntry) -> EntryRow:
    what: Phrase = (platform_quote(entry.platform),) if entry.platform and entry.kind == "image" else (entry.kind,)
    state = "cannot be read" if entry.problem else "not here" if entry.present is False else ""
    digest, short = "-", "-"
    if entry.digest is not None:
        digest, short = str(entry.digest), f"{entry.digest.algorithm}:{entry.digest.short}"
    size = human(entry.size) if entry.size is not None else "-"
    media_type: Phrase = (masked_quote(str(entry.media_type)),) if entry.media_type not in mediatypes.DOCUMENTS else ()
    return EntryRow(what, digest, short, size, state, tuple(map(exact_quote, entry.tags)), media_type)


def _image(item: InspectedImage) -> ImageView:
    image = item.image
    artifact = image.manifest.artifact_type if image.manifest else None
    what: Phrase = (platform_quote(image.platform),) if image.is_image else ("artifact ", masked_quote(artifact or ""))
    agree = image.aligned and image.history_aligned
    config = image.config
    env, labels = config.settings.get("Env"), config.settings.get("Labels")
    return ImageView(
        tuple(map(exact_quote, image.tags)), what, image.transport, tuple(_facts(item)),
        tuple((key, value_quote(config.settings[key], key)) for key in _SETTINGS if _is_set(config.settings, key)),
        LazyRows(env if isinstance(env, list) else (), _variable),
        tuple((title, tuple(map(masked_quote, keys))) for title, keys in (
            ("Ports", config.keys("ExposedPorts")), ("Volumes", config.keys("Volumes"))) if keys),
        LazyRows(sorted(labels.items()) if isinstance(labels, dict) else (), _label),
        LazyRows([(layer, facts, image.sizes_known) for layer, facts in zip(image.layers, item.layers, strict=True)], _layer),
        "" if agree else _unpaired(image),
        _waste(item),
        _packages(item),
        *_notable(item),
    )  # fmt: skip


def _unpaired(image: Image) -> str:
    if image.described is None:
        return "history and layers do not agree; what cannot be paired is not shown"
    return "the engine does not say which instruction made which layer; --files reads the layers"


def _packages(item: InspectedImage) -> "InstalledView | None":
    if item.packages is None:
        return None
    from ocitool.report.installed_view import installed_view  # only with --packages

    return installed_view(item.packages)


def _waste(item: InspectedImage) -> "WasteView | None":
    if item.waste is None:
        return None
    from ocitool.report.waste_view import waste_view  # its types take a hundredth of the time of an `inspect` without --files

    return waste_view(item.waste, item.image)


def _notable(item: InspectedImage) -> "tuple[tuple[NotableRow, ...] | None, Phrase]":
    """Returns what is notable, None if that was not asked, and what of it the policy accepts."""
    if item.notable is None:
        return None, ()
    from ocitool.report.notable import accepted, notable_rows  # only with --notable

    return tuple(notable_rows(item.notable)), accepted(item.notable)


def _facts(item: InspectedImage) -> Iterator[tuple[str, Phrase]]:
    image = item.image
    yield "image id", (exact_quote(image.image_id),)
    if image.digest:
        yield "digest", (exact_quote(str(image.digest)),)
    if image.config.created:
        yield "created", (masked_quote(str(image.config.created)),)
    if image.config.author:
        yield "author", (masked_quote(str(image.config.author)),)
    if image.described is not None:
        yield "configuration", ("as the engine describes it; --raw config gives the exact one",)
    sizes = [layer.uncompressed_size for layer in item.layers]
    unpacked = "" if None in sizes else f", {human(sum(size for size in sizes if size is not None))} unpacked"
    yield "size", (f"{human(image.size)} in {count_of(len(image.layers), 'layer')}{unpacked}",)


def _is_set(settings: Mapping[str, Any], key: str) -> bool:
    return settings.get(key) not in (None, "", [], {})


def _variable(item: Any) -> NamedValue:
    if not isinstance(item, str):
        return NamedValue(None, value_quote(item, "Env"))
    key, _, text = item.partition("=")
    return NamedValue(masked_quote(key), Quote(masking.variable(key, text), "value"))


def _label(item: tuple[str, Any]) -> NamedValue:
    return NamedValue(masked_quote(item[0]), value_quote(item[1], item[0]))


def _layer(row: tuple[Layer, LayerFacts, bool]) -> LayerFactsRow:
    layer, facts, is_sized = row
    unpacked = human(facts.uncompressed_size) if facts.uncompressed_size is not None else "?"
    files = f"{facts.files:,}" if facts.files is not None else None
    known = layer.digest or layer.diff_id
    digest: Phrase = (exact_quote(known.short),) if known else ("-",)
    size = human(layer.size) if is_sized else "?"
    codec = _codec(layer, facts.compression)
    return LayerFactsRow(str(layer.number), size, unpacked, files, codec, digest, made_by(layer))


def _codec(layer: Layer, compression: str | None) -> str:
    """Returns the compression, and the format of a layer that is not a tar."""
    if layer.blob is None:
        return "missing"
    content = layer.type.content
    words = (compression, content) if content != "tar" else (compression,)
    return " ".join(word for word in words if word) or "?"
