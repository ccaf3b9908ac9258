-- The stable contract for pandas, R and DuckDB: one wide view per table, in plain names, and the
-- continual-learning metrics, each named by its definition. The writer makes them anew whenever this
-- text or the list of options changes.
--
-- R(i, j) = accuracy on task j at the end of stage i, i = 0 before any training, from n_correct and
-- n_total. Where a stage was evaluated at several steps, its first one counts: that is the moment
-- right after task i; later ones belong to the training of the next task.
-- A metric is NULL where an entry that it needs was not evaluated. A task without examples was not:
-- rows of it, which older programs wrote with a loss of 0, are left out.

CREATE VIEW v_run AS
SELECT
  r.id AS run,
  r.weights, r.attention, r.scenario, r.strategy, r.model, r.data, r.seed,
  {config columns}
  r.state, r.attempt,
  r.step AS steps_done,
  r.train_seconds, r.eval_seconds, r.probe_seconds,
  CAST(r.train_seconds + r.eval_seconds + r.probe_seconds AS DOUBLE) AS seconds,
  r.train_flops, r.inference_flops, r.message,
  CAST(json_extract(p.json, '$.revision') AS TEXT) AS revision,
  CAST(json_extract(p.json, '$.device') AS TEXT) AS device,
  CAST(json_extract(p.json, '$.threads') AS BIGINT) AS threads,
  CAST(json_extract(p.json, '$.machine') AS TEXT) AS machine,
  CAST(json_extract(p.json, '$.storage') AS TEXT) AS layer_storage,
  (SELECT group_concat(json_extract(f.value, '$.sha256'), ' ')
   FROM json_each(p.json, '$.data_files') f) AS data_sha256
FROM run r
LEFT JOIN config c ON c.run = r.key
LEFT JOIN provenance p ON p.id = r.provenance;

-- The values of releases before options had types, for one release more: neutral values where nothing
-- of the run reads an option, flags in words.
CREATE VIEW v_run_1 AS
SELECT
  v.run,
  v.weights, v.attention, v.scenario, v.strategy, v.model, v.data, v.seed,
  {old config columns}
  v.state, v.attempt, v.steps_done, v.train_seconds, v.eval_seconds, v.probe_seconds, v.seconds,
  v.train_flops, v.inference_flops, v.message, v.revision, v.device, v.threads, v.machine,
  v.layer_storage, v.data_sha256
FROM v_run v;

CREATE VIEW v_eval AS
SELECT
  v.*,
  e.sequence, e.stage, e.step, e.task,
  o.attention_readout, o.attention_budget, o.attention_unit,
  o.weights_readout, o.weights_budget, o.weights_unit, o.masked,
  o.net, o.context AS read_context, o.scaling, o.statistics, o.condition, e.split,
  e.n_correct, e.n_total, e.loss,
  CAST(1.0 * e.n_correct / nullif(e.n_total, 0) AS DOUBLE) AS accuracy,
  CAST(CASE WHEN v.data IN ({data told in bits}) THEN e.loss / 0.69314718055994530942 END AS DOUBLE)
    AS bits_per_byte
FROM eval e
JOIN readout o ON o.key = e.readout
JOIN run r ON r.key = e.run
JOIN v_run v ON v.run = r.id
WHERE e.n_total > 0;

CREATE VIEW v_metric AS
SELECT v.*, m.sequence, m.step, l.name AS layer, n.name AS name, m.value
FROM metric m
JOIN metric_name n ON n.key = m.name
JOIN layer_name l ON l.key = m.layer
JOIN run r ON r.key = m.run
JOIN v_run v ON v.run = r.id;

CREATE VIEW v_topology AS
SELECT v.*, t.sequence, t.step, l.name AS layer, t.nnz, t.dropped, t.grown, t.mask_hash
FROM topology_update t
JOIN layer_name l ON l.key = t.layer
JOIN run r ON r.key = t.run
JOIN v_run v ON v.run = r.id;

-- A row is one tensor of a run after so many steps; digest: 16 hex digits of what its bits are.
CREATE VIEW v_digest AS
SELECT v.*, d.sequence, d.step, t.value AS tensor,
       lower(hex(substr(d.digests, 8 * t.key + 1, 8))) AS digest
FROM digest d
JOIN tensor_list l ON l.key = d.tensors
JOIN json_each(l.name) t
JOIN run r ON r.key = d.run
JOIN v_run v ON v.run = r.id;

-- Trials of [tune] sections. score: validation accuracy, or minus the loss, in the read-out; NULL where
-- the run diverged. round: 0 from the file's ranges, later ones extended them.
CREATE VIEW v_tuning AS
SELECT t.grid, t.method, t.trial, t.seed, t.run_id AS run, r.state, t.readout, t.round, t.score,
       t.chosen, t.trials
FROM tuning t LEFT JOIN run r ON r.id = t.run_id;

-- A trial's score: the mean over its seeds, NULL where one of them has none. This decides a choice.
CREATE VIEW v_trial AS
SELECT grid, method, readout, trial, min(round) AS round, max(trials) AS trials,
       max(chosen) AS chosen, count(*) AS seeds, sum(state = 'diverged') AS diverged,
       CASE WHEN count(score) = count(*) THEN avg(score) END AS score
FROM v_tuning
GROUP BY grid, method, readout, trial;

-- What may be averaged: runs of one setting differ in their seeds alone. kind: final where it reads
-- the test split; trial where a [tune] section asked for it; else run.
CREATE VIEW v_setting AS
SELECT
  r.id AS run,
  CASE WHEN c.final = 1 THEN 'final'
       WHEN EXISTS (SELECT 1 FROM grid_run g WHERE g.run_id = r.id AND g.grid GLOB '*/tuning')
         OR r.id IN (SELECT t.run_id FROM tuning t)
       THEN 'trial' ELSE 'run' END AS kind,
  r.setting
FROM run r
LEFT JOIN config c ON c.run = r.key;

-- The end of a run in each read-out: its last stage, pooled over tasks; where that stage was
-- evaluated at several steps, the last of them. loss in nats per example. The writer keeps the sums.
CREATE VIEW v_result AS
SELECT
  r.id AS run, r.state,
  o.attention_readout, o.attention_budget, o.attention_unit,
  o.weights_readout, o.weights_budget, o.weights_unit, o.masked,
  o.net, o.context AS read_context, o.scaling, o.statistics, o.condition,
  p.split, p.stage, p.step,
  CAST(1.0 * p.n_correct / nullif(p.n_total, 0) AS DOUBLE) AS accuracy,
  CAST(p.loss_sum / nullif(p.n_total, 0) AS DOUBLE) AS loss,
  CAST(CASE WHEN r.data IN ({data told in bits})
       THEN p.loss_sum / nullif(p.n_total, 0) / 0.69314718055994530942 END AS DOUBLE) AS bits_per_byte
FROM result p
JOIN readout o ON o.key = p.readout
JOIN run r ON r.key = p.run
WHERE p.stage = (SELECT max(l.stage) FROM result l WHERE l.run = p.run);

-- R(stage, task) of each run and read-out. n_tasks: how many the run has (T).
CREATE VIEW v_matrix AS
SELECT run_key, readout, split, n_tasks, stage, task, step, accuracy
FROM (
  SELECT
    e.run AS run_key, e.readout, e.split, e.stage, e.task, e.step,
    1.0 * e.n_correct / nullif(e.n_total, 0) AS accuracy,
    max(max(e.task, e.stage)) OVER (PARTITION BY e.run) AS n_tasks,
    row_number() OVER (PARTITION BY e.run, e.readout, e.split, e.stage, e.task
                       ORDER BY e.step, e.sequence DESC) AS place
  FROM eval e
  WHERE e.n_total > 0)
WHERE place = 1;

-- What is known after stage k:
--   learned     R(k, k)
--   a_k         mean over j <= k of R(k, j)
--   f_chaudhry  mean over j < k of max over 1 <= l < k of R(l, j), minus R(k, j)   (Chaudhry 2018)
--   f_incl      the same with l <= k in the maximum: never negative                (Mammoth, PyCIL)
--   bwt_gem     mean over j < k of R(k, j) - R(j, j)                  (Lopez-Paz & Ranzato 2017, eq. 3)
CREATE VIEW v_stage AS
SELECT
  s.run_key, o.attention_readout, o.attention_budget, o.weights_readout, o.weights_budget, o.masked,
  s.split, s.n_tasks, s.k, s.learned, s.a_k, s.f_chaudhry, s.f_incl, s.bwt_gem, s.readout
FROM (
  SELECT
    run_key, readout, split, n_tasks, stage AS k,
    max(CASE WHEN task = stage THEN accuracy END) AS learned,
    CASE WHEN count(CASE WHEN task <= stage THEN accuracy END) = stage
         THEN sum(CASE WHEN task <= stage THEN accuracy END) / stage END AS a_k,
    CASE WHEN count(CASE WHEN task < stage THEN best_before - accuracy END) = stage - 1
         THEN sum(CASE WHEN task < stage THEN best_before - accuracy END) / (stage - 1)
         END AS f_chaudhry,
    CASE WHEN count(CASE WHEN task < stage THEN best_before - accuracy END) = stage - 1
         THEN sum(CASE WHEN task < stage THEN max(best_before, accuracy) - accuracy END)
              / (stage - 1)
         END AS f_incl,
    CASE WHEN count(CASE WHEN task < stage THEN accuracy - at_end_of_task END) = stage - 1
         THEN sum(CASE WHEN task < stage THEN accuracy - at_end_of_task END) / (stage - 1)
         END AS bwt_gem
  FROM (
    SELECT
      m.*,
      max(accuracy) OVER (
        PARTITION BY run_key, readout, split, task
        ORDER BY stage ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS best_before,
      max(CASE WHEN stage = task THEN accuracy END) OVER (
        PARTITION BY run_key, readout, split, task) AS at_end_of_task
    FROM v_matrix m
    WHERE stage >= 1)
  GROUP BY run_key, readout, split, stage) s
JOIN readout o ON o.key = s.readout;

-- The metrics of a whole sequence of T tasks; identity: acc = learning_accuracy + bwt_gem (T - 1) / T.
--   acc                A_T                       learning_accuracy  mean over i of R(i, i)
--   aia                mean over k of A_k        f_chaudhry, f_incl, bwt_gem  at k = T
CREATE VIEW v_continual AS
SELECT
  v.*,
  o.attention_readout, o.attention_budget, o.attention_unit,
  o.weights_readout, o.weights_budget, o.weights_unit, o.masked,
  o.net, o.context AS read_context, o.scaling, o.statistics, o.condition, c.split,
  c.n_tasks, CAST(c.acc AS DOUBLE) AS acc, CAST(c.aia AS DOUBLE) AS aia,
  CAST(c.f_chaudhry AS DOUBLE) AS f_chaudhry, CAST(c.f_incl AS DOUBLE) AS f_incl,
  CAST(c.bwt_gem AS DOUBLE) AS bwt_gem, CAST(c.learning_accuracy AS DOUBLE) AS learning_accuracy
FROM (
  SELECT
    run_key, readout, split, n_tasks,
    max(CASE WHEN k = n_tasks THEN a_k END) AS acc,
    CASE WHEN count(a_k) = n_tasks THEN avg(a_k) END AS aia,
    max(CASE WHEN k = n_tasks THEN f_chaudhry END) AS f_chaudhry,
    max(CASE WHEN k = n_tasks THEN f_incl END) AS f_incl,
    max(CASE WHEN k = n_tasks THEN bwt_gem END) AS bwt_gem,
    CASE WHEN count(learned) = n_tasks THEN avg(learned) END AS learning_accuracy
  FROM v_stage
  GROUP BY run_key, readout, split) c
JOIN readout o ON o.key = c.readout
JOIN run r ON r.key = c.run_key
JOIN v_run v ON v.run = r.id;

CREATE VIEW v_a_k AS
SELECT r.id AS run, s.attention_readout, s.attention_budget, s.weights_readout, s.weights_budget,
       s.masked, s.split, s.n_tasks, s.k, s.a_k
FROM v_stage s JOIN run r ON r.key = s.run_key
WHERE s.a_k IS NOT NULL;

CREATE VIEW v_f_chaudhry AS
SELECT r.id AS run, s.attention_readout, s.attention_budget, s.weights_readout, s.weights_budget,
       s.masked, s.split, s.n_tasks, s.k, s.f_chaudhry
FROM v_stage s JOIN run r ON r.key = s.run_key
WHERE s.f_chaudhry IS NOT NULL;

CREATE VIEW v_f_incl AS
SELECT r.id AS run, s.attention_readout, s.attention_budget, s.weights_readout, s.weights_budget,
       s.masked, s.split, s.n_tasks, s.k, s.f_incl
FROM v_stage s JOIN run r ON r.key = s.run_key
WHERE s.f_incl IS NOT NULL;

CREATE VIEW v_bwt_gem AS
SELECT r.id AS run, s.attention_readout, s.attention_budget, s.weights_readout, s.weights_budget,
       s.masked, s.split, s.n_tasks, s.k, s.bwt_gem
FROM v_stage s JOIN run r ON r.key = s.run_key
WHERE s.bwt_gem IS NOT NULL;

CREATE VIEW v_acc AS
SELECT run, attention_readout, attention_budget, weights_readout, weights_budget, masked, split,
       n_tasks, acc
FROM v_continual WHERE acc IS NOT NULL;

CREATE VIEW v_aia AS
SELECT run, attention_readout, attention_budget, weights_readout, weights_budget, masked, split,
       n_tasks, aia
FROM v_continual WHERE aia IS NOT NULL;

CREATE VIEW v_learning_accuracy AS
SELECT run, attention_readout, attention_budget, weights_readout, weights_budget, masked, split,
       n_tasks, learning_accuracy
FROM v_continual WHERE learning_accuracy IS NOT NULL;
