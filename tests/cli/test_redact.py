"""`ocitool edit --redact`: what was a secret stands nowhere any more, and what cannot be changed is named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.images import Image, config_of, image, index_of, layer_tar, pretty, sha256, write_docker_archive, write_layout
from support.report import report_of

from ocitool.operations.edit.search import Needles
from ocitool.task import Task

Run = Callable[..., Any]
SECRET = "hunter2/with blanks&more"
TAR = layer_tar([("etc/", None), ("etc/conf", b"plain")])
AMD, ARM = {"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "arm64"}
LEAKS: dict[str, dict[str, Any]] = {
    "config.Env (API_TOKEN)": {"config": {"Env": ["PATH=/bin", f"API_TOKEN={SECRET}"]}},
    "config.Cmd": {"config": {"Cmd": ["app", f"--with={SECRET}"]}},
    "config.Entrypoint": {"config": {"Entrypoint": ["sh", "-c", f"app '{SECRET}'"]}},
    "config.Healthcheck": {"config": {"Healthcheck": {"Test": ["CMD-SHELL", f"check '{SECRET}'"]}}},
    "config.OnBuild": {"config": {"OnBuild": [f"ENV API_TOKEN={SECRET}"]}},
    "config.Labels (x)": {"config": {"Labels": {"x": f"made with {SECRET}"}}},
    "container_config.Env (API_TOKEN)": {"container_config": {"Env": [f"API_TOKEN={SECRET}"]}},
    "container_config.Cmd": {"container_config": {"Cmd": ["/bin/sh", "-c", "#(nop) ", f"ENV API_TOKEN={SECRET}"]}},
    "author": {"author": f"me, {SECRET}"},
    "history[0]": {"history": [{"created_by": f"RUN |1 API_TOKEN={SECRET} /bin/sh -c make # buildkit"}]},
    "history[1]": {"history": [{"created_by": "RUN x"}, {"created_by": f"ENV API_TOKEN={SECRET}", "empty_layer": True}]},
    "history[2]": {"history": [{"created_by": "RUN x"}, {"created_by": "ENV A=b", "empty_layer": True},
                               {"created_by": "RUN y", "comment": f"layer 0: {SECRET}", "empty_layer": True}]},
}  # fmt: skip


def leaky(leak: dict[str, Any]) -> Image:
    """An image with a leak; that the variable has the value is told by another one."""
    fields = config_of([TAR], **leak)
    env = [*(line for line in fields["config"].get("Env", ()) if "API_TOKEN" not in line), f"API_TOKEN={SECRET}"]
    return image([TAR], tag="app", config={**fields, "config": {**fields["config"], "Env": env}})


def documents(layout: Path) -> str:
    """All documents of a layout, as text without escapes."""
    found = []
    for path in sorted(layout.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        if data[:1] == b"{":
            found.append(json.dumps(json.loads(data), ensure_ascii=False))
    return "\n".join(found)


def redacted(ocitool: Run, source: Path, to: Path, *words: str, code: int = 0) -> Any:
    result = ocitool("edit", source, f"oci:{to}", *words, "--format", "json")
    assert SECRET not in result.out + result.err
    report = report_of(result, code)
    assert 0 == ocitool("validate", to).code
    return report


@pytest.mark.parametrize("place", LEAKS)
@pytest.mark.parametrize("word", ["API_TOKEN", SECRET])
def test_a_secret_is_gone_from_every_place_by_name_and_by_text(ocitool: Run, tmp_path: Path, place: str, word: str) -> None:
    made = leaky(LEAKS[place])
    source = write_layout(tmp_path / "src", [made])
    report = redacted(ocitool, source, tmp_path / "d", "--redact", word)
    assert SECRET in documents(source) and SECRET not in documents(tmp_path / "d")
    assert place in report["details"]["redacted"][0]["places"]
    assert ["kept"] == [layer["origin"] for layer in report["images"][0]["layers"]]
    assert "hunter2" not in documents(tmp_path / "d")


def test_the_history_entry_of_a_redaction_names_no_secret(ocitool: Run, tmp_path: Path) -> None:
    source = write_layout(tmp_path / "src", [leaky({})])
    redacted(ocitool, source, tmp_path / "d", "--redact", SECRET)
    index = json.loads((tmp_path / "d/index.json").read_bytes())
    blob = lambda digest: json.loads((tmp_path / "d/blobs" / digest.replace(":", "/")).read_bytes())  # noqa: E731
    config = blob(blob(index["manifests"][0]["digest"])["config"]["digest"])
    assert "ocitool edit --redact" == config["history"][-1]["created_by"]
    assert ["API_TOKEN=***"] == [line for line in config["config"]["Env"] if line.startswith("API_TOKEN")]


@pytest.mark.parametrize("asked", [("--redact", "API_TOKEN"), ("--unset-env", "API_TOKEN")])
@pytest.mark.parametrize(("tag", "freed"), [("app", "frees them now"), ("clean", "frees them after ocitool layout rm {} app")])
def test_a_layout_that_still_holds_the_old_documents_is_named(
    ocitool: Run, tmp_path: Path, asked: tuple[str, ...], tag: str, freed: str
) -> None:
    store = write_layout(tmp_path / "src", [leaky({})])
    report = report_of(ocitool("edit", f"{store}:app", f"oci:{store}:{tag}", *asked, "--format", "json"))
    (text,) = [notice["text"] for notice in report["notices"] if notice["code"] == "remains"]
    assert (True, True) == ("still holds 2 of the old blobs" in text, text.endswith(freed.format(store))), text
    assert 0 == ocitool("layout", "rm", store, "app").code if tag == "clean" else True
    assert 0 == ocitool("layout", "gc", store).code
    assert SECRET not in documents(store)


def test_annotations_of_manifest_and_layers_are_redacted(ocitool: Run, tmp_path: Path) -> None:
    one = leaky({})
    one.manifest["annotations"] = {"build": f"--token {SECRET}", "API_TOKEN": SECRET, "other": "x"}
    one.manifest["layers"][0]["annotations"] = {"from": SECRET}
    report = redacted(ocitool, write_layout(tmp_path / "src", [one]), tmp_path / "d", "--redact", "API_TOKEN")
    assert SECRET not in documents(tmp_path / "d") and '"other": "x"' in documents(tmp_path / "d")
    assert {"annotations", "annotations of layer 0"} <= set(report["details"]["redacted"][0]["places"])


def indexed(tmp_path: Path, *extra: dict[str, Any], blobs: dict[str, bytes] | None = None, **fields: Any) -> Path:
    """A layout of two platforms: only amd64's Env tells the value that arm64's history holds."""
    ones = [
        image([TAR], platform=AMD, config=config_of([TAR], **AMD, config={"Env": [f"API_TOKEN={SECRET}"]})),
        image([TAR], platform=ARM, config=config_of([TAR], **ARM, history=[{"created_by": f"RUN curl '{SECRET}'"}])),
    ]  # fmt: skip
    ones[0].annotations["note"] = SECRET
    inner = pretty(index_of([*(one.descriptor for one in ones), *extra], **fields))
    ones[0].extra = {sha256(inner): inner, **(blobs or {})}
    media_type = "application/vnd.oci.image.index.v1+json"
    entry = {"mediaType": media_type, "digest": sha256(inner), "size": len(inner), "annotations": {"top": SECRET}}
    return write_layout(tmp_path / "src", ones, index=index_of([entry]))


def test_every_platform_and_the_index_are_redacted(ocitool: Run, tmp_path: Path) -> None:
    source = indexed(tmp_path, annotations={"build": SECRET})
    redacted(ocitool, source, tmp_path / "d", "--redact", "API_TOKEN", "--all-platforms")
    assert SECRET not in documents(tmp_path / "d")


def test_a_document_that_is_carried_along_and_holds_it_is_named(ocitool: Run, tmp_path: Path) -> None:
    statement = pretty({"predicate": {"buildArgs": {"API_TOKEN": SECRET}}})
    manifest = pretty({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": "application/x.sbom",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2},
        "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": sha256(statement), "size": len(statement)}],
    })  # fmt: skip
    media_type = "application/vnd.oci.image.manifest.v1+json"
    entry = {"mediaType": media_type, "digest": sha256(manifest), "size": len(manifest), "artifactType": "application/x.sbom"}
    blobs = {sha256(data): data for data in (statement, manifest, b"{}")}
    for word in ("--unset-env", "--redact"):
        source = indexed(tmp_path / word, entry, blobs=blobs)
        result = ocitool("edit", source, f"oci:{tmp_path / word / 'd'}", word, "API_TOKEN", "--all-platforms")
        assert (0, True) == (result.code, f"{sha256(manifest)} is carried along and holds" in result.err), result
        assert SECRET not in result.out + result.err


def test_what_is_found_nowhere_is_not_found_and_not_said(ocitool: Run, tmp_path: Path) -> None:
    source = write_layout(tmp_path / "src", [leaky({})])
    result = ocitool("edit", source, f"oci:{tmp_path / 'd'}", "--redact", "another-secret")
    assert (3, False, False) == (result.code, "another-secret" in str(result.err), (tmp_path / "d").exists())
    assert "hint: " in result.err and "--search" in result.err
    redacted(ocitool, source, tmp_path / "e", "--redact", "API_TOKEN")
    assert 3 == ocitool("edit", tmp_path / "e", f"oci:{tmp_path / 'f'}", "--redact", "API_TOKEN").code  # it is gone already


def test_a_text_that_stands_in_too_many_places_is_wrong_usage(ocitool: Run, tmp_path: Path) -> None:
    source = write_layout(tmp_path / "src", [leaky({})])
    assert [2, 2] == [ocitool("edit", source, tmp_path / "d/", "--redact", word).code for word in ("/", "1 2")]


def test_a_short_value_goes_where_its_name_stands(ocitool: Run, tmp_path: Path) -> None:
    fields = config_of([TAR], config={"Env": ["PIN=12"], "Cmd": ["app", "12"]}, history=[{"created_by": "ENV PIN=12"}])
    source = write_layout(tmp_path / "src", [image([TAR], config=fields)])
    redacted(ocitool, source, tmp_path / "d", "--redact", "PIN")
    text = documents(tmp_path / "d")
    assert ("PIN=***" in text, "PIN=12" in text, '["app", "12"]' in text) == (True, False, True)


def test_a_variable_that_is_removed_and_still_told_is_named_with_the_command(ocitool: Run, tmp_path: Path) -> None:
    leak = LEAKS["history[1]"] | LEAKS["container_config.Env (API_TOKEN)"] | {"author": f"me {SECRET}"}
    source = write_docker_archive(tmp_path / "src.tar", [image([TAR], codec="none", config=json.loads(leaky(leak).config))])
    result = ocitool("edit", source, f"oci:{tmp_path / 'd'}", "--unset-env", "API_TOKEN")
    places = "author, history[1], container_config.Env (API_TOKEN)"
    assert all(place in result.err for place in places.split(", ")) and SECRET not in result.out + result.err
    assert "still hold the value of API_TOKEN: --redact API_TOKEN takes it out" in result.err
    both = ocitool("edit", source, f"oci:{tmp_path / 'e'}", "--unset-env", "API_TOKEN", "--redact", "API_TOKEN")
    assert (0, False) == (both.code, "still" in both.err), both
    assert SECRET not in documents(tmp_path / "e")


def test_a_squash_repeats_no_instruction_in_its_history(ocitool: Run, tmp_path: Path) -> None:
    history = [{"created_by": f"RUN |1 A={word} make"} for word in ("first-secret", "second-secret")]
    source = write_layout(tmp_path / "src", [image([TAR, TAR], history=history)])
    assert 0 == ocitool("squash", source, f"oci:{tmp_path / 'd'}").code
    text = documents(tmp_path / "d")
    assert "secret" not in text and "layers 0 to 1 in one" in text


def test_a_secret_is_gone_in_every_spelling(ocitool: Run, tmp_path: Path) -> None:
    secret = "it's \"p@ss/w"
    spelt = ["it'\"'\"'s \"p@ss/w", json.dumps(secret)[1:-1], "it%27s%20%22p%40ss%2Fw"]
    fields = config_of([TAR], config={"Env": [f"A_TOKEN={secret}"], "Labels": {str(n): text for n, text in enumerate(spelt)}})
    source = write_layout(tmp_path / "src", [image([TAR], config=fields)])
    redacted(ocitool, source, tmp_path / "d", "--redact", "A_TOKEN")
    assert '"Labels": {"0": "***", "1": "***", "2": "***"}' in documents(tmp_path / "d")


# Layers

HOLDING = layer_tar(
    [("app/", None), ("app/a.py", b"x" * 9 + SECRET.encode() + b"y"), ("app/b", b"plain"), ("app/c d", SECRET.encode())]
)


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("word", ["--redact", "--unset-env"])
def test_files_that_hold_a_secret_are_named_with_the_command_that_removes_them(
    ocitool: Run, tmp_path: Path, codec: str, word: str
) -> None:
    tars = [HOLDING, layer_tar([("app/", None), ("app/.wh.c d", b"")]), TAR]
    one = image(tars, codec=codec, config=config_of(tars, config={"Env": [f"API_TOKEN={SECRET}"]}))
    source = write_layout(tmp_path / "src", [one])
    result = ocitool("edit", source, f"oci:{tmp_path / 'd'}", word, "API_TOKEN", "--search", "--format", "json")
    assert [{"layer": 0, "path": "/app/a.py"}, {"layer": 0, "path": "/app/c d"}] == report_of(result, 1)["details"]["embedded"]
    assert "--rm /app/a.py --rm '/app/c d'" in result.err and SECRET not in result.out + result.err
    words = ("--rm", "/app/a.py", "--rm", "/app/c d", "--redact", "API_TOKEN", "--search")
    assert [] == redacted(ocitool, source, tmp_path / "e", *words)["details"]["embedded"]


def test_rm_search_names_and_removes_nothing(ocitool: Run, tmp_path: Path) -> None:
    source = write_layout(tmp_path / "src", [image([HOLDING])])
    report = report_of(
        ocitool("edit", source, f"oci:{tmp_path / 'd'}", "--redact", SECRET, "--rm", "--search", "--format", "json"), 1
    )
    assert ["/app/a.py", "/app/c d"] == [one["path"] for one in report["details"]["embedded"]]
    assert ["kept"] == [layer["origin"] for layer in report["images"][0]["layers"]]


def test_search_alone_is_wrong_usage(ocitool: Run, tmp_path: Path) -> None:
    source = write_layout(tmp_path / "src", [image([HOLDING])])
    assert 2 == ocitool("edit", source, tmp_path / "d/", "--search").code


KEY = b"-----BEGIN KEY-----\nabcdefghijklm\n-----END KEY-----\n"


@pytest.mark.parametrize("codec", ["none", "gzip"])
@pytest.mark.parametrize("asked", ["root/key", "root", "root/link"])
def test_files_that_embed_a_removed_file_are_named(ocitool: Run, tmp_path: Path, codec: str, asked: str) -> None:
    lower = layer_tar([("root/", None), ("root/key", KEY), ("root/link", "hard:root/key"), ("etc/", None),
                       ("etc/all", b"key: " + KEY.strip() + b" end")])  # fmt: skip
    upper = layer_tar([("etc/", None), ("etc/copy", KEY), ("etc/b", b"plain"), ("etc/c", b"x" + KEY), ("root/", None),
                       ("root/.wh.key", b"")])  # fmt: skip
    source = write_layout(tmp_path / "src", [image([lower, upper], codec=codec)])
    result = ocitool("edit", source, f"oci:{tmp_path / 'd'}", "--rm", f"/{asked}", "--search", "--format", "json")
    details = report_of(result, 1)["details"]
    assert [{"layer": 0, "path": "/etc/all"}, {"layer": 1, "path": "/etc/c"}] == details["embedded"]
    assert [{"layer": 1, "path": "/etc/copy"}] == details["sameContent"]
    assert "what is taken out still stands in layer 0 (/etc/all)" in result.err
    words = ("--rm", f"/{asked}", "--rm", "/etc/all", "--rm", "/etc/c", "--rm-content", "--search", "--format", "json")
    clean = report_of(ocitool("edit", source, f"oci:{tmp_path / 'e'}", *words), 0)["details"]
    assert ([], []) == (clean["embedded"], clean["sameContent"])


def test_removed_files_that_are_too_large_to_be_looked_for_are_counted(ocitool: Run, tmp_path: Path) -> None:
    tar = layer_tar([("a", bytes(70_000)), ("b", b"no secret"), ("c", b"1\n"), ("d", b"what 1 is")])
    source = write_layout(tmp_path / "src", [image([tar])])
    result = ocitool("edit", source, f"oci:{tmp_path / 'd'}", "--rm", "/a", "--rm", "/c", "--search")
    assert 0 == result.code, result
    assert "1 removed file is not searched in other files: too large, or too many" in result.err


@pytest.mark.parametrize("size", [1, 2, 3, 7, 23, 24, 25, 1000])
def test_a_text_across_the_borders_of_chunks_is_found(size: int) -> None:
    data = b"-" * 40 + SECRET.encode() + b"-" * 40 + SECRET.encode()
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    with Task() as task:
        assert [40, 80 + len(SECRET)] == sorted(
            set(Needles([SECRET, "another, longer than the first one"]).spots(chunks, task))
        )
        assert [] == list(Needles(["nothing"]).spots(chunks, task))


def test_a_value_in_base64_is_redacted_too() -> None:
    from base64 import b64encode

    from ocitool.operations.edit.redact import _encodings

    assert b64encode(b"s3cr-value").decode() in _encodings("s3cr-value")


@pytest.mark.parametrize("user", ["", "u", "us", "user"])
def test_a_value_in_the_base64_of_more_than_it_is_redacted(ocitool: Run, tmp_path: Path, user: str) -> None:
    from base64 import b64encode

    login = b64encode(f"{user}:{SECRET}:x".encode()).decode()
    source = write_layout(tmp_path / "src", [leaky({"config": {"Labels": {"auth": f"Basic {login}"}}})])
    redacted(ocitool, source, tmp_path / "d", "--redact", "API_TOKEN")
    labels = re.search(r'"auth": "Basic ([^"]*)"', documents(tmp_path / "d"))
    assert labels is not None and len(labels[1]) < 4 * (len(user) + 6) / 3 + 6, labels


@pytest.mark.parametrize(
    ("created_by", "value"),
    [
        ("ARG API_TOKEN='two words'", "two words"),
        ('ENV API_TOKEN="four$five"', "four$five"),
        ('LABEL API_TOKEN="say \\"hi\\" to \\$all"', 'say "hi" to $all'),
        ("ARG API_TOKEN=two\\ words", "two words"),
        ("ENV API_TOKEN='it'\"'\"'s mine'", "it's mine"),
    ],
)
def test_a_value_that_only_an_instruction_tells_is_known_without_its_quotes(
    ocitool: Run, tmp_path: Path, created_by: str, value: str
) -> None:
    config = config_of([TAR], author=f"by {value}", history=[{"created_by": created_by}])
    redacted(ocitool, write_layout(tmp_path / "src", [image([TAR], config=config)]), tmp_path / "d", "--redact", "API_TOKEN")
    assert '"author": "by ***"' in documents(tmp_path / "d")


def test_a_value_that_only_json_tells_is_known_without_its_escapes(ocitool: Run, tmp_path: Path) -> None:
    value = 'a\\b "c"'
    label = {"meta": json.dumps({"API_TOKEN": value})}
    config = config_of([TAR], author=f"by {value}", config={"Labels": label})
    redacted(ocitool, write_layout(tmp_path / "src", [image([TAR], config=config)]), tmp_path / "d", "--redact", "API_TOKEN")
    assert '"author": "by ***"' in documents(tmp_path / "d")


@pytest.mark.parametrize(
    ("place", "history"),
    [
        ("history", {"x": SECRET}),
        ("history", f"RUN {SECRET}"),
        ("history[0]", [f"RUN {SECRET}"]),
        ("history[1]", [None, [SECRET]]),
    ],
)
def test_a_history_of_another_shape_is_redacted_or_told(ocitool: Run, tmp_path: Path, place: str, history: Any) -> None:
    source = write_layout(tmp_path / "src", [image([TAR], tag="app", config=config_of([TAR], history=history))])
    for words in (("--env", "A=b"), ("--redact", SECRET)):
        result = ocitool("edit", source, f"oci:{tmp_path / words[0][2:]}", *words)
        assert result.code in (0, 4), str(result)
        assert SECRET not in result.out + result.err
        if result.code == 0 and words[0] == "--redact":
            assert SECRET not in documents(tmp_path / "redact")
            assert place in result.out
