"""`ocitool layout`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocitool.cli.shared import OUTPUT, TALK, Shared, with_shared

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True, short_help="Keep one store of many images.",
    help="Keep an OCI layout that holds many images: drop names, free blobs, share equal files, tidy up. Safe beside other "
    "ocitool commands and after a crash; other programs take no locks, so let none write to the layout at the same time.",
)  # fmt: skip

Directory = Annotated[str, typer.Argument(metavar="DIR", help="An OCI layout.", show_default=False)]

_RM = """\b
Examples:
  ocitool layout rm store/ app:1.0
  ocitool layout rm store/ 1.0 1.1 @0              several, one by its position
  ocitool layout rm store/ @sha256:4f06...         all names of one image
  ocitool layout rm --referrers store/ app:1.0     and its signatures and attestations
"""


@app.command("rm", epilog=_RM, short_help="Drop names of images.")
@with_shared("dry_run", *OUTPUT, *TALK, remote=False)
def rm(
    directory: Directory,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Tag or full name, @N, or @sha256:... for all.")],
    referrers: Annotated[
        bool, typer.Option("--referrers", help="Also drop what refers to the images: signatures, attestations, SBOMs.")
    ] = False,
    *,
    shared: Shared,
) -> None:
    """Drop images from index.json by their names, all or none of them. Their blobs stay until `layout gc`. What refers to a
    dropped image by its digest is listed, and stays unless --referrers is given."""
    with shared.running() as session:
        from ocitool.operations import layout

        result = layout.remove(directory, names, session.task, referrers=referrers, dry_run=shared.dry_run)
    shared.show("rm", result)


_GC = """\b
Examples:
  ocitool layout gc --dry-run store/
  ocitool layout gc store/

\b
Kept: whatever any descriptor names on the way down from index.json, and what
has a kept manifest as its subject. Files whose names are not digests are left
alone. If an entry of index.json is missing (exit 3), or a manifest or index
is damaged or cannot be read (exit 4, 5 or 8), nothing is freed, since what it
needs cannot be known: copy the image into the layout again, or drop its entry
with `layout rm`. A manifest that an index lists may be missing (an index of
which one platform was fetched): it is reported, and keeps nothing.
"""


@app.command("gc", epilog=_GC, short_help="Free blobs that no image needs.")
@with_shared("dry_run", *OUTPUT, *TALK, remote=False)
def gc(
    directory: Directory,
    *,
    shared: Shared,
) -> None:
    """Free the blobs that cannot be reached from index.json. Waits for running ocitool writers and keeps new ones waiting;
    other programs that write to the layout (skopeo, umoci, podman, buildah) do not take this lock, and a blob that one of
    them has written and not yet named in index.json would be freed."""
    with shared.running() as session:
        from ocitool.operations import layout

        result = layout.collect(directory, session.task, dry_run=shared.dry_run)
    shared.show("gc", result)


_LINK = """\b
Examples:
  ocitool layout link --dry-run a/ b/
  ocitool layout link stores/*/

\b
Exit: 1 if a blob does not match its digest; it is named and left alone.
"""


@app.command("link", epilog=_LINK, short_help="Share equal blobs between layouts.")
@with_shared("dry_run", *OUTPUT, "jobs", *TALK, remote=False)
def link(
    directories: Annotated[list[str], typer.Argument(metavar="DIR DIR...", help="OCI layouts.", show_default=False)],
    *,
    shared: Shared,
) -> None:
    """Make equal blobs of several layouts one file, by hard links to that of the first layout. Every file is hashed before.
    Files of different mode or owner are not linked, but reflinked if the file system can. Safe as long as no program
    changes a blob in place: ocitool never does."""
    with shared.running() as session:
        from ocitool.operations import layout

        result = layout.link(directories, session.task, dry_run=shared.dry_run)
    shared.show("link", result)
    if result.damaged:
        raise typer.Exit(1)


_NORMALIZE = """\b
Mended:
  oci-layout, and manifests and schemaVersion of index.json, are added where
    they are missing
  an entry of index.json is dropped if another one says the same and more:
    a duplicate; one without a name, if another one of its digest has a name
  temporary files of dead ocitool processes are removed

\b
Reported, never touched:
  blobs that are missing, empty or of another size than stated; with --verify
    also those that do not match their digest
  one name for two images; attestations of images that are gone; files in
    blobs/ that are not blobs

\b
Exit: 1 if there is an error among the findings. index.json keeps its bytes
if nothing in it is mended; blobs always do.
"""


@app.command("normalize", epilog=_NORMALIZE, short_help="Tidy up, and report what is wrong.")
@with_shared("dry_run", *OUTPUT, "jobs", *TALK, remote=False)
def normalize(
    directory: Directory,
    verify: Annotated[bool, typer.Option("--verify", help="Read and hash every blob.")] = False,
    *,
    shared: Shared,
) -> None:
    """Put a layout into one shape, and report what cannot be mended."""
    with shared.running() as session:
        from ocitool.operations import layout

        result = layout.normalize(directory, session.task, verify=verify, dry_run=shared.dry_run)
    shared.show("normalize", result)
    if any(finding.severity == "error" for finding in result.findings):
        raise typer.Exit(1)
