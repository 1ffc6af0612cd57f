"""The table of what was measured, from one run of `tests/benchmarks/run --record docs/figures.json`.

A row has three cells. `{JOB: PROGRAM}` in a cell is replaced by the seconds, the CPU seconds and, if it is known, the peak
memory of that program, `{JOB: PROGRAM | FIGURE}` by one figure: `wall` or the heading of a column, as in the record.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

RECORD = Path("docs", "figures.json")

Row = tuple[str, str, str]

ROWS: tuple[Row, ...] = (
    ("`--version`", "{startup: ocitool --version}", "{startup: empty typer program}: an empty typer program"),
    (
        "`inspect`, any archive or layout, 20 GB too",
        "{startup: ocitool inspect, 20 GB archive}",
        "{startup: skopeo inspect, 20 GB archive}: skopeo",
    ),
    ("`diff`, one small layer changed", "{diff-shared: ocitool diff, layouts, changed, cold}", ""),
    (
        "`diff`, a layer of 285 MB built again, both gzip",
        "{diff-big: ocitool diff, cold}",
        "{diff-big: floor}: gunzip and hash alone; {diff-big: umoci unpack twice, diff -rq}: `umoci unpack` twice, `diff -rq`",
    ),
    ("the same again, from the cache", "{diff-big: ocitool diff, warm}", ""),
    (
        "`unpack` of the gzip layout, as root",
        "{unpack: ocitool unpack}",
        "{unpack: umoci unpack}: umoci; {unpack: tar -xzf, layer by layer}: `tar -xzf` layer by layer",
    ),
    (
        "`unpack --as rootfs` of a layer of 100,000 small files",
        "{small-files: ocitool unpack --as rootfs}",
        "{small-files: tar -xzf}: `tar -xzf`; {small-files: umoci unpack}: umoci",
    ),
    (
        "`ls -R` of it; from the cache",
        "{small-files: ocitool ls -R, cold}; {small-files: ocitool ls -R, warm}",
        "{small-files: tar -tzf}: `tar -tzf`",
    ),
    (
        "the same as an editable directory; shared layers",
        "{small-files: ocitool unpack --as editable}; {small-files: ocitool unpack --as layers}",
        "",
    ),
    (
        "`ls -R` of 10,000, 100,000 and 1,000,000 files in one layer: CPU a file beyond gunzip and hashes",
        "{entries: ocitool ls -R, 10,000 | entry}, {entries: ocitool ls -R, 100,000 | entry}, "
        "{entries: ocitool ls -R, 1,000,000 | entry} us; a million: {entries: ocitool ls -R, 1,000,000}",
        "{entries: floor, one of 1,000,000}: gunzip and hash of a million alone",
    ),
    (
        "`diff` of two such images",
        "{entries: ocitool diff, 10,000 | entry}, {entries: ocitool diff, 100,000 | entry}, "
        "{entries: ocitool diff, 1,000,000 | entry} us; a million: {entries: ocitool diff, 1,000,000}",
        "{entries: floor, two of 1,000,000}: gunzip and hash of both alone",
    ),
    (
        "`copy` of the docker archive to a gzip layout",
        "{copy: ocitool copy to a gzip layout}",
        "{copy: skopeo copy to a gzip layout}: skopeo",
    ),
    (
        "`copy`; `edit --env` of an archive of 456 MB with two layers, every byte hashed on its way",
        "{edit: ocitool copy, 456 MB archive}; {edit: ocitool edit --env, 456 MB archive}",
        "{edit: cp and SHA-256 at a time, 456 MB archive}: `cp` and SHA-256 at the same time",
    ),
    ("`edit --rm` of a file in the base layer of 170 MB", "{edit: ocitool edit --rm, layout}", ""),
    (
        "`squash` of the image to one gzip layer; from the cache",
        "{squash: ocitool squash, cold}; {squash: ocitool squash, warm}",
        "{squash: floor}: gunzip, hash and gzip alone; {squash: buildah from, commit --squash, push}: buildah from, "
        "commit --squash, push; {squash: crane flatten | wall}: `crane flatten` at a local registry",
    ),
    (
        "`repack` of the unpacked image with a file of its largest layer changed; from the cache",
        "{repack: ocitool repack, cold}; {repack: ocitool repack, warm}",
        "{repack: floor}: gunzip, hash and gzip of that layer alone",
    ),
    (
        "`rebuild` of a build without cache, to a registry that has the first: layer bytes sent",
        "{rebuild: ocitool rebuild, ignored paths, cold | layers sent MB} MB with caches and logs ignored; `--plan delta` "
        "{rebuild: ocitool rebuild delta, cold | layers sent MB} MB",
        "{rebuild: ocitool push | layers sent MB} MB: a plain push",
    ),
    (
        "`copy --tags '*'`, 500 tags of one image, from one registry to another; again",
        "{tags: ocitool copy, 500 tags, first}; {tags: ocitool copy, 500 tags, again}",
        "{tags: crane copy, 500 tags, first}; {tags: crane copy, 500 tags, again}: `crane copy --all-tags`",
    ),
    (
        "`inspect docker://`; `tags`; with TLS and a token",
        "{registry: ocitool inspect: HTTP, no login}; {registry: ocitool tags: HTTP, no login}; "
        "{registry: ocitool inspect: TLS, token}",
        "{registry: crane manifest: HTTP, no login}: `crane manifest`; "
        "{registry: skopeo inspect: TLS, token}: skopeo, with TLS and a token",
    ),
    (
        "`pull` of the image, 171 MB as gzip, from a local registry to a layout",
        "{registry: ocitool pull}",
        "{registry: skopeo copy, from registry}: skopeo; {registry: crane pull, layout}: crane",
    ),
    (
        "`push` of the image from a layout",
        "{registry: ocitool push}",
        "{registry: skopeo copy, to registry}: skopeo; {registry: crane push}: crane",
    ),
    (
        "either once more; `push` where one small layer differs",
        "{registry: ocitool pull, again}; {registry: ocitool push, again}; {registry: ocitool push, one small layer differs}",
        "",
    ),
    (
        "`pull` of an image five times as large; `push` of it",
        "{registry: ocitool pull, big}; {registry: ocitool push, big}",
        "{registry: crane pull, layout, big}; {registry: crane push, big}: crane",
    ),
    (
        "`pull` of the image at 20 MB a second for each connection",
        "{registry: ocitool pull, 20 MB/s a connection}",
        "{registry: crane pull, layout, 20 MB/s a connection}: crane",
    ),
    (
        "`pull` of 100 small blobs, 20 ms away, to a layout; to an archive",
        "{registry: ocitool pull, 100 blobs, 20 ms}; {registry: ocitool pull, archive, 100 blobs, 20 ms}",
        "{registry: crane pull, 100 blobs, 20 ms}; {registry: crane pull, archive, 100 blobs, 20 ms}: crane; "
        "{registry: skopeo copy, 100 blobs, 20 ms}: skopeo",
    ),
    (
        "`push` of them",
        "{registry: ocitool push, 100 blobs, 20 ms}",
        "{registry: crane push, 100 blobs, 20 ms}: crane; {registry: skopeo push, 100 blobs, 20 ms}: skopeo",
    ),
    (
        "`dedupe` of 1,000 small archives",
        "{dedupe: ocitool dedupe, 1,000 archives, warm}",
        "{dedupe: skopeo inspect of each of 1,000 archives}: `skopeo inspect` of each",
    ),
    (
        "`dedupe` of a layout of 10,000 and of 100,000 images with 12 layers each",
        "{dedupe: ocitool dedupe, 10,000 images}; {dedupe: ocitool dedupe, 100,000 images}",
        "",
    ),
    (
        "`dedupe --files` of three builds, 453 MB as gzip; from the cache",
        "{dedupe: ocitool dedupe --files, cold}; {dedupe: ocitool dedupe --files, warm}",
        "{dedupe: floor}: gunzip and all hashes on both cores",
    ),
)

SHORT = (
    "`inspect`", "`diff`, a layer", "`unpack` of the gzip", "`unpack --as rootfs`", "`copy` of the docker", "`squash`",
    "`pull` of the image", "`push` of the image", "`dedupe` of 1,000",
)  # fmt: skip
"""The rows that README.md shows: how they begin."""

_FIGURE = re.compile(r"\{(?P<job>[^:{}]+): (?P<program>[^{}]+?)(?: \| (?P<figure>[^{}]+))?\}")


def table(root: Path, *, short: bool = False) -> str:
    """The table, or the rows of it that README.md shows."""
    record = json.loads((root / RECORD).read_text("utf-8"))
    rows = [row for row in ROWS if not short or row[0].startswith(SHORT)]
    lines = ["| What | ocitool | Beside |", "|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(filled(cell, record) for cell in row)} |" for row in rows])


def conditions(root: Path) -> str:
    """A sentence that says on what, and how, it was measured."""
    record = json.loads((root / RECORD).read_text("utf-8"))
    return (
        f"Medians of {record['rounds']} rounds in turn with the peers, all of one run, on a tmpfs ({record['machine']}, "
        f"Python {record['python']}): wall clock, in brackets CPU, and the largest peak of memory "
        "if it is above that of the program that measures."
    )


def missed(root: Path) -> str:
    """The targets of the benchmarks that this run did not meet, as a list."""
    record = json.loads((root / RECORD).read_text("utf-8"))
    found = [
        f"- `{job}`: {line.partition(': ')[2]}"
        for job, run in record["jobs"].items()
        for line in run["targets"]
        if not line.startswith("met: ")
    ]
    return "\n".join(found or ["None."])


def filled(cell: str, record: dict[str, Any]) -> str:
    """A cell with its figures. Raises `KeyError` for a program or figure that the record does not have."""

    def figure(match: re.Match[str]) -> str:
        programs = record["jobs"][match["job"]]["programs"]
        found = programs[match["program"]]
        if match["figure"] is None:
            # Linux counts the memory of the process that starts a program into its peak: one that is not above it is not known.
            known = found["peak"] > 1.05 * min(one["peak"] for one in programs.values())
            return f"{seconds(found['wall'])} s ({seconds(found['cpu'])})" + (f", {found['peak']:.0f} MB" if known else "")
        return seconds(found["wall"]) + " s" if match["figure"] == "wall" else str(found[match["figure"]])

    return _FIGURE.sub(figure, cell)


def seconds(value: float) -> str:
    """Seconds with two or three figures that count."""
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"
