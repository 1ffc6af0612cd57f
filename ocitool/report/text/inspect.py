"""`inspect` as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ocitool import masking
from ocitool.images.image import Image, Layer
from ocitool.operations.inspect import InspectedEntry, InspectedImage, Inspection
from ocitool.report.escape import human, shown, stated
from ocitool.report.phrases import count_of
from ocitool.report.text.parts import Paint, columns, instruction, shown_path, value_text
from ocitool.spec import mediatypes

if TYPE_CHECKING:
    from ocitool.trees.waste import HiddenKind, Waste

_DEEDS: tuple[tuple[HiddenKind, str], ...] = (
    ("overwritten", "overwrites"), ("deleted", "deletes"), ("copied-up", "copies up"),
)  # fmt: skip


def inspect_text(result: Inspection, paint: Paint) -> Iterator[str]:
    if result.document is not None:
        yield paint.bold(f"{shown(result.reference)}  index of {len(result.entries)} ({result.transport})")
        yield f"  {stated(result.document.media_type)}  {result.document.digest}"
        yield from columns(
            [
                [
                    stated(entry.platform) if entry.platform and entry.kind == "image" else entry.kind,
                    f"{entry.digest.algorithm}:{entry.digest.short}" if entry.digest is not None else "-",
                    "cannot be read" if entry.problem else "not here" if entry.present is False else "",
                    ", ".join(map(shown, entry.tags)) or _type(entry),
                ]
                for entry in result.entries
            ]
        )
        yield ""
    for item in result.images:
        yield from _image(result, item, paint)
    if result.problems:
        yield paint.bold(f"{count_of(len(result.problems), 'problem')}: what could not be read")
        yield from (f"  {shown(str(one))}" for one in result.problems)


def _type(entry: InspectedEntry) -> str:
    """The media type, where a reader would not expect it."""
    return stated(entry.media_type) if entry.media_type not in mediatypes.DOCUMENTS else ""


def _image(result: Inspection, item: InspectedImage, paint: Paint) -> Iterator[str]:
    image = item.image
    name = ", ".join(map(shown, image.tags)) or shown(result.reference)
    artifact = image.manifest.artifact_type if image.manifest else None
    what = stated(image.platform) if image.is_image else f"artifact {stated(artifact or '')}"
    yield paint.bold(f"{name}  {what}  ({image.transport})")
    facts = [["image id", image.image_id]]
    if image.digest:
        facts.append(["digest", str(image.digest)])
    if image.config.created:
        facts.append(["created", stated(image.config.created)])
    if image.config.author:
        facts.append(["author", stated(image.config.author)])
    sizes = [layer.uncompressed_size for layer in item.layers]
    unpacked = "" if None in sizes else f", {human(sum(size for size in sizes if size is not None))} unpacked"
    facts.append(["size", f"{human(image.size)} in {count_of(len(image.layers), 'layer')}{unpacked}"])
    yield from columns(facts)
    settings = list(_settings(image))
    if settings:
        yield ""
        yield from columns(settings)
    yield ""
    rows = [["layer", "size", "unpacked", "codec", "digest", "instruction"]]
    for layer, fact in zip(image.layers, item.layers, strict=True):
        known = layer.digest or layer.diff_id
        rows.append([
            str(layer.number), human(layer.size), human(fact.uncompressed_size) if fact.uncompressed_size is not None else "?",
            _codec(layer, fact.compression), known.short if known else "-",
            instruction(layer.created_by),
        ])  # fmt: skip
    yield from columns(rows, right=(0, 1, 2))
    if not image.aligned or not image.history_aligned:
        yield "  history and layers do not agree; what cannot be paired is not shown"
    if item.waste is not None:
        yield from _waste(item.waste, image, paint)
    yield ""


def _codec(layer: Layer, compression: str | None) -> str:
    """The compression, and what the layer is if it is no tar."""
    if layer.blob is None:
        return "missing"
    content = layer.type.content
    words = (compression, content) if content != "tar" else (compression,)
    return " ".join(word for word in words if word) or "?"


def _settings(image: Image) -> Iterator[list[str]]:
    settings = image.config.settings
    for key in ("User", "WorkingDir", "Entrypoint", "Cmd", "StopSignal", "Healthcheck", "OnBuild", "Shell"):
        value = settings.get(key)
        if value:
            yield [key.lower(), value_text(masking.value(value, key))]
    env = settings.get("Env")
    if isinstance(env, list) and env:
        for item in env:
            if not isinstance(item, str):
                yield ["env", value_text(masking.value(item, "Env"))]
                continue
            name, _, value = item.partition("=")
            yield ["env", f"{shown(masking.text(name))}={shown(masking.variable(name, value))}"]
    for key, keys in (("ports", image.config.keys("ExposedPorts")), ("volumes", image.config.keys("Volumes"))):
        if keys:
            yield [key, ", ".join(shown(masking.text(key)) for key in keys)]
    labels = settings.get("Labels")
    if isinstance(labels, dict):
        for name, value in sorted(labels.items()):
            yield ["label", f"{shown(masking.text(name))}={value_text(masking.value(value, name))}"]


def _waste(waste: Waste, image: Image, paint: Paint) -> Iterator[str]:
    files, size = waste.total()
    yield ""
    yield paint.bold(f"  hidden, but shipped: {human(size)} in {count_of(files, 'file')}")
    rows = []
    for number in sorted({wasted.by for wasted in waste.hidden}):
        parts = [
            f"{name} {human(waste.total(kind, number)[1])}"
            for kind, name in _DEEDS
            if waste.total(kind, number)[0]
        ]
        rows.append([f"layer {number}", ", ".join(parts), instruction(image.layers[number].created_by)])
    yield from columns(rows, indent="    ")
    if waste.paths:
        yield "  paths with the most hidden bytes:"
        yield from columns(
            [[human(p.bytes), p.kind, f"{p.versions}x", shown_path(p.path)] for p in waste.paths], right=(0,), indent="    "
        )
    if waste.largest:
        yield "  largest files:"
        yield from columns(
            [[human(f.size), f"layer {f.layer}", shown_path(f.path)] for f in waste.largest], right=(0,), indent="    "
        )
