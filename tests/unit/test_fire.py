"""What is fired: keys and bodies as services know them, and arguments that are refused."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from altrepodb.cli.repodb_amqpfire import main
from altrepodb.errors import ConfigurationError
from altrepodb.uploaderd.fire import FireSettings, make_shot, read_fire_settings
from altrepodb.uploaderd.settings import AmqpSettings

SETTINGS = FireSettings(AmqpSettings(exchange="repodb-ex"))


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(**values: Any) -> Path:
        path = tmp_path / "fire.json"
        path.write_text(json.dumps({"host": "localhost", "exchange": "repodb-ex", **values}))
        return path

    return write


@pytest.mark.parametrize(
    ("service", "parameters", "key", "body"),
    [
        ("repo", ["p10", "2022-06-22"], "repo.load", b'{"branch": "p10", "date": "2022-06-22"}'),
        ("watch", [], "watch.load", b"{}"),
        ("repocop", [], "repocop.load", b"{}"),
        ("beehive", [], "beehive.load", b"{}"),
        ("spdx", [], "spdx.load", b"{}"),
    ],
)
def test_a_shot(service: str, parameters: list[str], key: str, body: bytes) -> None:
    shot = make_shot(SETTINGS, service, parameters)
    assert (shot.exchange, shot.routing_key, shot.body) == ("repodb-ex", key, body)


def test_today() -> None:
    before = date.today()
    body = json.loads(make_shot(SETTINGS, "repo", ["p10", "today"]).body)
    assert before <= date.fromisoformat(body["date"]) <= date.today()


def test_a_task_is_replayed_as_the_build_system_would() -> None:
    shot = make_shot(SETTINGS, "task", ["307321", "done"])
    body = json.loads(shot.body)
    assert re.fullmatch(r"[0-9]{10}\.[0-9]{4}", body.pop("_timestamp"))
    assert shot.routing_key == "task.state"
    assert body == {"taskid": 307321, "state": "DONE", "_routing_key": "task.state"}


def test_renamed_keys() -> None:
    settings = FireSettings(SETTINGS.amqp, routing_keys={"watch": "watch.other", "task": "t.s"})
    assert make_shot(settings, "watch", []).routing_key == "watch.other"
    assert json.loads(make_shot(settings, "task", ["1", "new"]).body)["_routing_key"] == "t.s"


@pytest.mark.parametrize(
    "words",
    [
        "repo -p p10",
        "repo -p p10 2022-06-22 more",
        "repo",
        "repo -p p11 2022-06-22",
        "repo -p P10 2022-06-22",
        "repo -p p10 2022-13-01",
        "repo -p p10 2022-02-30",
        "repo -p p10 2022-6-22",
        "repo -p p10 ２０２２-06-22",
        "watch -p now",
        "task -p 0 done",
        "task -p 99999999999 done",
        "task -p 1 finished",
        "acl",
    ],
)
def test_wrong_words_are_usage_errors(
    write: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-c", str(write()), "--dry-run", "-s", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "amqpfire: error: " in err


def test_dry_run_says_what_would_be_sent(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--dry-run -s repo -p p10 2022-06-22".split()
    assert main(["-c", str(write()), *words]) == 0
    expected = 'repodb-ex repo.load {"branch": "p10", "date": "2022-06-22"}\n'
    assert capsys.readouterr().out == expected
    assert main(["-c", str(write()), "--json", *words]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["routing_key"], summary["dry_run"]) == ("repo.load", True)


def test_all_keys_are_read(write: Any, tmp_path: Path) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.touch()
    values = {
        **{"host": "mq.example", "port": "5671", "vhost": "/v", "exchange": "x"},
        **{"username": "me", "password": "secret", "cacert": str(certificate)},
        **{"key": str(certificate), "cert": str(certificate), "timeout": 3},
        **{"known_branches": ["c10"], "routing_keys": {"repo": "repo.other"}},
    }
    settings = read_fire_settings(write(**values))
    amqp = settings.amqp
    assert (amqp.host, amqp.port, amqp.vhost, amqp.exchange) == ("mq.example", 5671, "/v", "x")
    assert (amqp.username, amqp.password, amqp.heartbeat) == ("me", "secret", 0)
    assert amqp.cacert == amqp.key == amqp.cert == str(certificate)
    assert (settings.timeout_s, amqp.connection_timeout) == (3, 3)
    assert settings.known_branches == ("c10",)
    assert settings.routing_keys == {"repo": "repo.other"}


def test_defaults_are_those_of_old_files(write: Any) -> None:
    settings = read_fire_settings(write(vhost="", cacert=""))
    assert (settings.amqp.port, settings.amqp.vhost, settings.amqp.cacert) == (5672, "/", "")
    assert settings.known_branches == ("p9", "p10", "sisyphus")
    assert settings.timeout_s == 10


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"host": ""}, "host: expected a text, got nothing"),
        ({"exchange": ""}, "exchange: expected a text, got nothing"),
        ({"port": "56x"}, "port: expected a whole number"),
        ({"port": 0}, "port: expected a whole number"),
        ({"cacert": "/nonexistent"}, "cacert: expected a file that exists"),
        ({"known_branches": "p10"}, "known_branches: expected an array"),
        ({"routing_keys": {"acl": "x"}}, "acl: no such service"),
    ],
)
def test_wrong_configuration(write: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_fire_settings(write(**values))
