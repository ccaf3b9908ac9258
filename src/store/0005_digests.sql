-- Whether some run still has a provenance is asked of each that goes.
CREATE INDEX run_provenance_by_provenance ON run_provenance (provenance);

-- What a run's weights were where they were looked at: a 64-bit digest of each tensor, as
-- kernels/digest/digest.h defines it, in one row a step.

-- Names of all tensors of a network, which its runs share.
CREATE TABLE tensor_list (
  key  INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE  -- a JSON array
) STRICT;

-- digests: 8 bytes a tensor in the order of the list, the most significant first.
CREATE TABLE digest (
  run      INTEGER NOT NULL REFERENCES run (key),
  sequence INTEGER NOT NULL,
  step     INTEGER NOT NULL,
  tensors  INTEGER NOT NULL REFERENCES tensor_list (key),
  digests  BLOB NOT NULL,
  PRIMARY KEY (run, sequence)
) STRICT, WITHOUT ROWID;
