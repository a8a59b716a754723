-- Ids and hashes are their bytes; moments are microseconds since 1970, in UTC. Texts are what the engine wrote.

CREATE TABLE workers (
    id BLOB PRIMARY KEY NOT NULL,
    lease_until_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Small and rewritten often, so what never changes and may be long is in `specs`.
CREATE TABLE runs (
    id BLOB PRIMARY KEY NOT NULL,
    agent TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    status TEXT NOT NULL,
    waiting_on TEXT,
    wake_at_us INTEGER,
    detail TEXT NOT NULL,
    epoch INTEGER NOT NULL DEFAULT 0,
    next INTEGER NOT NULL,
    worker BLOB,
    inbox_last INTEGER NOT NULL DEFAULT 0,
    inbox_consumed INTEGER NOT NULL DEFAULT 0,
    idempotency_key TEXT
) STRICT;

CREATE INDEX runs_by_age ON runs (created_us, id);
CREATE INDEX runs_by_agent ON runs (agent, created_us, id);
CREATE INDEX runs_active ON runs (created_us, id) WHERE status IN ('queued', 'running');
CREATE INDEX runs_timers ON runs (wake_at_us, id) WHERE status = 'waiting' AND wake_at_us IS NOT NULL;
CREATE INDEX runs_finished ON runs (updated_us) WHERE status IN ('completed', 'failed', 'cancelled', 'diverged');
CREATE UNIQUE INDEX runs_by_key ON runs (idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE specs (
    run BLOB PRIMARY KEY NOT NULL REFERENCES runs ON DELETE CASCADE,
    text TEXT NOT NULL
) STRICT;

-- Of an entry, either its text or the hash of the blob that is its text.
CREATE TABLE entries (
    run BLOB NOT NULL REFERENCES runs ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    text TEXT,
    blob BLOB,
    PRIMARY KEY (run, sequence),
    CHECK ((text IS NULL) <> (blob IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE inbox (
    run BLOB NOT NULL REFERENCES runs ON DELETE CASCADE,
    number INTEGER NOT NULL,
    id BLOB NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (run, number),
    UNIQUE (run, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE approvals (
    id BLOB PRIMARY KEY NOT NULL,
    run BLOB NOT NULL REFERENCES runs ON DELETE CASCADE,
    hash BLOB NOT NULL,
    expires_us INTEGER NOT NULL,
    text TEXT NOT NULL,
    decision TEXT,
    decided_by TEXT,
    decided_us INTEGER
) STRICT;

CREATE INDEX approvals_by_run ON approvals (run);
CREATE INDEX approvals_pending ON approvals (id) WHERE decision IS NULL;

CREATE TABLE blobs (
    hash BLOB PRIMARY KEY NOT NULL,
    bytes BLOB NOT NULL,
    put_us INTEGER NOT NULL
) STRICT;

CREATE INDEX blobs_by_age ON blobs (put_us);

CREATE TABLE run_blobs (
    run BLOB NOT NULL REFERENCES runs ON DELETE CASCADE,
    hash BLOB NOT NULL REFERENCES blobs,
    PRIMARY KEY (run, hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX run_blobs_by_hash ON run_blobs (hash);
