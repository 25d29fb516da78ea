-- Version 1. Times are whole microseconds since 1970; lists and maps are JSON.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    id         TEXT PRIMARY KEY,
    workspace  TEXT NOT NULL,
    note       TEXT NOT NULL,
    digest     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;

CREATE TABLE environments (
    id         TEXT PRIMARY KEY,
    workspace  TEXT NOT NULL,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (workspace, name)
) STRICT;

CREATE TABLE apps (
    id          TEXT PRIMARY KEY,
    workspace   TEXT NOT NULL,
    environment TEXT NOT NULL,
    name        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    UNIQUE (workspace, environment, name),
    FOREIGN KEY (workspace, environment) REFERENCES environments (workspace, name) ON DELETE CASCADE
) STRICT;

-- No foreign keys: what has ended is remembered, also after its app and environment are gone. Few indexes: rows are pruned
-- to some thousands, and every creation writes a page for each.
CREATE TABLE sandboxes (
    id          TEXT PRIMARY KEY,
    task_id     TEXT NOT NULL UNIQUE,
    workspace   TEXT NOT NULL,
    environment TEXT NOT NULL,
    app_id      TEXT NOT NULL,
    name        TEXT,
    tags        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    ready_at    INTEGER,
    ended_at    INTEGER,
    "end"       TEXT,
    provider_id TEXT,
    spec        TEXT NOT NULL,
    UNIQUE (workspace, created_at)
) STRICT;
CREATE UNIQUE INDEX sandboxes_running_name ON sandboxes (workspace, environment, app_id, name)
    WHERE name IS NOT NULL AND ended_at IS NULL;
CREATE INDEX sandboxes_name ON sandboxes (app_id, name) WHERE name IS NOT NULL;

CREATE TABLE secrets (
    id           TEXT PRIMARY KEY,
    workspace    TEXT NOT NULL,
    environment  TEXT NOT NULL,
    name         TEXT NOT NULL,
    app_id       TEXT,
    keys         TEXT NOT NULL,
    sealed       BLOB NOT NULL,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    UNIQUE (workspace, environment, name),
    UNIQUE (workspace, environment, created_at),
    FOREIGN KEY (workspace, environment) REFERENCES environments (workspace, name) ON DELETE CASCADE
) STRICT;

CREATE TABLE images (
    id         TEXT PRIMARY KEY,
    workspace  TEXT NOT NULL,
    digest     TEXT NOT NULL,
    base       TEXT NOT NULL,
    env        TEXT NOT NULL,
    workdir    TEXT,
    cmd        TEXT NOT NULL,
    entrypoint TEXT NOT NULL,
    shell      TEXT NOT NULL,
    log        TEXT NOT NULL,
    told       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (workspace, digest)
) STRICT;

CREATE TABLE answers (
    workspace TEXT NOT NULL,
    method    TEXT NOT NULL,
    key       TEXT NOT NULL,
    sealed    BLOB NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (workspace, method, key)
) STRICT;
CREATE INDEX answers_by_age ON answers (at);
