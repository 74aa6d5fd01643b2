"""Settings: where values come from, what they mean, and what the reader of an error is told."""

import configparser
import os
import pickle
import re
from pathlib import Path

import pytest

from altrepodb.config import (
    _SECTIONS,
    DatabaseSettings,
    LoggingSettings,
    Settings,
    load_settings,
    read_database,
)
from altrepodb.errors import ConfigurationError

HOME = {"HOME": "/home/somebody"}


@pytest.fixture
def load(tmp_path):
    """Load settings from the text of an INI file, options and an environment."""

    def load_text(text=None, environment=None, **options):
        if text is not None:
            file = tmp_path / "config.ini"
            file.write_text(text)
            options.setdefault("config", str(file))
        return load_settings(options, {**HOME, **(environment or {})})

    return load_text


def refused(load, *arguments, **options):
    """The message of the error that loading ends in."""
    with pytest.raises(ConfigurationError) as caught:
        load(*arguments, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


class TestPrecedence:
    def test_defaults_of_a_server(self, load):
        assert load("") == Settings(
            database=DatabaseSettings(
                dbname="default", host="localhost", port=9000, user="default", password=""
            ),
            logging=LoggingSettings(False, False, True, "altrepodb"),
            config_file=load("").config_file,
        )

    def test_file_then_environment_then_command_line(self, load):
        text = "[DATABASE]\nhost = file\nuser = file\ndbname = file\nport = 1\n"
        environment = {"ALTREPODB_USER": "environment", "ALTREPODB_DBNAME": "environment"}
        database = load(text, environment, dbname="option").database
        assert (database.host, database.user, database.dbname) == ("file", "environment", "option")
        assert database.port == 1

    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("dbname", "x", "x"),
            ("host", "h", "h"),
            ("port", "9001", 9001),
            ("user", "u", "u"),
            ("password", "p", "p"),
            ("secure", "yes", True),
            ("verify", "no", False),
        ],
    )
    def test_each_key_from_each_place(self, load, key, value, expected):
        others = {} if key == "host" else {"host": "server"}
        from_file = load("[DATABASE]\n" + f"{key} = {value}\n").database
        from_environment = load(None, {f"ALTREPODB_{key.upper()}": value}, **others).database
        from_options = load(None, None, **{key: value}, **others).database
        for database in (from_file, from_environment, from_options):
            assert getattr(database, key) == expected
            assert database.embedded is None

    def test_empty_values_are_given(self, load):
        text = "[DATABASE]\nhost = h\npassword = secret\nuser = file\n"
        database = load(text, {"ALTREPODB_USER": ""}, password="").database
        assert database.password == ""
        assert database.user == ""

    def test_none_is_not_given(self, load):
        assert load("[DATABASE]\nhost = h\n", host=None).database.host == "h"

    def test_other_options_are_ignored(self, load):
        assert load("", PATH="x", verbose=True).database.host == "localhost"

    def test_config_from_environment(self, load, tmp_path):
        (tmp_path / "a.ini").write_text("[DATABASE]\nhost = a\n")
        (tmp_path / "b.ini").write_text("[DATABASE]\nhost = b\n")
        environment = {"ALTREPODB_CONFIG": str(tmp_path / "a.ini")}
        assert load(None, environment).database.host == "a"
        assert load(None, environment, config=str(tmp_path / "b.ini")).database.host == "b"
        assert load(None, {"ALTREPODB_CONFIG": ""}).config_file is None

    def test_process_environment_is_the_default(self, monkeypatch):
        monkeypatch.delenv("ALTREPODB_CONFIG", raising=False)
        monkeypatch.setenv("ALTREPODB_HOST", "from-process")
        assert load_settings().database.host == "from-process"


class TestDefaultSection:
    def test_stands_in_for_absent_keys(self, load):
        settings = load("[DEFAULT]\nuser = d\nlog_to_file = yes\n[DATABASE]\nhost = h\n[LOGGING]\n")
        assert settings.database.user == "d"
        assert settings.logging.to_file is True

    def test_stands_in_for_absent_sections(self, load):
        settings = load("[DEFAULT]\nlog_to_file = yes\nsyslog_ident = x\nhost = h\n")
        assert settings.logging == LoggingSettings(to_file=True, syslog_ident="x")
        assert settings.database.host == "h"

    def test_section_wins(self, load):
        text = "[DEFAULT]\nworkers = 3\nlog_to_console = no\n[LOGGING]\nlog_to_console = yes\n"
        assert load(text).logging.to_console is True

    def test_workers(self, load):
        assert load("").workers is None
        assert load("[DEFAULT]\nworkers = 3\n").workers == 3
        assert load("[DEFAULT]\nworkers = 3\n[DATABASE]\nworkers = 4\n").workers == 4
        assert load("[DEFAULT]\nworkers = 3\n", {"ALTREPODB_WORKERS": "5"}).workers == 5
        assert load("[DEFAULT]\nworkers = 3\n", workers=6).workers == 6

    def test_error_names_the_section_that_holds_the_value(self, load):
        message = refused(load, "[DEFAULT]\nport = x\n[DATABASE]\nhost = h\n")
        assert "[DEFAULT] port" in message
        message = refused(load, "[DEFAULT]\nport = 1\n[DATABASE]\nport = x\n")
        assert "[DATABASE] port" in message


class TestText:
    def test_percent_is_a_plain_character(self, load):
        assert load("[DATABASE]\npassword = 100%(x)s%\n").database.password == "100%(x)s%"

    @pytest.mark.parametrize("password", ["a#b", "a;b", "a = b", "a: b", "'quoted'", "пароль"])
    def test_password_is_taken_as_it_stands(self, load, password):
        settings = load(f"[DATABASE]\npassword = {password}\n")
        assert settings.database.password == password
        assert settings.warnings == ()

    def test_remark_behind_a_value_is_kept_with_a_warning(self, load):
        settings = load("[DATABASE]\nhost = h\npassword = secret # my remark\n")
        assert settings.database.password == "secret # my remark"
        (warning,) = settings.warnings
        assert "[DATABASE] password: a # behind a value is part of the value" in warning
        assert "secret" not in warning

    @pytest.mark.parametrize("value", ["# remark", "x\t# remark"])
    def test_every_kind_of_remark(self, load, value):
        settings = load(f"[LOGGING]\nsyslog_ident = {value}\n")
        assert settings.logging.syslog_ident == value
        assert "part of the value" in settings.warnings[0]

    def test_comment_lines_and_byte_order_mark(self, load):
        assert load("\ufeff# remark\n; remark\n[DATABASE]\n# x\nhost = h\n").database.host == "h"

    def test_value_on_several_lines(self, load):
        message = refused(load, "[DATABASE]\nhost = h\n  user = x\n")
        assert message.endswith("[DATABASE] host: expected one line, got several")

    def test_list_on_several_lines(self, load):
        text = "[SOURCES]\nbeehive_branches = p10, p9\n  Sisyphus\n"
        assert load(text).sources.beehive_branches == ("p10", "p9", "Sisyphus")


class TestBooleans:
    @pytest.mark.parametrize("word", ["1", "yes", "true", "on", "YES", "True", "On"])
    def test_true(self, load, word):
        assert load(f"[LOGGING]\nlog_to_file = {word}\n").logging.to_file is True

    @pytest.mark.parametrize("word", ["0", "no", "false", "off", "NO", "False", "Off"])
    def test_false(self, load, word):
        assert load(f"[LOGGING]\nlog_to_console = {word}\n").logging.to_console is False

    @pytest.mark.parametrize("word", ["", "2", "y", "да", "yes # remark"])
    def test_unparsable_is_the_default_and_a_warning(self, load, word):
        settings = load(f"[LOGGING]\nlog_to_console = {word}\nlog_to_file = {word}\n")
        assert settings.logging == LoggingSettings()
        warnings = [line for line in settings.warnings if "expected" in line]
        assert len(warnings) == 2
        assert re.search(
            r"config\.ini: \[LOGGING\] log_to_file: expected 1, yes, .* got", warnings[0]
        )
        assert warnings[0].endswith("taken as no")
        assert warnings[1].endswith("taken as yes")

    @pytest.mark.parametrize("key", ["secure", "verify"])
    def test_wrong_word_never_switches_protection_off(self, load, key):
        message = refused(load, f"[DATABASE]\nhost = h\n{key} = ye\n")
        assert (
            f"[DATABASE] {key}: expected 1, yes, true, on, 0, no, false or off, got 'ye'" in message
        )


class TestWrongValues:
    @pytest.mark.parametrize("port", ["x", "", "0", "65536", "-1", "1.5", "9_000", "٣", "9" * 5000])
    def test_port(self, load, port):
        message = refused(load, f"[DATABASE]\nport = {port}\n")
        expected = "expected a whole number from 1 to 65535"
        assert re.fullmatch(
            rf"/.*/config\.ini: \[DATABASE\] port: {expected}, got '{port}'", message
        )
        message = refused(load, None, {"ALTREPODB_PORT": port}, host="h")
        assert message == f"environment: ALTREPODB_PORT: {expected}, got '{port}'"
        assert refused(load, port=port) == f"command line: --port: {expected}, got '{port}'"

    @pytest.mark.parametrize("port", ["1", "65535"])
    def test_ends_of_the_range(self, load, port):
        assert load(f"[DATABASE]\nport = {port}\n").database.port == int(port)

    @pytest.mark.parametrize("workers", ["0", "-1", "many", "1025"])
    def test_workers(self, load, workers):
        assert "--workers: expected a whole number from 1 to 1024" in refused(load, workers=workers)

    @pytest.mark.parametrize("key", ["host", "dbname"])
    def test_empty_names(self, load, key):
        others = {} if key == "host" else {"host": "h"}
        assert f"--{key}: expected a " in refused(load, **{key: ""}, **others)

    def test_empty_name_of_an_embedded_database(self, load):
        assert "--dbname: expected a database name" in refused(load, dbname="")

    @pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf", "soon", "86401"])
    def test_timeout(self, load, timeout):
        assert "[SOURCES] timeout: expected seconds" in refused(
            load, f"[SOURCES]\ntimeout = {timeout}\n"
        )


class TestFile:
    def test_missing(self, load):
        message = refused(load, config="/nonexistent/config.ini")
        assert message == "/nonexistent/config.ini: cannot be read: No such file or directory"

    def test_given_but_empty_name(self, load):
        assert refused(load, config="") == "command line: --config: expected a file, got ''"

    def test_directory(self, load, tmp_path):
        assert refused(load, config=str(tmp_path)).endswith("cannot be read: Is a directory")

    def test_named_pipe_does_not_hang(self, load, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        assert "not a regular file" in refused(load, config=str(tmp_path / "pipe"))

    def test_too_large(self, load, tmp_path):
        file = tmp_path / "large.ini"
        file.write_bytes(b"#" * (1 << 20))
        assert load(config=str(file)).config_file == file
        file.write_bytes(b"#" * ((1 << 20) + 1))
        assert "larger than" in refused(load, config=str(file))

    def test_not_utf8(self, load, tmp_path):
        file = tmp_path / "latin.ini"
        file.write_bytes(b"[DATABASE]\nuser = \xe9\n")
        assert refused(load, config=str(file)).endswith("latin.ini: not UTF-8 at byte 18")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("password = secret\n", "line 1: expected a [SECTION] first"),
            ("[DATABASE]\nsecret\n", "line 2: expected key = value"),
            (
                "[DATABASE]\npassword = secret\npassword = secret\n",
                "line 3: [DATABASE] password stands there twice",
            ),
            ("[LOGGING]\n[LOGGING]\n", "line 2: section [LOGGING] stands there twice"),
        ],
    )
    def test_syntax_errors_do_not_quote_the_file(self, load, text, expected):
        message = refused(load, text)
        assert message.endswith(expected)
        assert "secret" not in message

    def test_syntax_error_leaves_no_trace_of_the_line(self, load):
        with pytest.raises(ConfigurationError) as caught:
            load("[DATABASE]\nsecret\n")
        assert caught.value.__suppress_context__

    def test_tilde(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "x.ini").write_text("[DATABASE]\nhost = h\n")
        assert load_settings({"config": "~/x.ini"}, {}).database.host == "h"


class TestUnknownKeys:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "[DATABASE]\nhots = x\n",
                "[DATABASE] hots: unknown key, ignored (did you mean host?)",
            ),
            ("[LOGGING]\nlevel = x\n", "[LOGGING] level: unknown key, ignored"),
            (
                "[DEFAULT]\nworker = 1\n",
                "[DEFAULT] worker: unknown key, ignored (did you mean workers?)",
            ),
            (
                "[Database]\nhost = x\n",
                "[Database]: unknown section, ignored (did you mean DATABASE?)",
            ),
            ("[LOGGING]\nhost = x\n", "[LOGGING] host: unknown key, ignored"),
        ],
    )
    def test_warning_names_file_section_and_key(self, load, text, expected):
        settings = load(text)
        assert settings.warnings == (f"{settings.config_file}: {expected}",)

    def test_a_key_of_default_is_nobody_elses_mistake(self, load):
        text = (
            "[DEFAULT]\nworkers = 1\nhost = h\n[LOGGING]\nlog_to_file = no\n[DATABASE]\nuser = u\n"
        )
        assert load(text).warnings == ()


class TestBackend:
    def test_default_is_embedded_below_the_data_home(self, load):
        database = load().database
        assert database.embedded == Path("/home/somebody/.local/share/altrepodb")
        assert database.dbname == "repodb"
        assert database.is_default
        assert database.describe() == (
            "embedded database repodb in /home/somebody/.local/share/altrepodb "
            "(neither a configuration file nor a host was given)"
        )

    def test_xdg_data_home(self, load):
        database = load(None, {"XDG_DATA_HOME": "/data"}).database
        assert database.embedded == Path("/data/altrepodb")

    @pytest.mark.parametrize("value", ["", "relative/dir"])
    def test_wrong_xdg_data_home_is_ignored(self, load, value):
        database = load(None, {"XDG_DATA_HOME": value}).database
        assert database.embedded == Path("/home/somebody/.local/share/altrepodb")

    def test_dbname_of_the_default_database(self, load):
        assert load(dbname="mine").database.dbname == "mine"
        assert load(None, {"ALTREPODB_DBNAME": "mine"}).database.dbname == "mine"

    def test_a_configuration_file_means_a_server(self, load):
        assert load("[LOGGING]\nlog_to_file = no\n").database == DatabaseSettings()

    def test_a_host_means_a_server(self, load):
        assert load(host="h").database == DatabaseSettings(host="h", dbname="default", port=9000)
        assert load(None, {"ALTREPODB_HOST": "h"}).database.embedded is None

    def test_embedded_everywhere(self, load):
        assert load("[DATABASE]\nembedded = /e\n").database.embedded == Path("/e")
        assert load(None, {"ALTREPODB_EMBEDDED": "/e"}).database.embedded == Path("/e")
        database = load(None, None, embedded="/e").database
        assert database.embedded == Path("/e")
        assert not database.is_default
        assert database.describe() == "embedded database repodb in /e"

    def test_defaults_of_settings_made_by_hand(self):
        assert DatabaseSettings(embedded=Path("/e")).dbname == "repodb"
        assert DatabaseSettings().dbname == "default"
        assert (DatabaseSettings().port, DatabaseSettings(secure=True).port) == (9000, 9440)

    def test_embedded_tilde(self, load, monkeypatch):
        monkeypatch.setenv("HOME", "/home/tilde")
        assert load("[DATABASE]\nembedded = ~/e\n").database.embedded == Path("/home/tilde/e")

    def test_the_more_specific_decides(self, load):
        assert load("[DATABASE]\nhost = h\n", embedded="/e").database.embedded == Path("/e")
        assert load("[DATABASE]\nembedded = /e\n", host="h").database.host == "h"
        assert load("[DATABASE]\nembedded = /e\n", host="h").database.embedded is None
        environment = {"ALTREPODB_EMBEDDED": "/e"}
        assert load("[DATABASE]\nhost = h\n", environment).database.embedded == Path("/e")

    def test_empty_embedded_means_a_server(self, load):
        assert load("[DATABASE]\nembedded = /e\n", embedded="").database.embedded is None
        assert load("[DATABASE]\nembedded =\nhost = h\n").database.host == "h"

    def test_both_in_one_place(self, load):
        message = refused(load, "[DATABASE]\nembedded = /e\nhost = h\n")
        assert "[DATABASE] embedded: expected no host beside an embedded database" in message
        message = refused(load, embedded="/e", host="h")
        assert message == (
            "command line: --embedded: expected no host beside an embedded database, "
            "got --host = 'h'"
        )

    def test_dbname_of_a_server_is_not_that_of_an_embedded_database(self, load):
        text = "[DATABASE]\nhost = h\ndbname = production\n"
        assert load(text, embedded="/e").database.dbname == "repodb"
        assert load(text, embedded="/e", dbname="x").database.dbname == "x"
        text = "[DATABASE]\nembedded = /e\ndbname = mine\n"
        assert load(text).database.dbname == "mine"

    def test_port_follows_tls(self, load):
        assert load(host="h", secure="yes").database.port == 9440
        assert load(host="h", secure="yes", port="9000").database.port == 9000

    def test_server_options_without_effect_are_said(self, load):
        settings = load(None, None, user="u", password="p")
        assert settings.warnings == tuple(
            f"command line: --{key}: no effect on an embedded database; --host names a server"
            for key in ("user", "password")
        )
        assert load(None, {"ALTREPODB_PASSWORD": "p"}).warnings == ()

    def test_tls_options_without_effect_are_said(self, load):
        assert load(host="h", verify="no").warnings == (
            "command line: --verify: no effect without --secure",
        )
        assert load(host="h", secure="yes", verify="no").warnings == ()
        assert load("[DATABASE]\nhost = h\nverify = no\n").warnings == ()

    def test_ca_certs(self, load, tmp_path):
        file = tmp_path / "ca.pem"
        message = refused(load, host="h", secure="yes", ca_certs=str(file))
        assert message.startswith("command line: --ca-certs: expected a file with certificates")
        file.touch()
        database = load(host="h", secure="yes", ca_certs=str(file)).database
        assert database.ca_certs == str(file)
        assert load("[DATABASE]\nsecure = on\nca_certs =\n").database.ca_certs is None

    def test_no_home(self, monkeypatch):
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
        with pytest.raises(ConfigurationError, match="HOME: expected an absolute path"):
            load_settings({}, {})

    def test_nul_in_a_name(self, load):
        assert "expected a database name" in refused(load, dbname="a\0b")

    def test_nul_in_a_path(self, load):
        assert "expected a path" in refused(load, embedded="a\0b")


class TestPasswords:
    def test_repr_and_describe_hide_it(self, load):
        settings = load(host="h", user="u", password="secret")
        assert settings.database.password == "secret"
        assert "secret" not in repr(settings)
        assert settings.database.describe() == "database default of user u at h:9000"

    def test_describe_tls(self):
        assert DatabaseSettings(secure=True).describe().endswith("at localhost:9440, TLS")
        unverified = DatabaseSettings(secure=True, verify=False).describe()
        assert unverified.endswith("TLS without verification")

    def test_password_file(self, load, tmp_path):
        file = tmp_path / "password"
        file.write_text("secret # %\n")
        text = f"[DATABASE]\nhost = h\npassword_file = {file}\n"
        assert load(text).database.password == "secret # %"
        assert load(text, {"ALTREPODB_PASSWORD": "x"}).database.password == "x"
        environment = {"ALTREPODB_HOST": "h", "ALTREPODB_PASSWORD_FILE": str(file)}
        assert load(None, environment).database.password == "secret # %"
        text = "[DATABASE]\nhost = h\npassword = other\n"
        assert load(text, environment).database.password == "secret # %"

    def test_missing_password_file(self, load):
        message = refused(load, "[DATABASE]\npassword_file = /nonexistent\n")
        assert "[DATABASE] password_file: /nonexistent: cannot be read" in message

    def test_both(self, load):
        message = refused(load, "[DATABASE]\npassword = x\npassword_file = /y\n")
        assert "expected no password beside it" in message

    def test_settings_travel_to_worker_processes(self, load):
        settings = load(host="h", password="secret")
        assert pickle.loads(pickle.dumps(settings)) == settings

    def test_frozen(self):
        with pytest.raises(AttributeError):
            DatabaseSettings().host = "x"


class TestSources:
    def test_values(self, load):
        text = (
            "[SOURCES]\nacl_url = http://x/\ntimeout = 2.5\nspdx_git_root = /g\nstate_dir = /s\n"
            "beehive_archs = i586 x86_64\nsource_timezone = Europe/Moscow\nwatch_url =\n"
        )
        sources = load(text).sources
        assert (sources.acl_url, sources.timeout) == ("http://x/", 2.5)
        assert (sources.spdx_git_root, sources.state_dir) == (Path("/g"), Path("/s"))
        assert sources.beehive_archs == ("i586", "x86_64")
        assert sources.source_timezone == "Europe/Moscow"
        assert sources.watch_url is None
        for seconds in ("0.5", "86400"):
            text = f"[SOURCES]\ntimeout = {seconds}\n"
            assert load(text).sources.timeout == float(seconds)


class TestExample:
    FILE = Path(__file__).parents[2] / "config.ini.example"

    def test_is_valid(self):
        settings = load_settings({"config": str(self.FILE)}, HOME)
        assert settings.warnings == ()
        assert settings.database == DatabaseSettings(dbname="repodb")
        assert settings.logging == LoggingSettings()

    def test_shows_every_key_and_no_other(self):
        shown = re.findall(r"^(?:# )?([a-z_]+) =", self.FILE.read_text(), re.MULTILINE)
        known = {key for keys in _SECTIONS.values() for key in keys}
        assert set(shown) == known
        # Keys behind a remark sign must stand in the right section as well.
        text = re.sub(r"^# ([a-z_]+ =)", r"\1", self.FILE.read_text(), flags=re.MULTILINE)
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(text)
        for section in parser.sections():
            assert set(parser[section]) - set(parser.defaults()) <= set(_SECTIONS[section])


class TestReadDatabase:
    def test_values(self):
        values = {"host": "h", "port": 9001, "secure": True, "verify": False, "password": "p"}
        assert read_database(values, "x.json: database") == DatabaseSettings(
            dbname="default", host="h", port=9001, secure=True, verify=False, password="p"
        )

    def test_empty_object_is_the_local_server(self):
        assert read_database({}, "x.json: database") == DatabaseSettings()

    def test_embedded(self):
        database = read_database({"embedded": "/e"}, "x")
        assert (database.embedded, database.dbname) == (Path("/e"), "repodb")

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"hots": 1}, "x: hots: unknown key (did you mean host?)"),
            ({"host": None}, "x: host: expected a text or a number, got None"),
            ({"port": "x"}, "x: port: expected a whole number from 1 to 65535, got 'x'"),
        ],
    )
    def test_errors(self, values, expected):
        with pytest.raises(ConfigurationError) as caught:
            read_database(values, "x")
        assert str(caught.value) == expected
