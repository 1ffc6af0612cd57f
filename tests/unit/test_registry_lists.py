"""Lists come in pages: every form of a `Link` leads to the next one; a list that is cut short is never taken for all of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from support.registries import INSECURE, NoWaitTask, client, digest
from support.registry import Fault, HttpServer, Reply, Request, _Body

from ocitool import limits
from ocitool.errors import FormatError, LimitError, NotFoundError, OcitoolError, TransportError
from ocitool.transports.registry.client import Client
from ocitool.transports.registry.errors import UnknownRepository
from ocitool.transports.registry.scopes import pull_scope

SECOND = "/v2/app/tags/list?last=a%2C%3B&n=1"


class ScriptedLists(HttpServer):
    """Answers each address with a page of a list: its entries, and its `Link` headers, of which "{base}" is the registry's
    address. An address that is not scripted is not found."""

    def __init__(self, pages: Mapping[str, tuple[Any, str]], member: str = "tags", status: int = 200) -> None:
        super().__init__()
        self.pages, self.member, self.status = pages, member, status

    def respond(self, request: Request, body: _Body, faults: list[Fault]) -> Reply:
        page = self.pages.get(request.path)
        if page is None:
            return Reply(status=404, body=b'{"errors": [{"code": "NAME_UNKNOWN"}]}')
        entries, link = page
        raw = entries if isinstance(entries, bytes) else json.dumps({self.member: entries}).encode()
        headers = {"Link": link.replace("{base}", self.url).replace("{host}", self.host)} if link else {}
        return Reply(status=self.status, headers=headers, body=raw)


def tags(site: HttpServer, task: NoWaitTask) -> list[str]:
    return client(site, task).tags("app")


# Forms of a Link (RFC 8288)

FORMS = {
    "as registries write it": f'<{SECOND}>; rel="next"',
    "without quotes": f"<{SECOND}>; rel=next",
    "without blanks": f'<{SECOND}>;rel="next"',
    "blanks around": f'  < {SECOND} >  ;  rel = "next"  ',
    "single quotes": f"<{SECOND}>; rel='next'",
    "in capitals": f'<{SECOND}>; REL="NEXT"',
    "parameters before": f'<{SECOND}>; title="more"; type=application/json; rel="next"',
    "parameters behind": f'<{SECOND}>; rel="next"; title=more; n=1',
    "a parameter without a value": f'<{SECOND}>; crossorigin; rel="next"',
    "a parameter with a star": f"<{SECOND}>; title*=UTF-8'de'n%c3%a4chste; rel=\"next\"",
    "commas and semicolons in quotes": f'<{SECOND}>; title="a, <b>; rel=prev"; rel="next"',
    "quotes in quotes": f'<{SECOND}>; title="a \\", <b>; rel=\\"prev"; rel="next"',
    "several relations": f'<{SECOND}>; rel="last next"',
    "several relations, other blanks": f'<{SECOND}>; rel=" NEXT\tlast "',
    "another link before": f'</v2/app/tags/list>; rel="first", <{SECOND}>; rel="next"',
    "another link behind": f'<{SECOND}>; rel="next", </v2/app/tags/list?last=z>; rel="last"',
    "another link before, without a blank": f"</v2/>;rel=prev,<{SECOND}>;rel=next",
    "empty links": f', ,<{SECOND}>; rel="next",',
    "no relation": f"<{SECOND}>",
    "no relation and other parameters": f"<{SECOND}>; title=more",
    "no relation beside another": f"</v2/>; rel=prev, <{SECOND}>",
    "an empty relation": f'<{SECOND}>; rel=""',
    "without angle brackets": f'{SECOND}; rel="next"',
    "without angle brackets, an address": f'{{base}}{SECOND}; rel="next"',
    "an address": f'<{{base}}{SECOND}>; rel="next"',
    "an address with the other scheme": f'<https://{{host}}{SECOND}>; rel="next"',
    "without a scheme": f'<//{{host}}{SECOND}>; rel="next"',
    "relative to the list": f'<{SECOND.removeprefix("/v2/app/tags/")}>; rel="next"',
    "relative, up and down": f'<../tags/{SECOND.removeprefix("/v2/app/tags/")}>; rel="next"',
    "a query alone": f'<{SECOND.removeprefix("/v2/app/tags/list")}>; rel="next"',
    "with a fragment": f'<{SECOND}#page>; rel="next"',
    "behind a path that a proxy hides": f'<{{base}}/repository/mirror{SECOND}>; rel="next"',
    "without a path that a proxy adds": f'<{SECOND.replace("/app", "")}>; rel="next"',
    "relative, and meant from the top": f'<{SECOND[1:]}>; rel="next"',
}


@pytest.mark.parametrize("link", FORMS.values(), ids=FORMS)
def test_every_form_of_a_link_leads_to_the_next_page(link: str, task: NoWaitTask) -> None:
    with ScriptedLists({"/v2/app/tags/list": (["a"], link), SECOND: (["b"], "")}) as site:
        assert ["a", "b"] == tags(site, task)
        assert ["/v2/app/tags/list", SECOND] == [request.path for request in site.requests if request.status == 200]


ELSEWHERE = ['</v2/x>; rel="prev"', '</v2/x>; rel="prev"; rel="next"', '</v2/x>; rel="next-archive", </v2/y>; rel=up', ", "]


@pytest.mark.parametrize("link", ELSEWHERE)
def test_a_link_that_leads_elsewhere_is_no_next_page(link: str, task: NoWaitTask) -> None:
    with ScriptedLists({"/v2/app/tags/list": (["a"], link)}) as site:
        assert ["a"] == tags(site, task)
        assert 1 == len(site.requests)


UNREADABLE = ['</v2/x; rel="next"', '</v2/x>; rel="next', "</v2/x> rel=next", '; rel="next"', "<", "<http://[>", "<>; rel=next"]


@pytest.mark.parametrize("link", UNREADABLE)
def test_a_list_whose_link_cannot_be_read_is_refused(link: str, task: NoWaitTask) -> None:
    with ScriptedLists({"/v2/app/tags/list": (["a"], link)}) as site, pytest.raises(FormatError):
        tags(site, task)


@pytest.mark.parametrize(
    "link", ["<http://127.0.0.1:9/v2/app/tags/list?last=a>", "<//127.0.0.1:9/x>; rel=next", "<http://[::1]/x>"]
)
def test_a_next_page_at_another_registry_is_refused(link: str, task: NoWaitTask) -> None:
    with ScriptedLists({"/v2/app/tags/list": (["a"], link)}) as site, pytest.raises(FormatError, match="another registry"):
        tags(site, task)


@pytest.mark.parametrize("raw", ["ä", "日本", "a b"])
def test_a_link_may_hold_what_no_address_can_as_it_is(raw: str, task: NoWaitTask) -> None:
    """Servers write UTF-8 into headers, which are read as Latin-1."""
    path = f"/v2/app/tags/list?last={quote(raw)}"
    link = f"</v2/app/tags/list?last={raw}>; rel=next".encode().decode("latin-1")
    with ScriptedLists({"/v2/app/tags/list": (["a"], link), path: (["b"], "")}) as site:
        assert ["a", "b"] == tags(site, task)


def test_a_page_that_is_nowhere_is_asked_for_at_both_paths_and_says_nothing_of_the_repository(task: NoWaitTask) -> None:
    with ScriptedLists({"/v2/app/tags/list": (["a"], "</else/where?last=a>; rel=next")}) as site:
        with pytest.raises(NotFoundError, match="next page") as caught:
            tags(site, task)
        assert not isinstance(caught.value, UnknownRepository)
        assert ["/v2/app/tags/list", "/else/where?last=a", "/v2/app/tags/list?last=a"] == [one.path for one in site.requests]


def test_a_page_that_fails_is_not_asked_for_at_another_path(task: NoWaitTask) -> None:
    with ScriptedLists({"/v2/app/tags/list": (["a"], "</else/where?last=a>; rel=next")}) as site:
        site.faults.append(Fault("GET", "/else/", status=503))
        with pytest.raises(TransportError, match="503"):
            tags(site, task)
        assert [] == site.sent("GET", r"/v2/app/tags/list\?")


def test_a_list_of_the_destination_that_breaks_off_is_not_taken_for_a_repository_without_tags(task: NoWaitTask) -> None:
    with ScriptedLists({"/v2/app/tags/list": (["a"], f"<{SECOND}>; rel=next")}) as site:
        assert client(site, task).all_tags("app", pull_scope("app"), 4) is None


def test_the_next_page_is_relative_to_where_the_registry_sent_us(task: NoWaitTask) -> None:
    pages = {"/v2/api/app/tags/list": (["a"], '<list?last=a>; rel="next"'), "/v2/api/app/tags/list?last=a": (["b"], "")}
    with ScriptedLists(pages) as site:
        site.faults.append(Fault("GET", "^/v2/app/tags/list", redirect="/v2/api/app/tags/list"))
        assert ["a", "b"] == tags(site, task)


# What a page holds


KINDS = pytest.mark.parametrize("member", ["tags", "repositories", "manifests"])
PATHS = {"tags": "/v2/app/tags/list", "repositories": "/v2/_catalog", "manifests": f"/v2/app/referrers/{digest(b'x')}"}


def entries(site: ScriptedLists, task: NoWaitTask) -> list[Any] | None:
    asking = Client(site.host, INSECURE, task)
    read: dict[str, Callable[[], list[Any] | None]] = {
        "tags": lambda: asking.tags("app"), "repositories": asking.repositories,
        "manifests": lambda: asking.referrers("app", digest(b"x")),
    }  # fmt: skip
    return read[site.member]()


def entry(member: str, name: str) -> Any:
    return {"digest": name} if member == "manifests" else name


@KINDS
@pytest.mark.parametrize("empty", [[], None, b"{}"], ids=["empty", "null", "left out"])
def test_an_empty_page_with_a_link_is_not_the_end(member: str, empty: Any, task: NoWaitTask) -> None:
    path = PATHS[member]
    pages = {
        path: ([entry(member, "a")], f"<{path}?last=a>; rel=next"), f"{path}?last=a": (empty, f"<{path}?last=b>; rel=next"),
        f"{path}?last=b": (empty, f"<{path}?last=c>; rel=next"), f"{path}?last=c": ([entry(member, "c")], ""),
    }  # fmt: skip
    with ScriptedLists(pages, member) as site:
        assert [entry(member, "a"), entry(member, "c")] == entries(site, task)
        assert 4 == len(site.requests)


@KINDS
def test_a_first_page_that_is_empty_is_not_the_end(member: str, task: NoWaitTask) -> None:
    path = PATHS[member]
    pages = {path: ([], f"<{path}?last=a>; rel=next"), f"{path}?last=a": ([entry(member, "b")], "")}
    with ScriptedLists(pages, member) as site:
        assert [entry(member, "b")] == entries(site, task)


@KINDS
def test_a_last_page_that_repeats_what_is_known_ends_the_list(member: str, task: NoWaitTask) -> None:
    """`last` is the first entry of the next page at some registries."""
    path = PATHS[member]
    one, two = entry(member, "a"), entry(member, "b")
    pages = {path: ([one, two], f"<{path}?last=b>"), f"{path}?last=b": ([two], "")}
    with ScriptedLists(pages, member) as site:
        assert [one, two] == entries(site, task)


@KINDS
def test_empty_pages_without_an_end_are_refused(member: str, task: NoWaitTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIST_PAGES", 20)
    path = PATHS[member]
    pages = {path: ([], f"<{path}?n=0>")} | {f"{path}?n={n}": ([], f"<{path}?n={n + 1}>") for n in range(30)}
    with ScriptedLists(pages, member) as site:
        with pytest.raises(LimitError, match="more than 20 pages"):
            entries(site, task)
        assert 20 == len(site.requests)


@KINDS
def test_pages_that_lead_to_each_other_are_refused(member: str, task: NoWaitTask) -> None:
    path = PATHS[member]
    pages = {
        path: ([entry(member, "a")], f"<{path}?n=1>"), f"{path}?n=1": ([entry(member, "b")], f"<{path}?n=2>"),
        f"{path}?n=2": ([], f"<{path}?n=1>"),
    }  # fmt: skip
    with ScriptedLists(pages, member) as site:
        with pytest.raises(FormatError, match="back to themselves"):
            entries(site, task)
        assert 3 == len(site.requests)


@KINDS
@pytest.mark.parametrize("end", ["not found", b"<html>", b'{"errors": [{"code": "UNKNOWN"}]}', b"[]", b'{"%s": 3}'], ids=str)
def test_a_list_that_breaks_off_at_a_later_page_is_an_error(member: str, end: Any, task: NoWaitTask) -> None:
    path = PATHS[member]
    pages: dict[str, tuple[Any, str]] = {path: ([entry(member, "a")], f"<{path}?n=1>; rel=next")}
    if isinstance(end, bytes):
        pages[f"{path}?n=1"] = end.replace(b"%s", member.encode()), ""
    with ScriptedLists(pages, member) as site, pytest.raises((FormatError, NotFoundError, TransportError)):
        entries(site, task)


@pytest.mark.parametrize("link", ["", f"<{SECOND}>; rel=next"])
@pytest.mark.parametrize("body", [b'{"name": "app", "Tags": ["a"]}', b'{"message": "try later"}', b'{"results": []}'])
def test_a_document_without_the_list_is_no_empty_list(body: bytes, link: str, task: NoWaitTask) -> None:
    site = ScriptedLists({"/v2/app/tags/list": (body, link), SECOND: (["b"], "")})
    with site, pytest.raises(FormatError, match="not a list"):
        tags(site, task)


def test_a_list_that_is_left_out_is_empty(task: NoWaitTask) -> None:
    with ScriptedLists({"/v2/app/tags/list": (b'{"name": "app"}', "")}) as site:
        assert [] == tags(site, task)


@pytest.mark.parametrize("body", [b"[1]", b"null", b'{"tags": ["a", 3]}', b'{"tags": [null]}'])
def test_what_is_no_list_of_strings_is_an_error(body: bytes, task: NoWaitTask) -> None:
    with ScriptedLists({"/v2/app/tags/list": (body, "")}) as site, pytest.raises(FormatError):
        tags(site, task)


def test_an_error_document_in_the_place_of_a_list_is_told_in_the_registrys_words(task: NoWaitTask) -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "the plan has ended"}]}'
    with ScriptedLists({"/v2/app/tags/list": (body, "")}) as site, pytest.raises(TransportError, match="the plan has ended"):
        tags(site, task)


def test_a_part_of_a_list_that_is_said_to_be_one_is_an_error(task: NoWaitTask) -> None:
    with ScriptedLists({"/v2/app/tags/list": (["a"], "")}, status=206) as site, pytest.raises(OcitoolError):
        tags(site, task)


def test_no_page_is_asked_for_but_at_the_scripted_addresses(task: NoWaitTask) -> None:
    """The registry of these tests answers 404 for all others."""
    with ScriptedLists({"/v2/app/tags/list": (["a"], "<?last=b>")}) as site, pytest.raises(NotFoundError):
        tags(site, task)
    assert "last=b" == urlsplit(site.requests[-1].path).query
