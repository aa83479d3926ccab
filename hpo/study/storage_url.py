"""StorageUrl: where a store is. No other module parses or renders storage URLs, so none shows their secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from hpo.errors import StoreError
from hpo.paths import expand_path

EXAMPLE = "for example sqlite:///studies/store.db"
HIDDEN = "***"  # as SQLAlchemy writes it in place of a password
_SQLITE_SCHEMES = ("sqlite", "sqlite+pysqlite")
_SQLITE_PARAMETERS = {"timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"}
# Drivers know several parameters for passwords, keys and tokens, and new versions add others. So the values of all
# parameters are hidden, except for these.
_HARMLESS_PARAMETERS = {
    "application_name",
    "channel_binding",
    "charset",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "port",
    "read_timeout",
    "ssl_ca",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "unix_socket",
    "user",
    "write_timeout",
} | _SQLITE_PARAMETERS


@dataclass(frozen=True)
class StorageUrl:
    """A storage URL whose text hides passwords: `str(url)` is for people, `url.connection` for Optuna."""

    text: str
    connection: str = field(repr=False)  # with passwords, and with special characters escaped
    file: Path | None = None  # absolute path of an SQLite database; None for a database server

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of_file(cls, file: Path) -> StorageUrl:
        """Return the URL of an SQLite database. Characters such as `#`, `?` and `%` in its path are escaped."""
        connection = "sqlite:///" + file.absolute().as_uri().removeprefix("file://")
        return cls(connection, connection, file.absolute())

    @classmethod
    def parse(cls, text: str, folder: Path | None = None) -> StorageUrl:
        """Parse the text of a URL. A relative SQLite path starts at `folder`, by default at the current one.

        Raises StoreError if the text is not a URL, or if the database would be in memory only.
        """
        scheme, mark, rest = text.strip().partition("://")
        if not mark:
            raise StoreError(f"storage {hide_secrets(text)!r} is not a URL; {EXAMPLE}")
        if scheme in _SQLITE_SCHEMES:
            # Without SQLAlchemy, because its import would double the time that `hpo show` takes.
            return cls._parse_sqlite(text.strip(), rest, folder or Path.cwd())
        return cls._parse_server(text.strip())

    @classmethod
    def _parse_sqlite(cls, text: str, rest: str, folder: Path) -> StorageUrl:
        location, mark, query = rest.partition("?")
        host, slash, database = location.partition("/")
        shown = f"{text.partition('?')[0]}?{HIDDEN}" if mark else text  # somebody may have typed a password there
        if host:
            raise StoreError(f"storage {shown}: three slashes start a path: sqlite:///{host}{slash}{database}")
        if mark and not {name for name, _ in parse_qsl(query, keep_blank_values=True)} <= _SQLITE_PARAMETERS:
            raise StoreError(
                f"storage {shown}: what follows ? is read as options of SQLite; write ? in a path as %3F, and % as %25"
            )
        database = unquote(database)
        if database in ("", ":memory:"):
            raise StoreError(f"storage {shown}: a store in memory is lost at the end; use a file, {EXAMPLE}")
        path = expand_path(database)
        # An absolute path is kept as it is: if it is a link, the artifacts are next to the link.
        url = cls.of_file(path if path.is_absolute() else (folder / path).resolve())
        return cls(text, url.connection + (f"?{query}" if query else ""), url.file)

    @classmethod
    def _parse_server(cls, text: str) -> StorageUrl:
        import sqlalchemy.exc
        from sqlalchemy.engine import make_url

        try:
            url = make_url(text)
        except (sqlalchemy.exc.ArgumentError, ValueError):  # a ValueError for a port that is no number
            raise StoreError(
                f"storage {hide_secrets(text)!r} is not a URL; write it as postgresql://USER@HOST:PORT/DATABASE"
            ) from None
        if "@" in (url.host or "") or "?" in (url.password or ""):
            # SQLAlchemy takes what follows the first @ for the host, and an error message would show it.
            raise StoreError(
                f"storage {hide_secrets(text)}: a user name or password holds @, / or ?; write %40, %2F or %3F instead"
            )
        shown = {name: value if name in _HARMLESS_PARAMETERS else HIDDEN for name, value in url.query.items()}
        rendered = url.set(query=shown).render_as_string(hide_password=True).replace("%2A%2A%2A", HIDDEN)
        file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        return cls(rendered, url.render_as_string(hide_password=False), file)


def hide_secrets(text: str) -> str:
    """Return a text that is not a valid URL, but may hold a password, up to its first special character."""
    start = re.match(r"[\w./~-]*(://)?", text.strip())
    return text if not start or start[0] == text.strip() else start[0] + HIDDEN
