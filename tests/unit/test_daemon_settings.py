"""The daemon's configuration: shipped examples, defaults, and everything wrong named at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from altrepodb import __version__
from altrepodb.cli.uploaderd import main
from altrepodb.config import DatabaseSettings
from altrepodb.uploaderd.json_settings import ConfigurationProblems
from altrepodb.uploaderd.services import SERVICE_TYPES
from altrepodb.uploaderd.settings import (
    AmqpSettings,
    Binding,
    DaemonSettings,
    LogSettings,
    QueueSettings,
    read_daemon_settings,
)

EXAMPLES = Path(__file__).parents[2] / "service"
SMALLEST = {"database": {}, "amqp": {"queue": {"name": "q"}}}


def write(directory: Path, name: str = "watch_loader", **changes: Any) -> list[str]:
    """Write a configuration of one service; the options that name it."""
    (directory / f"{name}.json").write_text(json.dumps({**SMALLEST, **changes}))
    services = [{"name": name, "config": f"{name}.json"}]
    return write_top(directory, services=services)


def write_top(directory: Path, **top: Any) -> list[str]:
    (directory / "config.json").write_text(json.dumps(top))
    return ["-c", str(directory / "config.json"), "-s", str(directory)]


def read(directory: Path) -> DaemonSettings:
    return read_daemon_settings(directory / "config.json", directory, SERVICE_TYPES)


def problems(directory: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigurationProblems) as caught:
        read(directory)
    return tuple(line.replace(f"{directory}/", "") for line in caught.value.problems)


def fill_in(values: Any) -> Any:
    """The example with what an administrator must fill in."""
    if isinstance(values, dict):
        filled = {key: fill_in(value) for key, value in values.items()}
        for key in ("host", "user", "username"):
            if filled.get(key) == "":
                filled[key] = "somebody"
        return filled
    return [fill_in(value) for value in values] if isinstance(values, list) else values


def test_the_shipped_examples_are_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted((EXAMPLES / "services.d").glob("*.json*"))
    assert len(files) >= 7
    for file in files:
        target = tmp_path / file.name.removesuffix(".example")
        target.write_text(json.dumps(fill_in(json.loads(file.read_text()))))
    top = fill_in(json.loads((EXAMPLES / "config.json.example").read_text()))
    assert main([*write_top(tmp_path, **top), "--check"]) == 0
    output = capsys.readouterr()
    assert output.out.count(": good\n") == 7
    assert "warning" not in output.err
    services = {service.name: service for service in read(tmp_path).services}
    task = services["task_loader"]
    assert (task.batch_size, task.publish_on_done, task.requeue_on_reject) == (10, True, True)
    assert (task.max_redeliver_count, task.prefetch_count) == (2, 14)
    assert task.queue.name == "task-loader-q"
    assert task.queue.type == "quorum"
    assert Binding("girar-ex", "task.progress") in task.queue.bind_at_startup
    assert task.amqp.exchange == "uploaded-ex"
    assert services["watch_loader"].prefetch_count == 5


def test_defaults(tmp_path: Path) -> None:
    write(tmp_path)
    settings = read(tmp_path)
    (service,) = settings.services
    words = "ALTRepoDB uploaderd service: watch_loader"
    assert service.amqp == AmqpSettings(queue=QueueSettings("q"), information=words)
    assert service.amqp == AmqpSettings(
        host="localhost",
        port=5672,
        vhost="/",
        queue=QueueSettings("q", "classic", True, False, False, (), ()),
        exchange="amq.topic",
        username="guest",
        password="guest",
        product="ALTRepoDB uploaderd",
        information=words,
        version=__version__,
        heartbeat=60,
        connection_timeout=10,
        blocked_timeout=300,
    )
    assert service.database == DatabaseSettings("default", "localhost", 9000, "default", "")
    assert (service.workers_count, service.batch_size) == (1, 1)
    assert (service.publish_on_done, service.requeue_on_reject) == (False, False)
    assert (service.max_redeliver_count, service.max_crash_count) == (0, 5)
    assert service.retry_delays == (30, 120, 600)
    assert (service.load_timeout, service.drain_timeout) == (0, 300)
    assert service.dead_letter_exchange == ""
    assert settings.notifier is None
    assert (settings.service_timeout, settings.drain_timeout) == (60, 300)
    assert settings.log == LogSettings(Path("/var/log/altrepodb/altrepodb.log"), True, "INFO")
    assert settings.metrics_listen is None
    assert settings.warnings == ()


def test_all_problems_are_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    queue = {"name": "q", "durabel": True}
    amqp = {"queue": queue, "password": 5, "key": str(tmp_path)}
    (tmp_path / "a.json").write_text(
        json.dumps({"database": {"pasword": "s3cret"}, "amqp": amqp, "workers_count": "2"})
    )
    (tmp_path / "b.json").write_text(json.dumps({"amqp": {}, "reply_on_done": True}))
    options = write_top(
        tmp_path,
        services=[
            {"name": "watch_loader", "config": "a.json"},
            {"name": "repo_loader", "config": "b.json"},
            {"name": "wach_loader", "config": "a.json"},
            {"name": "acl_loader", "config": "missing.json"},
        ],
        notifier={"amqp": {"hots": "x"}},
        metrics={"listen": "0.0.0.0:9420"},
    )
    found = "\n".join(problems(tmp_path))
    assert "a.json: amqp: queue: durabel: unknown key (did you mean durable?)" in found
    assert "a.json: amqp: password: expected a text, got a number" in found
    assert "a.json: amqp: key: expected a file that exists" in found
    assert "a.json: database: pasword: unknown key (did you mean password?)" in found
    assert 'a.json: workers_count: expected a whole number from 1 to 64, got "2"' in found
    assert "b.json: database: expected an object, got nothing" in found
    assert "b.json: amqp: queue: expected an object, got nothing" in found
    assert "b.json: repo_dirs: expected an object, got nothing" in found
    assert "services[2]: name: expected one of" in found
    assert "(did you mean watch_loader?)" in found
    assert "missing.json: cannot be read: No such file or directory" in found
    assert "config.json: notifier: amqp: hots: unknown key (did you mean host?)" in found
    assert "metrics: listen: expected an address of the loopback interface" in found
    for further in (["--check"], []):
        assert main([*options, *further]) == 2
        output = capsys.readouterr()
        assert "durabel" in output.err
        assert "Traceback" not in output.err
        assert "s3cret" not in output.err + output.out


def test_a_missing_main_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-c", str(tmp_path / "none.json"), "--check"]) == 2
    assert "none.json: cannot be read" in capsys.readouterr().err


def test_unknown_keys_at_the_top_are_warnings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = write(tmp_path, publish_on_dome=True, _remark="x")
    assert main([*options, "--check"]) == 0
    expected = "publish_on_dome: unknown key, ignored (did you mean publish_on_done?)"
    assert expected in capsys.readouterr().err
    (warning,) = read(tmp_path).warnings
    assert warning.endswith(expected)


@pytest.mark.parametrize(
    ("value", "is_error", "warnings"),
    [(0.05, True, 0), (11, True, 0), ("x", False, 1), (6, False, 0)],
)
def test_the_sleep_of_old(tmp_path: Path, value: Any, is_error: bool, warnings: int) -> None:
    write(tmp_path, idle_loop_sleep=value)
    if is_error:
        assert problems(tmp_path)[0].startswith("watch_loader.json: idle_loop_sleep: expected a ")
    else:
        assert len(read(tmp_path).warnings) == warnings


@pytest.mark.parametrize(("value", "is_good"), [(0, False), (1, True), (100, True), (101, False)])
def test_the_size_of_batches(tmp_path: Path, value: int, is_good: bool) -> None:
    write(tmp_path, "task_loader", amqp_batch_size=value)
    if is_good:
        (service,) = read(tmp_path).services
        assert (service.batch_size, service.prefetch_count) == (value, value + 4)
    else:
        assert "amqp_batch_size: expected a whole number from 1 to 100" in problems(tmp_path)[0]


def test_an_explicit_prefetch_is_taken_as_it_is(tmp_path: Path) -> None:
    for given, expected in ((0, 1), (1, 1), (500, 500)):
        write(tmp_path, amqp={"queue": {"name": "q"}, "prefetch_count": given})
        assert read(tmp_path).services[0].prefetch_count == expected


def test_a_client_certificate_needs_an_authority(tmp_path: Path) -> None:
    file = str(tmp_path / "watch_loader.json")
    write(tmp_path, amqp={"queue": {"name": "q"}, "cert": file, "key": file})
    for problem, key in zip(problems(tmp_path), ("key", "cert"), strict=True):
        assert problem.startswith(f"watch_loader.json: amqp: {key}: expected cacert beside it")
    write(tmp_path, amqp={"queue": {"name": "q"}, "cert": file, "cacert": file})
    (problem,) = problems(tmp_path)
    assert problem.startswith("watch_loader.json: amqp: cert: expected key beside it")


def test_an_embedded_database(tmp_path: Path) -> None:
    write(tmp_path, database={"embedded": str(tmp_path / "db")})
    assert read(tmp_path).services[0].database.embedded == tmp_path / "db"


def test_no_secret_is_shown(tmp_path: Path) -> None:
    amqp = {"queue": {"name": "q"}, "password": "s3cret"}
    write(tmp_path, amqp=amqp, database={"password": "s3cret"})
    assert "s3cret" not in repr(read(tmp_path))
