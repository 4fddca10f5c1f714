"""What digests.py remembers from run to run: a small SQLite file, without which everything works, only slower."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

LOCATION = "MEDDEL_HF_DIGESTS"  # environment variable; see digests.py
_VERSION = 1  # of the tables below; a file of another version is begun anew
_TABLES = """
CREATE TABLE IF NOT EXISTS folders (number INTEGER PRIMARY KEY, folder BLOB UNIQUE, used INTEGER);
CREATE TABLE IF NOT EXISTS files (
    number INTEGER, name BLOB, digest TEXT, state TEXT, "check" TEXT, PRIMARY KEY (number, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS derived (key TEXT PRIMARY KEY, value TEXT, used INTEGER) WITHOUT ROWID;
"""
_MOST_FILES = 1_000_000  # about 200 MB; then the folders that were not asked for in the longest time are forgotten
_MOST_DERIVED = 10_000
_DAY = 86_400  # seconds
_KEPT = 365 * _DAY  # a folder that nobody asked for in this time is forgotten
_WAIT = 5.0  # seconds for another process's commit

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """digest: 32 hex digits. state: size, times (modified, changed), inode and device of the file it was read from."""

    digest: str
    state: str

    @property
    def check(self) -> str:
        """Tells a row that was written from one that a bad disk changed."""
        return xxhash.xxh3_64_hexdigest(f"{self.digest} {self.state}".encode())


@dataclass(frozen=True)
class Memory:
    """A file of digests. Whatever goes wrong with it is a line in the debug log: then nothing is remembered.

    path: None where nothing is to be remembered.
    """

    path: Path | None

    @classmethod
    def usual(cls) -> Memory:
        named = os.environ.get(LOCATION)
        if named is not None:
            return cls(None if named.lower() in ("", "off") else Path(named).expanduser())
        from huggingface_hub.constants import HF_HOME

        return cls(Path(HF_HOME).expanduser() / "meddel_hf" / "digests.sqlite")

    def of(self, folder: str) -> dict[str, Known]:
        """name -> what is known of each file in a folder."""

        def read(connection: sqlite3.Connection) -> dict[str, Known]:
            query = 'SELECT name, digest, state, "check" FROM files JOIN folders USING (number) WHERE folder = ?'
            rows = connection.execute(query, (os.fsencode(folder),)).fetchall()
            remembered = [(os.fsdecode(name), Known(digest, state), check) for name, digest, state, check in rows]
            return {name: known for name, known, check in remembered if known.check == check}

        return self._within(read) or {}

    def learn(self, folder: str, files: Mapping[str, Known]) -> None:
        """Keep what was learned of files in a folder."""

        def write(connection: sqlite3.Connection) -> None:
            key, now = os.fsencode(folder), int(time.time())
            connection.execute("INSERT OR IGNORE INTO folders (folder, used) VALUES (?, ?)", (key, now))
            number = connection.execute("SELECT number FROM folders WHERE folder = ?", (key,)).fetchone()[0]
            rows = [
                (number, os.fsencode(name), known.digest, known.state, known.check) for name, known in files.items()
            ]
            connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", rows)

        self._within(write, changes=True)

    def asked_for(self, folders: set[str]) -> None:
        """Note that folders are in use, once a day, and forget those that no longer are."""

        def write(connection: sqlite3.Connection) -> None:
            now = int(time.time())
            keys = [(now, os.fsencode(folder), now - _DAY) for folder in folders]
            connection.executemany("UPDATE folders SET used = ? WHERE folder = ? AND used < ?", keys)
            counts = connection.execute(
                "SELECT number, used, count(*) FROM files JOIN folders USING (number) GROUP BY 1 ORDER BY used DESC"
            ).fetchall()
            held, forgotten = 0, []
            for number, used, count in counts:
                held += count
                if held > _MOST_FILES or used < now - _KEPT:
                    forgotten.append((number,))
            connection.executemany("DELETE FROM files WHERE number = ?", forgotten)
            connection.executemany("DELETE FROM folders WHERE number = ?", forgotten)

        self._within(write, changes=True)

    def derived(self, key: str) -> str | None:
        """What `remember` was told under a key."""

        def read(connection: sqlite3.Connection) -> Any:
            return connection.execute("SELECT value FROM derived WHERE key = ?", (key,)).fetchone()

        rows = self._within(read)
        return str(rows[0]) if rows else None

    def remember(self, key: str, value: str) -> None:
        """Keep a value for `derived`; the oldest of many are forgotten."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO derived VALUES (?, ?, ?)", (key, value, time.time_ns()))
            query = "DELETE FROM derived WHERE key IN (SELECT key FROM derived ORDER BY used DESC LIMIT -1 OFFSET ?)"
            connection.execute(query, (_MOST_DERIVED,))

        self._within(write, changes=True)

    def _within(self, work: Callable[[sqlite3.Connection], Any], *, changes: bool = False) -> Any:
        """What `work` returns, in one transaction; None where the file cannot be used. A damaged one is begun anew."""
        if self.path is None:
            return None
        for attempt in range(2):
            try:
                with closing(_connected(self.path)) as connection:
                    connection.execute("BEGIN IMMEDIATE" if changes else "BEGIN")
                    answer = work(connection)
                    connection.execute("COMMIT")
                    return answer
            except sqlite3.OperationalError as error:  # locked, read-only, full, or on a disk without locks
                logger.debug("digests are not remembered in %s: %s", self.path, error)
                return None
            except (sqlite3.DatabaseError, _OtherVersion) as error:
                logger.debug("%s is begun anew: %s", self.path, error)
                if attempt == 0:
                    with suppress(OSError):
                        self.path.unlink()
            except (OSError, ValueError, TypeError) as error:  # no folder to write to; values of a damaged file
                logger.debug("digests are not remembered in %s: %s", self.path, error)
                return None
        return None


class _OtherVersion(Exception):
    """The file has tables of another version."""


def _connected(path: Path) -> sqlite3.Connection:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # names of files are private
    connection = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:  # new; several processes may come here at once
            connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise _OtherVersion(f"version {version}")
    except BaseException:
        connection.close()
        raise
    return connection
