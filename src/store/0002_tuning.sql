-- What a tuned grid was tuned over, and which choice each of its runs carries out.

-- own, full or sparse: the read-out whose score decides. Rounds beyond 0 extended a range. trials:
-- points of the method in all rounds; 0 in rows of version 1.
ALTER TABLE tuning ADD COLUMN readout TEXT NOT NULL DEFAULT 'own';
ALTER TABLE tuning ADD COLUMN round INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tuning ADD COLUMN trials INTEGER NOT NULL DEFAULT 0;

CREATE TABLE tuning_plan (
  grid    TEXT PRIMARY KEY,
  trials  INTEGER NOT NULL,  -- points drawn for each method before its ranges were extended; 0: lists
  seeds   INTEGER NOT NULL,  -- runs of each point
  axes    TEXT NOT NULL,     -- 'lr 0.01..1, weight_decay 1e-05..0.01; weights=ssa: weights_alpha 1..100'
  cells   TEXT NOT NULL,     -- options that a choice is made for, joined by ', '
  measure TEXT NOT NULL      -- 'accuracy' or 'loss'
) STRICT, WITHOUT ROWID;

-- `method` as in tuning.
CREATE TABLE tuned_run (
  grid   TEXT NOT NULL,
  run_id TEXT NOT NULL,
  method TEXT NOT NULL,
  PRIMARY KEY (grid, run_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX tuned_run_by_run ON tuned_run (run_id);
