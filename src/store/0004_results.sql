-- A read-out is a row of its own, so that evaluations can tell more apart than one stream and budget
-- for each level; a run's config is one typed row; and the end of each run is kept as it is written,
-- so that queries cost what they ask for.

-- net: 'task' where each task is read through its own net. context: tokens, where it is not the
-- trained length; scaling: of positions beyond that. statistics: of batch normalisation. condition: of
-- the examples, 'distance=16'. NULL: as by default.
CREATE TABLE readout (
  key               INTEGER PRIMARY KEY,
  identity          TEXT NOT NULL UNIQUE,
  attention_readout TEXT NOT NULL,  -- 'none', 'full', 'sparse', or a branch's name
  attention_budget  REAL,
  attention_unit    TEXT,           -- 'blocks', 'top_p', ...
  weights_readout   TEXT NOT NULL,
  weights_budget    REAL,
  weights_unit      TEXT,           -- 'density', ...
  masked            INTEGER NOT NULL CHECK (masked IN (0, 1)),
  net               TEXT,
  context           INTEGER,
  scaling           TEXT,
  statistics        TEXT,
  condition         TEXT
) STRICT;

INSERT INTO readout (identity, attention_readout, attention_budget, attention_unit, weights_readout,
                     weights_budget, weights_unit, masked)
SELECT tandem_identity(attention_readout, attention_budget, weights_readout, weights_budget, masked),
       attention_readout, attention_budget, CASE WHEN attention_budget IS NOT NULL THEN 'blocks' END,
       weights_readout, weights_budget, CASE WHEN weights_budget IS NOT NULL THEN 'density' END, masked
FROM (SELECT DISTINCT attention_readout, attention_budget, weights_readout, weights_budget, masked
      FROM eval ORDER BY 1, 2, 3, 4, 5);

ALTER TABLE eval RENAME TO old_eval;

CREATE TABLE eval (
  run       INTEGER NOT NULL REFERENCES run (key),
  sequence  INTEGER NOT NULL,
  readout   INTEGER NOT NULL REFERENCES readout (key),
  stage     INTEGER NOT NULL,
  step      INTEGER NOT NULL,
  task      INTEGER NOT NULL,
  split     TEXT NOT NULL CHECK (split IN ('train', 'validation', 'test')),
  n_correct INTEGER NOT NULL CHECK (n_correct BETWEEN 0 AND n_total),
  n_total   INTEGER NOT NULL,
  loss      REAL,  -- nats per example; NULL where it was not a number
  PRIMARY KEY (run, sequence)
) STRICT, WITHOUT ROWID;

INSERT INTO eval
SELECT e.run, e.sequence, o.key, e.stage, e.step, e.task, e.split, e.n_correct, e.n_total, e.loss
FROM old_eval e
JOIN readout o ON o.attention_readout = e.attention_readout AND o.weights_readout = e.weights_readout
              AND o.attention_budget IS e.attention_budget AND o.weights_budget IS e.weights_budget
              AND o.masked = e.masked
ORDER BY e.run, e.sequence;

-- One bit per example, of final evaluations; apart from eval, which is read often.
CREATE TABLE eval_bits (
  run      INTEGER NOT NULL REFERENCES run (key),
  sequence INTEGER NOT NULL,
  bits     BLOB NOT NULL,
  PRIMARY KEY (run, sequence)
) STRICT, WITHOUT ROWID;

INSERT INTO eval_bits
SELECT run, sequence, example_bits FROM old_eval WHERE example_bits IS NOT NULL ORDER BY run, sequence;

DROP TABLE old_eval;

-- The latest stage and step of each run's evaluations in each read-out and split, summed over tasks.
-- The writer keeps it. loss_sum: loss x examples; NULL where a loss was not a number.
CREATE TABLE result (
  run       INTEGER NOT NULL REFERENCES run (key),
  readout   INTEGER NOT NULL REFERENCES readout (key),
  split     TEXT NOT NULL,
  stage     INTEGER NOT NULL,
  step      INTEGER NOT NULL,
  n_correct INTEGER NOT NULL,
  n_total   INTEGER NOT NULL,
  loss_sum  REAL,
  PRIMARY KEY (run, readout, split)
) STRICT, WITHOUT ROWID;

INSERT INTO result
SELECT run, readout, split, stage, step, sum(n_correct), sum(n_total),
       CASE WHEN count(loss) = count(*) THEN sum(loss * n_total) END
FROM (
  SELECT e.*, rank() OVER (PARTITION BY run, readout, split ORDER BY stage DESC, step DESC) AS place
  FROM eval e)
WHERE place = 1
GROUP BY run, readout, split, stage, step;

-- Runs that differ in their seeds alone have one setting; the newest provenance of each run.
ALTER TABLE run ADD COLUMN setting TEXT;
ALTER TABLE run ADD COLUMN provenance TEXT;
UPDATE run SET
  setting = tandem_setting(canonical),
  provenance = (SELECT l.provenance FROM run_provenance l WHERE l.run = run.key
                ORDER BY l.attempt DESC, l.sequence DESC LIMIT 1);
CREATE INDEX run_by_setting ON run (setting);

-- Which grid a command added last: queries that name none are about it.
ALTER TABLE grid ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
UPDATE grid SET used = coalesce((SELECT max(r.key) FROM grid_run g JOIN run r ON r.id = g.run_id
                                 WHERE g.grid = grid.name), 0);

-- One row per run, one column per option of a run, which the writer adds as the program gains options:
-- NULL where nothing of the run reads the option. What a run was asked for is run.canonical.
CREATE TABLE config (run INTEGER PRIMARY KEY REFERENCES run (key));
DROP TABLE config_value;
