"""The JSON reports of `layout rm`, `gc`, `link` and `normalize`, which the field `action` tells apart."""

from __future__ import annotations

from typing import Any

from ocitool.operations.layout import Collected, Linked, Normalized, Removed
from ocitool.report.json.fields import clean, notice_list


def _head(action: str, dry_run: bool) -> dict[str, Any]:
    return {"report": "layout", "version": 1, "action": action, "dryRun": dry_run}


def rm_json(result: Removed) -> dict[str, Any]:
    return {
        **_head("rm", result.dry_run),
        "layout": clean(result.directory),
        "removed": [
            {
                "digest": str(one.digest) if one.digest else None, "tags": clean(list(one.names)), "referrer": one.referrer,
            }
            for one in result.entries
        ],
        "referrers": [
            {
                "kind": clean(one.kind), "digest": str(one.digest), "subject": str(one.subject), "tags": clean(list(one.tags)),
            }
            for one in result.referrers
        ],
        "bytes": {"freeable": result.freeable},
        "notices": notice_list(result.notices),
    }  # fmt: skip


def gc_json(result: Collected) -> dict[str, Any]:
    return {
        **_head("gc", result.dry_run),
        "layout": clean(result.directory),
        "freed": [{"digest": str(one.digest), "size": one.size} for one in result.freed],
        "blobs": {"freed": len(result.freed), "kept": result.kept},
        "bytes": {"freed": result.freed_bytes, "linked": result.linked_bytes, "kept": result.kept_bytes},
        "temporaries": result.temporaries,
        "notices": notice_list(result.notices),
    }


def link_json(result: Linked) -> dict[str, Any]:
    return {
        **_head("link", result.dry_run),
        "layouts": clean(list(result.directories)),
        "blobs": {"linked": result.linked, "cloned": result.cloned, "already": result.already},
        "bytes": {"saved": result.saved},
        "refused": [{"path": clean(one.path), "size": one.size, "reason": one.reason} for one in result.refused],
        "damaged": clean(list(result.damaged)),
        "temporaries": result.temporaries,
        "notices": notice_list(result.notices),
    }


def normalize_json(result: Normalized) -> dict[str, Any]:
    return {
        **_head("normalize", result.dry_run),
        "layout": clean(result.directory),
        "verified": result.verified,
        "changes": clean(list(result.changes)),
        "findings": [clean(finding._asdict()) for finding in result.findings],
        "notices": notice_list(result.notices),
    }
