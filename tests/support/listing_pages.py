"""Directory listings as five web servers draw them, from the same entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from html import escape
from urllib.parse import quote

__all__ = ["FLAVOURS", "Item", "render"]

Item = tuple[str, datetime | None, int | None]
"""Name, with a slash at the end for a directory, its time and size."""

_SHORT = 22


def _link(name: str) -> str:
    return escape(quote(name, safe="/~+"))


def _size(size: int | None) -> str:
    return "-" if size is None else str(size)


def _nginx(items: Sequence[Item], parent: bool) -> str:
    lines = ['<a href="../">../</a>'] if parent else []
    for name, date, size in items:
        shown = name if len(name) <= _SHORT else f"{name[: _SHORT - 3]}..>"
        when = f"{date:%d-%b-%Y %H:%M}" if date else "-" if size is None else ""
        lines.append(f'<a href="{_link(name)}">{escape(shown)}</a>   {when}   {_size(size)}')
    body = "\n".join(lines)
    return (
        "<html><head><title>Index of /x/</title></head><body><h1>Index of /x/</h1>"
        f"<hr><pre>{body}\n</pre><hr></body></html>"
    )


def _apache_pre(items: Sequence[Item], parent: bool) -> str:
    top = '<img src="/icons/back.gif" alt="[DIR]"> <a href="/">Parent Directory</a>     -   \n'
    lines = [
        f'<img src="/x.gif" alt="[TXT]"> <a href="{_link(name)}">{escape(name[:_SHORT])}</a>  '
        f"{f'{date:%Y-%m-%d %H:%M}' if date else '                '}  {_size(size)}  \n"
        for name, date, size in items
    ]
    return (
        "<!DOCTYPE HTML><html><head><title>Index of /x</title></head><body><h1>Index of /x</h1>"
        '<pre><img src="/icons/blank.gif" alt="Icon "> <a href="?C=N;O=D">Name</a>'
        ' <a href="?C=M;O=A">Last modified</a> <a href="?C=S;O=A">Size</a><hr>'
        f"{top if parent else ''}{''.join(lines)}<hr></pre></body></html>"
    )


def _apache_table(items: Sequence[Item], parent: bool) -> str:
    top = (
        '<tr><td valign="top"><img src="/icons/back.gif" alt="[PARENTDIR]"></td>'
        '<td><a href="/">Parent Directory</a></td><td>&nbsp;</td><td align="right">  - </td></tr>\n'
    )
    rows = [
        f'<tr><td valign="top"><img src="/icons/x.gif" alt="[ ]"></td>'
        f'<td><a href="{_link(name)}">{escape(name[:_SHORT])}</a></td>'
        f'<td align="right">{f"{date:%Y-%m-%d %H:%M}  " if date else "&nbsp;"}</td>'
        f'<td align="right">{_size(size)} </td><td>&nbsp;</td></tr>\n'
        for name, date, size in items
    ]
    return (
        "<html><head><title>Index of /x</title></head><body><h1>Index of /x</h1><table>\n"
        '<tr><th valign="top"><img src="/icons/blank.gif" alt="[ICO]"></th>'
        '<th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th>'
        '<th><a href="?C=S;O=A">Size</a></th><th>Description</th></tr>\n'
        '<tr><th colspan="5"><hr></th></tr>\n'
        f'{top if parent else ""}{"".join(rows)}<tr><th colspan="5"><hr></th></tr></table></body>'
    )


def _lighttpd(items: Sequence[Item], parent: bool) -> str:
    top = (
        '<tr class="d"><td class="n"><a href="../">..</a>/</td><td class="m">&nbsp;</td>'
        '<td class="s">- &nbsp;</td><td class="t">Directory</td></tr>\n'
    )
    rows = [
        f'<tr><td class="n"><a href="{_link(name)}">{escape(name)}</a></td>'
        f'<td class="m">{f"{date:%Y-%b-%d %H:%M:%S}" if date else "&nbsp;"}</td>'
        f'<td class="s">{_size(size)}</td><td class="t">text/plain</td></tr>\n'
        for name, date, size in items
    ]
    return (
        "<!DOCTYPE html><html><head><title>Index of /x/</title></head><body>"
        '<h2>Index of /x/</h2><div class="list"><table summary="Directory Listing"><thead><tr>'
        '<th class="n">Name</th><th class="m">Last Modified</th><th class="s">Size</th>'
        '<th class="t">Type</th></tr></thead><tbody>\n'
        f"{top if parent else ''}{''.join(rows)}</tbody></table></div></body></html>"
    )


def _gitweb(items: Sequence[Item], parent: bool) -> str:
    top = '<tr><td><a class="link" href="..">..</a></td><td></td><td>-</td></tr>\n'
    rows = [
        f'<tr><td><a class="link" href="{_link(name.rstrip("/"))}">{escape(name)}</a></td>'
        f"<td>{f'{date:%Y-%m-%d %H:%M}' if date else ''}</td><td>{_size(size)}</td></tr>\n"
        for name, date, size in items
    ]
    return (
        "<html><head><title>Index of /x</title></head><body>\n"
        '<table class="project_list">\n<tr><th>Name</th><th>Last modified</th><th>Size</th></tr>\n'
        f"{top if parent else ''}{''.join(rows)}</table></body></html>"
    )


FLAVOURS: dict[str, Callable[[Sequence[Item], bool], str]] = {
    "nginx": _nginx,
    "apache_pre": _apache_pre,
    "apache_table": _apache_table,
    "lighttpd": _lighttpd,
    "gitweb": _gitweb,
}


def render(flavour: str, items: Sequence[Item], *, parent: bool = True) -> bytes:
    """The page of a directory, with or without the link to the one above."""
    return FLAVOURS[flavour](items, parent).encode()
