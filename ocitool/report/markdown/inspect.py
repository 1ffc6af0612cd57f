"""`inspect` in Markdown: what an image is, a section for each platform."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ocitool import masking
from ocitool.images.image import Layer
from ocitool.operations.inspect import InspectedImage, Inspection
from ocitool.report.escape import cell, code, human
from ocitool.report.markdown.page import END, LIMIT, SMALLEST, Page, cut, say_notices, table_row
from ocitool.report.markdown.words import made_by, path_text, platform_text, plural, short, value_text
from ocitool.trees.waste import Waste

_INSPECT_HINT = " (`ocitool inspect --format json` has all)"


def inspect_markdown(result: Inspection) -> str:
    page = Page(LIMIT)
    page.say("<!-- ocitool inspect -->", f"### Image {code(short(result.reference))}")
    if result.document is not None:
        rows = (
            [table_row(
                platform_text(entry.platform, cell) if entry.platform else "",
                entry.kind, cell(short(str(entry.digest))) if entry.digest is not None else "",
                human(entry.size) if entry.size is not None else "", ", ".join(cell(short(tag)) for tag in entry.tags[:5]),
                "cannot be read" if entry.problem else "not here" if entry.present is False else "",
            )]
            for entry in result.entries
        )  # fmt: skip
        head = ["", f"**Index of {len(result.entries):,} manifests**", "",
                "| platform | kind | digest | manifest | tags | |", "| --- | --- | --- | ---: | --- | --- |"]  # fmt: skip
        page.section(head, rows, len(result.entries), "manifests", cap=12_000, hint=_INSPECT_HINT)
    for position, item in enumerate(result.images):
        part = Page(page.part(len(result.images) - position))
        if part.left < SMALLEST:
            page.say(*cut(len(result.images) - position, "more images", _INSPECT_HINT))
            break
        _image(part, item, titled=len(result.images) > 1)
        page.say(*part.lines)
    problems = ([f"- {code(short(str(one)))}"] for one in result.problems)
    head = ["", f"**{plural(len(result.problems), 'problem')}: what could not be read**", ""]
    page.section(head, problems, len(result.problems), "problems", cap=8_000, hint=_INSPECT_HINT)
    say_notices(page, result.notices)
    return str(page)


def _image(page: Page, item: InspectedImage, *, titled: bool) -> None:
    image = item.image
    if titled:
        page.say("", f"#### {platform_text(image.platform)}" + (f" {code(short(image.tags[0]))}" if image.tags else ""))
    unpacked = [facts.uncompressed_size for facts in item.layers]
    total = "" if None in unpacked else f", {human(sum(size or 0 for size in unpacked))} unpacked"
    page.say("", f"{platform_text(image.platform)} · {plural(len(image.layers), 'layer')}, {human(image.size)} stored{total}")
    identity = [("digest", image.digest), ("image ID", image.image_id), ("created", masking.text(image.config.created or "")),
                ("author", masking.text(image.config.author or ""))]  # fmt: skip
    facts = [[table_row(name, cell(short(str(value))))] for name, value in identity if value]
    if image.tags:
        more = f" and {len(image.tags) - 5:,} more" if len(image.tags) > 5 else ""
        facts.append([table_row("tags", " ".join(cell(short(tag)) for tag in image.tags[:5]) + more)])
    page.section(["", "| | |", "| --- | --- |"], facts, len(facts), "facts", hint=_INSPECT_HINT)
    counted = any(known.files is not None for known in item.layers)
    rows = (
        [table_row(
            str(layer.number), human(layer.size), human(f.uncompressed_size) if f.uncompressed_size is not None else "",
            *([f"{f.files:,}" if f.files is not None else ""] if counted else []), made_by(layer),
            cell(layer.digest.short) if layer.digest else "",
        )]
        for layer, f in zip(image.layers, item.layers, strict=True)
    )  # fmt: skip
    files, rule = (" files |", " ---: |") if counted else ("", "")
    head = ["", "**Layers**", "", f"| layer | stored | unpacked |{files} instruction | digest |",
            f"| ---: | ---: | ---: |{rule} --- | --- |"]  # fmt: skip
    page.section(head, rows, len(image.layers), "layers", cap=20_000, hint=_INSPECT_HINT)
    _settings(page, item)
    if item.waste is not None:
        _waste(page, item.waste, image.layers)


def _settings(page: Page, item: InspectedImage) -> None:
    config = item.image.config
    rows = []
    for name in ("User", "WorkingDir", "Entrypoint", "Cmd", "StopSignal", "Healthcheck", "OnBuild", "Shell"):
        value = config.settings.get(name)
        if value not in (None, "", [], {}):
            rows.append([table_row(name, cell(short(value_text(value, name))))])
    for title, setting in (("Ports", "ExposedPorts"), ("Volumes", "Volumes")):
        keys = config.keys(setting)
        more = f" and {len(keys) - 20:,} more" if len(keys) > 20 else ""
        if keys:
            rows.append([table_row(title, " ".join(cell(short(masking.text(key))) for key in keys[:20]) + more)])
    page.section(["", "**Configuration**", "", "| | |", "| --- | --- |"], rows, len(rows), "settings", cap=12_000,
                 hint=_INSPECT_HINT)  # fmt: skip
    env = config.settings.get("Env")
    names = [item for item in env if isinstance(item, str)] if isinstance(env, list) else []
    labels = config.settings.get("Labels")
    pairs = [(masking.text(name), value) for name, value in labels.items()] if isinstance(labels, dict) else []
    for word, total, found in (
        ("environment variable", len(names), (_variable(item) for item in names)),
        ("label", len(pairs), (table_row(cell(short(name)), cell(short(value_text(value, name)))) for name, value in pairs)),
    ):
        head = ["", f"<details><summary>{plural(total, word)}</summary>", "", "| name | value |", "| --- | --- |"]
        page.section(head, ([row] for row in found), total, f"{word}s", tail=END, cap=10_000, hint=_INSPECT_HINT)


def _variable(item: str) -> str:
    name, _, value = item.partition("=")
    return table_row(cell(short(masking.text(name))), cell(short(masking.variable(name, value))))


def _waste(page: Page, waste: Waste, layers: Sequence[Layer]) -> None:
    files, size = waste.total()
    page.say("", f"**Waste**: {human(size)} in {plural(files, 'file')} that nobody sees")
    sizes: dict[int, Counter[str]] = {}
    for hidden in waste.hidden:
        sizes.setdefault(hidden.by, Counter())[hidden.kind] += hidden.size
    guilty = sorted(sizes, key=lambda number: (-sum(sizes[number].values()), number))
    kinds = ("overwritten", "deleted", "copied-up")
    by_layer = (
        [table_row(str(number), made_by(layers[number]), *(human(sizes[number][kind]) for kind in kinds))] for number in guilty
    )
    head = ["", "| layer | hidden by | overwritten | deleted | copied up |", "| ---: | --- | ---: | ---: | ---: |"]
    page.section(head, by_layer, len(guilty), "layers", cap=8_000, hint=_INSPECT_HINT)
    shown_paths = [[table_row(human(w.bytes), cell(path_text(w.path)), w.kind, f"{w.versions:,}")] for w in waste.paths]
    head = ["", f"<details><summary>{plural(len(waste.paths), 'most wasteful path')}</summary>", "",
            "| size | path | how | copies |", "| ---: | --- | --- | ---: |"]  # fmt: skip
    page.section(head, shown_paths, len(shown_paths), "paths", tail=END, cap=8_000, hint=_INSPECT_HINT)
    largest = [[table_row(human(found.size), cell(path_text(found.path)), str(found.layer))] for found in waste.largest]
    head = ["", f"<details><summary>{plural(len(largest), 'largest file')}</summary>", "",
            "| size | path | layer |", "| ---: | --- | ---: |"]  # fmt: skip
    page.section(head, largest, len(largest), "files", tail=END, cap=8_000, hint=_INSPECT_HINT)
