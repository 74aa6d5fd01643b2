"""Debian's RabbitMQ, run by tests on a private node, with the faults that they need.

The program in /usr/sbin insists on its own user and log files, so the script behind it is run,
which works for any user and without systemd.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika
from pika.exceptions import AMQPError

from altrepodb.uploaderd.settings import AmqpSettings
from tests.support.clickhouse import free_port

__all__ = ["Broker", "Certificates", "is_installed", "make_certificates", "running_broker"]

HOST = "127.0.0.1"
_PROGRAMS = Path("/usr/lib/rabbitmq/bin")
_SERVER = _PROGRAMS / "rabbitmq-server"
# Generous limits: what is waited for comes in a fraction of them, unless the machine is overloaded.
_START_S = 240.0
_STOP_S = 120.0
_KEPT_S = 120.0
_LEADER_S = 120.0
_ALARM_S = 120.0
_EPMD_S = 30.0
_POLL_S = 0.05
_START_ATTEMPTS = 3
_CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{port}
loopback_users = none
log.console = false
log.file.level = info
collect_statistics_interval = 100
handshake_timeout = 60000
ssl_handshake_timeout = 60000
{further}"""
_TLS_CONFIGURATION = """\
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {ca}
ssl_options.certfile = {cert}
ssl_options.keyfile = {key}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
ssl_options.versions.1 = tlsv1.3
ssl_options.versions.2 = tlsv1.2
"""
# How often the broker looks for consumers that hold a message for too long, and how often it
# counts what is in its queues, in milliseconds.
_ADVANCED = "[{rabbit,[{channel_tick_interval,1000},{quorum_tick_interval,100}]}].\n"

# How much a queue holds. The counts that list_queues shows of a quorum queue are those of its last
# tick, and none at all, which is shown as 0, before the first tick after a start of the broker;
# and the answer to queue.declare says 0 whenever the leader does not answer within 250 ms. So the
# leader is asked here; -1 while there is none.
_COUNT = """\
{ok, Queue} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"%s">>)),
case amqqueue:get_type(Queue) of
    rabbit_quorum_queue ->
        case ra:consistent_query(amqqueue:get_pid(Queue), fun rabbit_fifo:%s/1) of
            {ok, Count, _} -> Count;
            _ -> -1
        end;
    _ ->
        proplists:get_value(%s, rabbit_amqqueue:info(Queue, [messages, messages_ready]))
end.
"""
_HELD = ("query_messages_total", "messages")
_READY = ("query_messages_ready", "messages_ready")


@dataclass(frozen=True)
class Certificates:
    """Files of a test's own authority: its certificate, the server's, a client's, a stranger's."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    other_ca: Path


class BrokerStartError(Exception):
    """The broker did not come up."""


class Broker:
    """A broker with its own directory; it can be stopped, killed and started on its data again."""

    def __init__(self, directory: Path, certificates: Certificates, further: str = "") -> None:
        self.port = free_port()
        self.tls_port = free_port()
        self.certificates = certificates
        self._directory = directory
        self._further = further
        self._node = f"t{self.port}@localhost"
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}
        self._prepare()

    # --- how to reach it

    def settings(self, **changes: Any) -> AmqpSettings:
        """How to reach it, without TLS."""
        return AmqpSettings(
            **{"host": HOST, "port": self.port, "connection_timeout": 60, **changes}
        )

    def tls_settings(self, **changes: Any) -> AmqpSettings:
        """The same with TLS."""
        tls = {"port": self.tls_port, "cacert": str(self.certificates.ca)}
        return self.settings(**{**tls, **changes})

    @contextmanager
    def channel(self) -> Iterator[Any]:
        """A channel of a connection of its own, with confirmed publishing."""
        connection = pika.BlockingConnection(_parameters(self.port, 60))
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            yield channel
        finally:
            # It may have been cut meanwhile.
            with suppress(AMQPError):
                connection.close()

    def count(self, queue: str) -> int:
        """The messages that are ready in a queue of vhost ``/``."""
        return self._ask(queue, _READY)

    def held(self, queue: str) -> int:
        """The messages in a queue of vhost ``/``, ready and unacknowledged."""
        return self._ask(queue, _HELD)

    def _ask(self, queue: str, what: tuple[str, str]) -> int:
        deadline = time.monotonic() + _LEADER_S
        while (count := int(self.control("eval", _COUNT % (queue, *what)))) < 0:
            assert time.monotonic() < deadline, f"{queue}: no leader"
            time.sleep(_POLL_S)
        return count

    def wait_until_kept(self) -> None:
        """Return when all quorum queues of vhost ``/`` outlive a kill of the broker.

        RabbitMQ 3.10.8 writes the name of a new quorum queue to this table about a second late.
        After a kill before that its log says "pre init for 0 registered servers", and the queue
        has no leader: who consumes gets no answer for 65 s and then INTERNAL_ERROR.
        """
        names = self._directory / "mnesia" / self._node / "quorum" / self._node / "names.dets"
        lines = self.control("list_queues", "--silent", "name", "type").splitlines()
        queues = [name for name, kind in map(str.split, lines) if kind == "quorum"]
        deadline = time.monotonic() + _KEPT_S
        for queue in queues:
            while f"%2F_{queue}".encode() not in names.read_bytes():
                assert time.monotonic() < deadline, f"{queue}: not in {names}"
                time.sleep(_POLL_S)

    # --- its life

    def start(self) -> None:
        """Start it and wait until it answers."""
        for attempt in range(_START_ATTEMPTS):
            self._start_programs()
            try:
                self._wait()
                return
            except BrokerStartError:
                self.kill()
                # Another program may have taken a port in the meantime.
                self._environment |= self._internal_ports()
                if attempt + 1 == _START_ATTEMPTS:
                    raise

    def stop(self) -> None:
        """End it politely, if it runs."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it stand still; its connections stay open."""
        os.kill(self._process_id(), signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self._process_id(), signal.SIGCONT)

    def control(self, *words: str) -> str:
        """Run ``rabbitmqctl`` with these words; return what it prints."""
        done = subprocess.run(
            [_PROGRAMS / "rabbitmqctl", "-q", *words],
            env=self._environment,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"rabbitmqctl {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def close_connections(self) -> None:
        """Cut all connections."""
        self.control("close_all_connections", "cut by a test")

    @contextmanager
    def away(self) -> Iterator[None]:
        """The broker's application is stopped within the block."""
        self.control("stop_app")
        try:
            yield
        finally:
            self.control("start_app")
            self._wait()

    @contextmanager
    def memory_alarm(self) -> Iterator[None]:
        """Publishing connections are blocked within the block."""
        self.control("set_vm_memory_high_watermark", "0.00001")
        try:
            deadline = time.monotonic() + _ALARM_S
            while "resource_limit,memory" not in self.control("eval", "rabbit_alarm:get_alarms()."):
                assert time.monotonic() < deadline, "no alarm"
                time.sleep(_POLL_S)
            yield
        finally:
            self.control("set_vm_memory_high_watermark", "0.4")

    # --- files and programs

    def _prepare(self) -> None:
        for name in ("home", "mnesia", "log"):
            (self._directory / name).mkdir(parents=True, exist_ok=True)
        cookie = self._directory / "home" / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        (self._directory / "enabled_plugins").write_text("[].\n")
        (self._directory / "advanced.config").write_text(_ADVANCED)
        tls = _TLS_CONFIGURATION.format(
            port=self.tls_port,
            ca=self.certificates.ca,
            cert=self.certificates.server,
            key=self.certificates.server_key,
        )
        text = _CONFIGURATION.format(port=self.port, further=tls + self._further)
        (self._directory / "rabbitmq.conf").write_text(text)
        self._environment = self._variables() | self._internal_ports()

    def _variables(self) -> dict[str, str]:
        directory = self._directory
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(directory / "home"),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none"
            ),
        }

    def _internal_ports(self) -> dict[str, str]:
        return {"ERL_EPMD_PORT": str(free_port()), "RABBITMQ_DIST_PORT": str(free_port())}

    def _start_programs(self) -> None:
        epmd = shutil.which("epmd")
        assert epmd is not None, "epmd is not installed"
        if self._epmd is None:
            self._epmd = subprocess.Popen(
                [epmd, "-port", self._environment["ERL_EPMD_PORT"], "-address", HOST],
                env=self._environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._wait_for_epmd()
        with (self._directory / "console.log").open("wb") as console:
            self._server = subprocess.Popen(
                [_SERVER],
                env=self._environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def _wait_for_epmd(self) -> None:
        """Wait until it listens: a node that finds none would start another one, for good."""
        deadline = time.monotonic() + _EPMD_S
        while time.monotonic() < deadline:
            with suppress(OSError):
                socket.create_connection((HOST, int(self._environment["ERL_EPMD_PORT"]))).close()
                return
            time.sleep(_POLL_S)

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            try:
                # Asked first, since pika logs each refusal with tracebacks.
                socket.create_connection((HOST, self.port), timeout=2).close()
                pika.BlockingConnection(_parameters(self.port, 10)).close()
                return
            except (AMQPError, OSError):
                is_gone = self._server is None or self._server.poll() is not None
                if is_gone or time.monotonic() > deadline:
                    console = (self._directory / "console.log").read_text(errors="replace")
                    raise BrokerStartError(console[-2000:]) from None
            time.sleep(_POLL_S)

    def _process_id(self) -> int:
        return int((self._directory / "pid").read_text())

    def _end(self, number: signal.Signals) -> None:
        server, self._server = self._server, None
        if server is not None:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGCONT)
                if number == signal.SIGKILL:
                    os.killpg(server.pid, number)
                else:
                    server.terminate()
            try:
                server.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait(_STOP_S)
        epmd, self._epmd = self._epmd, None
        if epmd is not None:
            epmd.kill()
            epmd.wait(_STOP_S)


def is_installed() -> bool:
    """Whether this machine has the broker."""
    return _SERVER.exists() and shutil.which("epmd") is not None


@contextmanager
def running_broker(directory: Path, further: str = "") -> Iterator[Broker]:
    """A broker that answers; ``further`` are lines of its configuration file."""
    broker = Broker(directory, make_certificates(directory / "certificates"), further)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


def _parameters(port: int, seconds: float) -> pika.ConnectionParameters:
    """Without heartbeats: a test may rest for as long as it wants to."""
    return pika.ConnectionParameters(
        HOST, port, heartbeat=0, socket_timeout=seconds, stack_timeout=2 * seconds
    )


def make_certificates(directory: Path) -> Certificates:
    """Make an authority, what it signs for a server and a client, and an authority of strangers."""
    directory.mkdir(parents=True, exist_ok=True)
    ca, ca_key = _make_authority(directory, "ca")
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"
    server, server_key = _sign(directory, "server", ca, ca_key, names)
    client, client_key = _sign(directory, "client", ca, ca_key, "extendedKeyUsage=clientAuth\n")
    other_ca, _ = _make_authority(directory, "other")
    return Certificates(ca, server, server_key, client, client_key, other_ca)


def _make_authority(directory: Path, name: str) -> tuple[Path, Path]:
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    _openssl(
        *f"req -x509 -newkey rsa:2048 -nodes -sha256 -days 2 -subj /CN={name}".split(),
        *("-addext", "basicConstraints=critical,CA:TRUE"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-keyout", str(key), "-out", str(certificate)),
    )
    return certificate, key


def _sign(directory: Path, name: str, ca: Path, ca_key: Path, extensions: str) -> tuple[Path, Path]:
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    request, extension_file = directory / f"{name}.csr", directory / f"{name}.ext"
    extension_file.write_text(extensions)
    _openssl(
        *f"req -newkey rsa:2048 -nodes -sha256 -subj /CN={name}".split(),
        *("-keyout", str(key), "-out", str(request)),
    )
    _openssl(
        *("x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key)),
        *("-CAcreateserial", "-days", "2", "-sha256"),
        *("-extfile", str(extension_file), "-out", str(certificate)),
    )
    # The broker may run as another user.
    key.chmod(0o644)
    return certificate, key


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)
