"""Files that follow from a change of packages though no package lists them: databases, logs, and what package managers and
their triggers generate."""

from __future__ import annotations

import re

from ocitool.packages.package import PackageKind
from ocitool.patterns import byte_pattern

_SYSTEM = (
    rb"etc/ld\.so\.cache", rb"etc/\.(pwd\.lock|updated)", rb"etc/alternatives/.*", rb"etc/ssl/(cert\.pem|certs/.*)",
    rb"var/cache/(ldconfig|man|fontconfig)/.*", rb"var/log/(alternatives|fontconfig|ldconfig)[^/]*",
    rb"(usr/)?lib(64|/[^/]+)?/(gconv/gconv-modules\.cache|gio/modules/giomodule\.cache|gdk-pixbuf-2\.0/.*/loaders\.cache)",
    rb"usr/share/(mime/.*|info/dir|applications/mimeinfo\.cache|glib-2\.0/schemas/gschemas\.compiled)",
    rb"usr/share/icons/[^/]+/icon-theme\.cache", rb"usr/lib/locale/locale-archive",
)  # fmt: skip
"""What the triggers of the packages of any distribution make."""

_PATHS: dict[PackageKind, tuple[bytes, ...]] = {
    "deb": (
        *_SYSTEM, rb"var/(lib|cache)/(dpkg|apt|aptitude|debconf|ucf)(/.*)?", rb"var/log/(dpkg\.log|apt|aptitude)[^/]*(/.*)?",
        rb"var/cache/apt-[^/]*/.*", rb"var/lib/(python|systemd/deb-systemd-helper-[a-z]+|dictionaries-common)/.*",
    ),
    "apk": (*_SYSTEM, rb"(usr/)?lib/apk(/.*)?", rb"etc/apk/world", rb"var/cache/(apk|misc)/.*"),
    "rpm": (
        *_SYSTEM, rb"(var|usr)/lib/(sysimage/)?(rpm|rpm-state|dnf|libdnf5|yum|zypp)(/.*)?", rb"usr/share/rpm(/.*)?",
        rb"var/cache/(dnf|libdnf5|yum|zypp)(/.*)?", rb"var/log/(dnf|yum|hawkey|zypp)[^/]*(/.*)?",
        rb"etc/pki/ca-trust/extracted/.*",
    ),
    "pypi": (rb"(.*/)?(uv|poetry|Pipfile)\.lock",),
    "conda": (rb"(.*/)?conda-meta(/.*)?",),
    "npm": (
        rb"(.*/)?node_modules(/(\.package-lock\.json|\.yarn-integrity|\.yarn-state\.yml|\.modules\.yaml|\.bin(/.*)?))?",
        rb"(.*/)?(package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml)",
    ),
    "gem": (rb"(.*/)?Gemfile\.lock", rb"(.*/)?(gems|ruby/[^/]+)/(cache|doc)/.*"),
}  # fmt: skip
_FOLLOWERS = {kind: byte_pattern(b"|".join(paths), re.DOTALL) for kind, paths in _PATHS.items()}


def is_follower(kind: PackageKind, path: bytes) -> bool:
    """Returns whether a file follows from a change of packages of this kind: their database, a log, or what is generated
    from what they contain."""
    found = _FOLLOWERS.get(kind)
    return found is not None and found.fullmatch(path) is not None
