-- Version 1 of the results database. A run is named by its id (SHA-256 of the canonical config) to
-- the outside and by the small integer run.key inside. Rows are keyed by (run, sequence), so that a
-- row that is sent twice is stored once. Times and hosts are not part of any key.

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
  key             INTEGER PRIMARY KEY,
  id              TEXT NOT NULL UNIQUE,
  canonical       TEXT NOT NULL,
  weights         TEXT,
  attention       TEXT,
  scenario        TEXT,
  strategy        TEXT,
  model           TEXT,
  data            TEXT,
  seed            INTEGER,
  state           TEXT NOT NULL DEFAULT 'queued'
                  CHECK (state IN ('queued', 'running', 'done', 'diverged', 'failed', 'stopped')),
  attempt         INTEGER NOT NULL DEFAULT 0,
  last_sequence   INTEGER NOT NULL DEFAULT -1,
  state_sequence  INTEGER NOT NULL DEFAULT -1,  -- of the state row in force; -1 at each attempt's start
  step            INTEGER NOT NULL DEFAULT 0,
  train_seconds   REAL,
  eval_seconds    REAL,
  probe_seconds   REAL,
  train_flops     REAL,
  inference_flops REAL,
  message         TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE config_value (
  run   INTEGER NOT NULL REFERENCES run (key),
  key   TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE grid (
  name TEXT PRIMARY KEY,
  file TEXT NOT NULL,
  text TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- run_id is no foreign key: a grid may be announced before its runs.
CREATE TABLE grid_run (
  grid     TEXT NOT NULL REFERENCES grid (name),
  run_id   TEXT NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (grid, run_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX grid_run_by_run ON grid_run (run_id);

CREATE TABLE eval (
  run               INTEGER NOT NULL REFERENCES run (key),
  sequence          INTEGER NOT NULL,
  stage             INTEGER NOT NULL,
  step              INTEGER NOT NULL,
  task              INTEGER NOT NULL,
  attention_readout TEXT NOT NULL CHECK (attention_readout IN ('none', 'full', 'sparse')),
  attention_budget  REAL,
  weights_readout   TEXT NOT NULL CHECK (weights_readout IN ('full', 'sparse')),
  weights_budget    REAL,
  masked            INTEGER NOT NULL CHECK (masked IN (0, 1)),
  split             TEXT NOT NULL CHECK (split IN ('train', 'validation', 'test')),
  n_correct         INTEGER NOT NULL CHECK (n_correct BETWEEN 0 AND n_total),
  n_total           INTEGER NOT NULL,
  loss              REAL,  -- nats per example; NULL where it was not a number
  example_bits      BLOB,  -- one bit per example, final evaluations only
  PRIMARY KEY (run, sequence)
) STRICT;

CREATE TABLE metric_name (
  key  INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE layer_name (
  key  INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE  -- '' = the whole net
) STRICT;

CREATE TABLE metric (
  run      INTEGER NOT NULL REFERENCES run (key),
  sequence INTEGER NOT NULL,
  step     INTEGER NOT NULL,
  layer    INTEGER NOT NULL REFERENCES layer_name (key),
  name     INTEGER NOT NULL REFERENCES metric_name (key),
  value    REAL,  -- NULL where it was not a number
  PRIMARY KEY (run, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE topology_update (
  run       INTEGER NOT NULL REFERENCES run (key),
  sequence  INTEGER NOT NULL,
  step      INTEGER NOT NULL,
  layer     INTEGER NOT NULL REFERENCES layer_name (key),
  nnz       INTEGER NOT NULL,
  dropped   INTEGER NOT NULL,
  grown     INTEGER NOT NULL,
  mask_hash TEXT NOT NULL,
  PRIMARY KEY (run, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE provenance (
  id   TEXT PRIMARY KEY,  -- SHA-256 of json
  json TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE run_provenance (
  run        INTEGER NOT NULL REFERENCES run (key),
  sequence   INTEGER NOT NULL,
  provenance TEXT NOT NULL REFERENCES provenance (id),
  attempt    INTEGER NOT NULL,
  PRIMARY KEY (run, sequence, provenance)
) STRICT, WITHOUT ROWID;

-- Published numbers that a table may show beside ours.
CREATE TABLE reference (
  source      TEXT NOT NULL,  -- cite key and place, e.g. '2511.20102 table 2'
  method      TEXT NOT NULL,
  setting     TEXT NOT NULL,
  metric      TEXT NOT NULL,
  value       REAL NOT NULL,
  spread      REAL,
  spread_kind TEXT CHECK (spread_kind IN ('sd', 'sem', 'ci95', 'unknown')),
  n           INTEGER,
  note        TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (source, method, setting, metric)
) STRICT, WITHOUT ROWID;

-- Trials of a grid's [tune] section: scores on the validation split, and what was chosen.
CREATE TABLE tuning (
  grid   TEXT NOT NULL,
  method TEXT NOT NULL,
  trial  TEXT NOT NULL,  -- the axes' values, "key=value" joined by spaces
  seed   INTEGER NOT NULL,
  run_id TEXT NOT NULL,
  score  REAL,
  chosen INTEGER NOT NULL DEFAULT 0 CHECK (chosen IN (0, 1)),
  PRIMARY KEY (grid, method, trial, seed)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
  key     INTEGER PRIMARY KEY,
  at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  run     INTEGER REFERENCES run (key),
  attempt INTEGER,
  kind    TEXT NOT NULL,
  message TEXT NOT NULL
) STRICT;
CREATE INDEX event_by_run ON event (run);
