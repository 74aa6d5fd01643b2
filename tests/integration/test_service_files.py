"""What stands in service/: units that systemd accepts, examples that the programs can read."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from altrepodb.uploaderd.bot import read_bot_settings
from altrepodb.uploaderd.fire import SERVICES, read_fire_settings
from altrepodb.uploaderd.json_settings import Problems
from altrepodb.uploaderd.services import SERVICE_TYPES
from altrepodb.uploaderd.settings import (
    Binding,
    DaemonSettings,
    read_daemon_settings,
    read_service_settings,
)

SERVICE = Path(__file__).parents[2] / "service"
EXAMPLES = sorted(path.name for path in (SERVICE / "services.d").iterdir())
UNITS = ("uploaderd.service", "altrepobot.service")
OLD_SERVICES = [f"{n}_loader" for n in "task acl beehive bugzilla repocop watch repo".split()]
MAX_EXPOSURE_TENTHS = "20"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def filled(path: Path, target: Path) -> Path:
    """An example as an administrator completes it."""
    content = json.loads(path.read_text())
    for section in (content, content.get("amqp"), content.get("notifier", {}).get("amqp")):
        if section and "host" in section:
            assert (section["host"], section["username"], section["password"]) == ("", "", "")
            section.update(host="mq.example", username="loader", password="secret")
    target.write_text(json.dumps(content))
    return target


@pytest.fixture
def settings(tmp_path: Path) -> DaemonSettings:
    for name in EXAMPLES:
        filled(SERVICE / "services.d" / name, tmp_path / name.removesuffix(".example"))
    config = filled(SERVICE / "config.json.example", tmp_path / "config.json")
    return read_daemon_settings(config, tmp_path, SERVICE_TYPES)


def test_examples_are_those_of_old(settings: DaemonSettings) -> None:
    assert settings.warnings == ()
    assert [service.name for service in settings.services] == OLD_SERVICES
    assert settings.notifier is not None and settings.notifier.amqp.host == "mq.example"
    for service in settings.services:
        word = service.name.removesuffix("_loader")
        assert service.queue.name == f"{word}-loader-q"
        assert (service.queue.type, service.queue.durable) == ("quorum", True)
        assert service.queue.unbind_at_startup == ()
        assert service.amqp.exchange == "uploaded-ex"
        assert service.workers_count == 1
        assert (service.database.dbname, service.database.user) == ("repodb", "default")
        is_task = word == "task"
        assert service.publish_on_done == service.requeue_on_reject == is_task
        assert service.max_redeliver_count == (2 if is_task else 0)
    bindings = {service.name: service.queue.bind_at_startup for service in settings.services}
    assert bindings["bugzilla_loader"] == (Binding("bugzilla-ex", "bugzilla.#"),)
    assert bindings["acl_loader"] == (Binding("girar-ex", "acl.#"),)
    assert bindings["watch_loader"] == (Binding("repodb-ex", "watch.#"),)
    keys = ("state", "subtask.approve", "subtask.disapprove", "progress")
    assert bindings["task_loader"] == tuple(Binding("girar-ex", f"task.{key}") for key in keys)


def test_example_of_the_repository_service() -> None:
    content = json.loads((SERVICE / "services.d/repo_loader.json.example").read_text())
    assert (content["validate_date"], content["threads_count"]) == (True, 4)
    directories = content["repo_dirs"]
    assert len(directories) == 14
    assert directories["c9f2"] == "/archive/repo/c9f2/date/latest"
    assert directories["p10_e2k"] == "/repo/e2k/p10_e2k"
    assert directories["sisyphus_riscv64"] == "/repo/ports/riscv64/Sisyphus"


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_of_a_service_is_read(name: str, tmp_path: Path) -> None:
    path = filled(SERVICE / "services.d" / name, tmp_path / name)
    problems = Problems()
    kind = SERVICE_TYPES[name.removesuffix(".json.example")]
    assert read_service_settings(path, kind, problems) is not None
    assert problems == Problems()


def test_every_service_has_an_example() -> None:
    assert {name.removesuffix(".json.example") for name in EXAMPLES} == set(SERVICE_TYPES)


def test_further_services_are_named_in_a_comment() -> None:
    content = json.loads((SERVICE / "config.json.example").read_text())
    more = {entry["name"] for entry in content["_more_services"]}
    assert more == set(SERVICE_TYPES) - set(OLD_SERVICES)


def test_example_of_amqpfire(tmp_path: Path) -> None:
    path = filled(SERVICE / "amqpfire_config.json.example", tmp_path / "fire.json")
    settings = read_fire_settings(path)
    assert settings.amqp.exchange == "repodb-ex"
    assert len(settings.known_branches) == 16


def test_amqpfire_knows_the_keys_of_the_services(settings: DaemonSettings) -> None:
    for service in settings.services:
        kind = SERVICES.get(service.name.removesuffix("_loader"))
        if kind is not None and kind.routing_key.endswith(".load"):
            assert service.own.routing_key == kind.routing_key


def test_example_of_the_bot(tmp_path: Path) -> None:
    path = tmp_path / "altrepobot.conf"
    text = (SERVICE / "altrepobot.conf.example").read_text()
    path.write_text(text.replace("token =", "token = 1:t").replace("chatid =", "chatid = -1"))
    settings = read_bot_settings(path, {})
    assert settings.amqp.queue is not None and settings.amqp.queue.name == "bot-q"
    notifier = json.loads((SERVICE / "config.json.example").read_text())["notifier"]
    assert settings.amqp.exchange == notifier["amqp"]["exchange"]


# --- systemd


def unit_settings(name: str) -> dict[str, Any]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(SERVICE / name)
    return dict(parser["Service"])


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_units_are_sound(name: str, tmp_path: Path) -> None:
    """The programs need not be installed for that."""
    path = tmp_path / name
    path.write_text(
        re.sub("(?<=^ExecStart=)[^ \n]+", "/bin/true", (SERVICE / name).read_text(), flags=re.M)
    )
    done = run("systemd-analyze", "verify", "--man=no", str(path))
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_units_expose_little(name: str) -> None:
    path = str(SERVICE / name)
    done = run(
        "systemd-analyze", "security", "--offline=true", f"--threshold={MAX_EXPOSURE_TENTHS}", path
    )
    assert done.returncode == 0, done.stdout[-200:]


def test_unit_of_the_daemon_lets_loads_end(settings: DaemonSettings) -> None:
    unit = unit_settings("uploaderd.service")
    assert (unit["Type"], unit["KillMode"]) == ("notify", "mixed")
    assert float(unit["TimeoutStopSec"]) >= settings.drain_timeout + 30
    assert unit["RestartPreventExitStatus"] == "2"
    assert unit["WatchdogSec"] == "120"


@pytest.mark.parametrize("name", UNITS)
def test_units_run_as_the_user_that_is_made(name: str) -> None:
    unit = unit_settings(name)
    assert unit["User"] == unit["Group"] == "_altrepodb"
    assert "u _altrepodb " in (SERVICE / "altrepodb.sysusers.conf").read_text()


@needs_systemd
@needs_root
def test_user_and_directories_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc/uploaderd").mkdir(parents=True)
    (tmp_path / "etc/uploaderd/config.json").touch(0o644)
    users = run("systemd-sysusers", f"--root={tmp_path}", str(SERVICE / "altrepodb.sysusers.conf"))
    assert users.returncode == 0, users.stderr
    passwd = (tmp_path / "etc/passwd").read_text()
    assert re.search("^_altrepodb:.*:/var/lib/altrepodb:.*nologin$", passwd, re.M)
    files = run(
        "systemd-tmpfiles",
        f"--root={tmp_path}",
        "--create",
        str(SERVICE / "altrepodb.tmpfiles.conf"),
    )
    assert files.returncode == 0, files.stderr
    modes = {
        name: (tmp_path / name).stat().st_mode & 0o777
        for name in (
            "var/log/altrepodb",
            "var/lib/altrepodb",
            "etc/altrepobot.conf",
            "etc/uploaderd/config.json",
        )
    }
    assert list(modes.values()) == [0o750, 0o755, 0o640, 0o640]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "LANG": "C.UTF-8",
        "SYSTEMD_PAGER": "",
        "SYSTEMD_LOG_LEVEL": "warning",
    }
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
