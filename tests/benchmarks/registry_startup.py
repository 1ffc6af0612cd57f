"""Part of the job `registry`: commands with nothing to move, by how a registry is reached and what it requires, and what each
costs in CPU beyond an empty program.

Over TLS, authorities are those of the system and one of our own. `crane` refuses a token server on this machine.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from support.real_registry import PASSWORD, USER, RealRegistry, real_registry
from support.registry import certificates

CPU = 0.15
NAME = "bench/field"
WAYS = [
    (tls, auth, helper)
    for tls in (False, True)
    for auth, helper in ((None, False), ("basic", False), ("token", False), ("token", True))
]
HELPER = """#!/bin/sh
echo '{"ServerURL": "", "Username": "%s", "Secret": "%s"}'
"""


def add(plan: Any, s: Any, stack: ExitStack, start: str) -> None:
    """Adds the programs; `start` is the name of the empty one."""
    if s.ours is None:
        return
    base = s.work / "registry-startup"
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir()
    made = certificates(base)
    bundle = base / "bundle.pem"
    system = Path("/etc/ssl/certs/ca-certificates.crt")
    bundle.write_bytes((system.read_bytes() if system.exists() else b"") + Path(made.ca).read_bytes())
    helper = base / "docker-credential-bench"
    helper.write_text(HELPER % (USER, PASSWORD))
    helper.chmod(0o755)
    for number, (tls, auth, with_helper) in enumerate(WAYS):
        home = base / str(number)
        (home / ".docker").mkdir(parents=True)
        registry = stack.enter_context(real_registry(home, tls=made.server if tls else None, auth=auth))  # type: ignore[arg-type]
        login = {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
        stated = {"credHelpers": {registry.host: "bench"}} if with_helper else {"auths": {registry.host: login} if auth else {}}
        (home / ".docker" / "config.json").write_text(json.dumps(stated))
        unset = dict.fromkeys(("SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), "")
        env = {
            **unset,
            "HOME": str(home),
            "PATH": f"{base}:{os.environ['PATH']}",
            **({"SSL_CERT_FILE": str(bundle)} if tls else {}),
        }
        what = f"{'TLS' if tls else 'HTTP'}, {auth or 'no login'}{', helper' if with_helper else ''}"
        _commands(plan, s, start, what, registry, env, home / "kept", tls=tls)


def _commands(
    plan: Any, s: Any, start: str, what: str, registry: RealRegistry, env: dict[str, str], kept: Path, *, tls: bool
) -> None:
    how = [] if tls else ["--insecure"]
    one = f"{registry.host}/{NAME}:1"
    push, pull = ("push", *how, f"{s.work}/field-a:latest", one), ("pull", *how, one, f"oci:{kept}")
    for words in (push, pull):
        subprocess.run([*s.ours, *words, "-q"], check=True, env={**os.environ, **env})
    for name, words in (
        ("inspect", ("inspect", *how, f"docker://{one}")), ("tags", ("tags", *how, f"{registry.host}/{NAME}")),
        ("push, nothing to move", push), ("pull, nothing to move", pull),
    ):  # fmt: skip
        program = f"ocitool {name}: {what}"
        plan.ours(s, program, *words, cache="warm", env=env)
        plan.cpu_beyond(program, CPU, start)
    plain = [] if tls else ["--insecure"]
    if "token" not in what:
        plan.peer(f"crane manifest: {what}", "crane", "manifest", *plain, one, env=env)
        plan.peer(f"crane ls: {what}", "crane", "ls", *plain, f"{registry.host}/{NAME}", env=env)
    skopeo = ("skopeo", "--insecure-policy")
    verify = f"--tls-verify={'true' if tls else 'false'}"
    plan.peer(f"skopeo inspect: {what}", *skopeo, "inspect", "--no-tags", verify, f"docker://{one}", env=env)
    plan.peer(f"skopeo list-tags: {what}", *skopeo, "list-tags", verify, f"docker://{registry.host}/{NAME}", env=env)
