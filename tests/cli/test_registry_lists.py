"""Commands that read a registry's lists read all of them, or end in an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import places
from support.copying import ONE, TWO
from support.images import Image, image
from support.registries import put_images
from support.registry import Fault, Reply, Request, ScriptedRegistry, _Body
from support.report import done

Run = Callable[..., Any]
IMAGES = {"a": image([ONE]), "b": image([TWO]), "c": image([ONE, TWO])}


class EmptyPagesRegistry(ScriptedRegistry):
    """Before each page of a list comes an empty one, as where all that would be in it is not for this user."""

    def respond(self, request: Request, body: _Body, faults: list[Fault]) -> Reply:
        path, _, query = request.path.partition("?")
        if not re.search("tags/list|_catalog|/referrers/", path) or "gap=1" in query:
            return super().respond(request, body, faults)
        link = f"<?{'&'.join([*query.split('&'), 'gap=1']).strip('&')}>; rel=next"
        return Reply(status=200, headers={"Link": link}, body=b'{"tags": [], "repositories": [], "manifests": []}')


def bill() -> Image:
    """What speaks of the last of the images."""
    one = image([b"bill"], config=b"{}", codec="none")
    subject = {name: IMAGES["c"].descriptor[name] for name in ("mediaType", "digest", "size")}
    one.manifest |= {"artifactType": "a/bill", "subject": subject}
    return one


@pytest.fixture
def empty_pages() -> Iterator[ScriptedRegistry]:
    """Each image under its tag in one repository, and alone in one of its own."""
    with EmptyPagesRegistry(page=1, referrers_page=1) as registry:
        for tag, one in IMAGES.items():
            put_images(registry, "app", one, tag=tag)
            put_images(registry, f"more/{tag}", one, tag="1")
        put_images(registry, "app", bill())
        yield registry


def broken(registry: ScriptedRegistry) -> None:
    """Its lists break off after the first page that is not empty."""
    registry.faults.append(Fault("GET", "(tags/list|_catalog|/referrers/).*last=", status=403))


def test_tags_are_listed_to_the_end(empty_pages: ScriptedRegistry, run: Run) -> None:
    assert ["a", "b", "c"] == done(run, "tags", f"{empty_pages.host}/app")["tags"]


def test_repositories_are_listed_to_the_end(empty_pages: ScriptedRegistry, run: Run) -> None:
    assert ["app", "more/a", "more/b", "more/c"] == done(run, "catalog", empty_pages.host)["repositories"]


def test_all_tags_and_what_speaks_of_them_are_copied(empty_pages: ScriptedRegistry, run: Run, tmp_path: Path) -> None:
    done(run, "copy", "--tags", "*", "--referrers", f"docker://{empty_pages.host}/app", "out/")
    assert {f"{empty_pages.host}/app:{tag}": one.digest for tag, one in IMAGES.items()} == places.names(tmp_path / "out")
    assert bill().digest in places.blobs(tmp_path / "out")


def test_all_repositories_are_counted(empty_pages: ScriptedRegistry, run: Run) -> None:
    found = done(run, "dedupe", f"docker://{empty_pages.host}", "--repos", "more/*")
    assert 3 == len(found["images"])


@pytest.mark.parametrize(
    "words",
    [
        ("tags", "{host}/app"), ("catalog", "{host}"), ("copy", "--tags", "*", "docker://{host}/app", "out/"),
        ("copy", "--tags", "c", "docker://{host}/app", "out/"), ("dedupe", "docker://{host}", "--repos", "*"),
        ("dedupe", "docker://{host}/app", "--tags", "*"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_list_that_is_cut_short_is_never_success(words: tuple[str, ...], empty_pages: ScriptedRegistry, run: Run) -> None:
    broken(empty_pages)
    result = run(*(word.replace("{host}", empty_pages.host) for word in words))
    assert 8 == result.code and "denied" in result.err, str(result)
