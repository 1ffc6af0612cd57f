"""`ocitool engine`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ocitool.cli import options, review
from ocitool.cli.edit import settings
from ocitool.cli.shared import OUTPUT, READ, REVIEW, TALK, Shared, with_shared
from ocitool.images import config_edits

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True, short_help="Containers of a Docker engine.",
    help="See what containers of a Docker engine changed of their images, and make images of that. The engine is the one that "
    "the docker client would use: --host, --context, DOCKER_HOST, DOCKER_CONTEXT, its configuration, the local socket.",
)  # fmt: skip

_Container = Annotated[
    str, typer.Argument(metavar="CONTAINER", help="Its name, or the beginning of its id.", show_default=False)
]
_Image = Annotated[
    str | None,
    typer.Option("--image", metavar="REF", help="The container's image in a file or at a registry, instead of the engine's."),
]
_Pause = Annotated[bool, typer.Option("--pause", help="Pause a running container while it is read.")]

_CONTAINERS = """\b
Examples:
  ocitool engine containers
  ocitool engine containers --running --format json
  ocitool engine containers --host tcp://build.example:2376

\b
"writable" are the bytes of the container's own layer, "all" those of its whole file system with the image's.
"""


@app.command("containers", epilog=_CONTAINERS, short_help="List containers and the bytes they have written.")
@with_shared(*OUTPUT, *TALK, remote=False, engine=True)
def containers(
    running: Annotated[bool, typer.Option("--running", help="Only those that run or are paused.")] = False,
    *,
    shared: Shared,
) -> None:
    """List the containers of an engine: name, image, state, and the bytes of the writable layer."""
    with shared.running() as session:
        from ocitool.containers.listing import containers as listed

        result = listed(session, running=running)
    shared.show("containers", result)


_DF = """\b
Examples:
  ocitool engine df
  ocitool engine df --context build --format json

\b
Bytes of layers are those of their files, as the engine counts them. "unique" are the bytes of layers that no other
image has, "shared" those of the others. ocitool dedupe docker-daemon: says more of what images share.
Exit: 1 when an image could not be read.
"""


@app.command("df", epilog=_DF, short_help="What images and containers take.")
@with_shared(*OUTPUT, "jobs", *TALK, remote=False, engine=True)
def df(
    *,
    shared: Shared,
) -> None:
    """Show what an engine's images take, in layers of their own and in shared ones, and what its containers have written."""
    with shared.running() as session:
        from ocitool.containers.disk_usage import disk_usage

        result = disk_usage(session)
    shared.show("df", result)
    if result.images.problems:
        raise typer.Exit(1)


_DIFF = f"""\b
Examples:
  ocitool engine diff web
  ocitool engine diff -p --path 'etc/**' web
  ocitool engine diff --pause --format json web
  ocitool engine diff --image registry-copy/:web --fail-on notable web

\b
What is mounted (volumes, bind mounts, tmpfs) does not belong to the writable layer.

{review.RULES}"""


@app.command("diff", epilog=_DIFF, short_help="What a container changed of its image.")
@with_shared("platform", *REVIEW, *READ, "quiet", "no_color", "debug", more=review.OPTIONS)
def diff(
    container: _Container,
    image: _Image = None,
    pause: _Pause = False,
    *,
    more: dict[str, Any],
    shared: Shared,
) -> None:
    """Show what a container holds beyond its image, as `ocitool diff` shows two images: files with sizes, modes, owners and
    content. Also which files it copied up, and what that costs."""
    diff_options = review.diff_options(more)
    with shared.running() as session:
        from ocitool.containers.difference import engine_diff

        result = engine_diff(container, diff_options, session, image=image, pause=pause, platform=shared.platform)
    review.finish(result, diff_options, shared, stat=more["stat"], all=more["all"])


_COMMIT = """\b
Examples:
  ocitool engine commit web web.tar --tag web:fixed
  ocitool engine commit --pause web store/ --tag fixed
  ocitool engine commit --image docker://ghcr.io/me/web:1 web docker://ghcr.io/me/web:1-fixed
  ocitool engine commit web docker-daemon:web:fixed --cmd '["/app"]' --unset-env DEBUG
  SOURCE_DATE_EPOCH=0 ocitool engine commit web web.tar    the same bytes for the same content

\b
With --image the layers of that image are kept as they are stored there; it must be the image that the
container was made of. The settings of the container itself (docker run --env ...) are not taken over.
A container that is paused with --pause goes on afterwards, also after an error and Ctrl-C; after kill -9
`docker unpause` does it.
"""


@app.command("commit", epilog=_COMMIT, short_help="Write a container as an image.")
@with_shared("tag", "compression", "supply", "platform", "force", "dry_run", *OUTPUT, *READ, *TALK, more=settings())
def commit(
    container: _Container,
    dest: options.Dest,
    image: _Image = None,
    pause: _Pause = False,
    message: Annotated[str | None, typer.Option("--message", "-m", metavar="TEXT", help="A comment for the history.")] = None,
    *,
    more: dict[str, Any],
    shared: Shared,
) -> None:
    """Write a container to DEST as an image: its image with one more layer that has exactly what the container changed, and
    with other settings if asked."""
    asked = config_edits.parse(**more)
    with shared.running() as session:
        from ocitool.containers.commit import engine_commit

        result = engine_commit(
            container,
            asked,
            session,
            shared.write_options(dest),
            image=image,
            pause=pause,
            message=message,
            platform=shared.platform,
        )
    shared.show_written(result)
