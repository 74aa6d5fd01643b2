"""What a service tells systemd, see sd_notify(3): one datagram to the socket it named."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

__all__ = ["tell_service_manager"]


def tell_service_manager(*assignments: str) -> None:
    """Send assignments such as ``READY=1`` and ``STATUS=...``; nothing without systemd.

    A service manager that does not listen is no reason to stop working.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    lines = (" ".join(assignment.split("\n")) for assignment in assignments)
    datagram = "\n".join(lines).encode("utf-8", "replace")
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(datagram, address)
