"""Whether the web site shows an image: rows that people maintain, and that begin as hidden."""

from __future__ import annotations

from altrepodb.db.database import Database
from altrepodb.image.options import ImageOptions

__all__ = ["insert_missing_status"]

_HIDDEN = "hide"
_END = 4_070_908_800
"""2099-01-01 00:00:00 UTC."""

_HAS_STATUS = """
SELECT count() FROM ImageStatus
WHERE img_branch = {branch:String} AND img_edition = {edition:String}
"""
_HAS_TAG_STATUS = "SELECT count() FROM ImageTagStatus WHERE img_tag = {tag:String}"
_NOW = "SELECT toUnixTimestamp(now())"


def insert_missing_status(database: Database, options: ImageOptions) -> dict[str, int]:
    """Add what is missing for the edition and for the tag; returns numbers of rows by table."""
    inserted = {}
    edition = {"branch": options.branch, "edition": options.edition}
    if database.query(_HAS_STATUS, edition) == [(0,)]:
        inserted["ImageStatus"] = _insert_status(database, options)
    if database.query(_HAS_TAG_STATUS, {"tag": options.tag}) == [(0,)]:
        columns = {"img_tag": [options.tag], "img_show": [_HIDDEN]}
        inserted["ImageTagStatus"] = database.insert("ImageTagStatus", columns)
    return inserted


def _insert_status(database: Database, options: ImageOptions) -> int:
    ((now,),) = database.query(_NOW)
    major, minor, _ = options.version
    summary = f"{options.branch} {options.edition}"
    values = {
        "img_branch": options.branch,
        "img_edition": options.edition,
        "img_name": f"{options.edition.upper()} {major}.{minor} {options.arch}",
        "img_show": _HIDDEN,
        "img_start_date": now,
        "img_end_date": _END,
        "img_summary_ru": summary,
        "img_summary_en": summary,
        "img_description_ru": "",
        "img_description_en": "",
        "img_mailing_list": "",
        "img_name_bugzilla": "",
        "img_json": "{}",
    }
    return database.insert("ImageStatus", {column: [value] for column, value in values.items()})
