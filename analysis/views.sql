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

-- R(stage, task) of each run and read-out, with the loss L(stage, task) beside it, in nats per example.
-- n_tasks: how many the run has (T). The evaluation that was
-- written last counts among several of one step, so that one sum orders them: step and sequence are
-- less than 2^31 and 2^32.
CREATE VIEW v_matrix AS
SELECT e.run AS run_key, e.readout, e.split, t.n_tasks, e.stage, e.task, e.step, e.n_correct, e.n_total,
       1.0 * e.n_correct / e.n_total AS accuracy, e.loss
FROM (SELECT run, readout, split, stage, task, step, n_correct, n_total, loss,
             min(step * 4294967296 - sequence) AS place
      FROM eval WHERE n_total > 0
      GROUP BY run, readout, split, stage, task) e
JOIN (SELECT run, max(max(task, stage)) AS n_tasks FROM eval WHERE n_total > 0 GROUP BY run) t
  ON t.run = e.run;

-- What is known after stage k, of all examples in windows of the trained length:
--   learned     R(k, k)
--   a_k         mean over j <= k of R(k, j)
--   f_chaudhry  mean over j < k of max over 1 <= l < k of R(l, j), minus R(k, j)   (Chaudhry 2018)
--   f_incl      the same with l <= k in the maximum: never negative                (Mammoth, PyCIL)
--   bwt_gem     mean over j < k of R(k, j) - R(j, j)                  (Lopez-Paz & Ranzato 2017, eq. 3)
--   f_nats      mean over j < k of L(k, j) - min over 1 <= l < k of L(l, j)     (f_chaudhry of the loss)
--   bwt_nats    mean over j < k of L(j, j) - L(k, j)                               (bwt_gem of the loss)
CREATE VIEW v_stage AS
SELECT
  s.run_key, o.attention_readout, o.attention_budget, o.weights_readout, o.weights_budget, o.masked,
  s.split, s.n_tasks, s.k, s.learned, s.a_k, s.f_chaudhry, s.f_incl, s.bwt_gem, s.f_nats, s.bwt_nats,
  s.readout
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
         END AS bwt_gem,
    CASE WHEN count(CASE WHEN task < stage THEN loss - least_before END) = stage - 1
         THEN sum(CASE WHEN task < stage THEN loss - least_before END) / (stage - 1) END AS f_nats,
    CASE WHEN count(CASE WHEN task < stage THEN loss_at_end_of_task - loss END) = stage - 1
         THEN sum(CASE WHEN task < stage THEN loss_at_end_of_task - loss END) / (stage - 1)
         END AS bwt_nats
  FROM (
    SELECT
      m.*,
      max(accuracy) OVER (
        PARTITION BY run_key, readout, split, task
        ORDER BY stage ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS best_before,
      max(CASE WHEN stage = task THEN accuracy END) OVER (
        PARTITION BY run_key, readout, split, task) AS at_end_of_task,
      min(loss) OVER (
        PARTITION BY run_key, readout, split, task
        ORDER BY stage ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS least_before,
      max(CASE WHEN stage = task THEN loss END) OVER (
        PARTITION BY run_key, readout, split, task) AS loss_at_end_of_task
    FROM v_matrix m
    WHERE stage >= 1)
  GROUP BY run_key, readout, split, stage) s
JOIN readout o ON o.key = s.readout
WHERE o.context IS NULL AND o.condition IS NULL;

-- Each task of a sequence of T: before any training, before it was trained, at its own end, at the best
-- of stages 1 to T - 1, at the end. Sums over stages, with how many there are, for the means below. Of
-- losses the least is the best.
CREATE VIEW v_task AS
SELECT
  run_key, readout, split, n_tasks, task,
  max(CASE WHEN stage = 0 THEN accuracy END) AS at_start,
  max(CASE WHEN stage = task - 1 AND stage >= 1 THEN accuracy END) AS before,
  max(CASE WHEN stage = task THEN accuracy END) AS learned,
  max(CASE WHEN stage BETWEEN 1 AND n_tasks - 1 THEN accuracy END) AS best_before,
  max(CASE WHEN stage = n_tasks THEN accuracy END) AS last,
  sum(CASE WHEN stage >= task THEN accuracy END) AS since,
  sum(CASE WHEN stage >= task THEN accuracy / stage END) AS shares,
  sum(stage >= task) AS n_since,
  sum(CASE WHEN stage BETWEEN 1 AND task - 1 THEN accuracy END) AS unseen,
  sum(stage BETWEEN 1 AND task - 1) AS n_unseen,
  max(CASE WHEN stage = 0 THEN loss END) AS loss_at_start,
  max(CASE WHEN stage = task - 1 AND stage >= 1 THEN loss END) AS loss_before,
  max(CASE WHEN stage = task THEN loss END) AS loss_learned,
  min(CASE WHEN stage BETWEEN 1 AND n_tasks - 1 THEN loss END) AS least_before,
  max(CASE WHEN stage = n_tasks THEN loss END) AS loss_last
FROM v_matrix
GROUP BY run_key, readout, split, task;

-- The metrics of a whole sequence of T tasks; identity: acc = learning_accuracy + bwt_gem (T - 1) / T.
--   acc                A_T                       learning_accuracy  mean over i of R(i, i)
--   aia                mean over k of A_k        f_chaudhry, f_incl, bwt_gem  at k = T
--   acc_dr             mean over i >= j of R(i, j)                        (Diaz-Rodriguez et al. 2018)
--   f_first            mean over j < T of R(j, j) - R(T, j): -bwt_gem                      (Avalanche)
--   bwt_gem_code       bwt_gem with T in place of T - 1, as in the code that GEM's authors released
--   bwt_dr             mean over i > j of R(i, j) - R(j, j); rem = 1 - |min(bwt_dr, 0)|,
--                      bwt_plus = max(bwt_dr, 0)                          (Diaz-Rodriguez et al. 2018)
--   fwt_gem            mean over i >= 2 of R(i - 1, i) - R(0, i)                      (GEM, equation 4)
--   fwt_gem_code       with T in place of T - 1; fwt_continuum: without R(0, i)            (Continuum)
--   fwt_dr             mean over 1 <= i < j of R(i, j)                    (Diaz-Rodriguez et al. 2018)
-- The same of the loss L(i, j), in nats per example (..._nats) and, of data that are bytes, in bits per
-- byte (..._bits_per_byte); above 0 means forgotten, or transferred, as with accuracies:
--   end_nats           mean over j of L(T, j)    learning_nats  mean over i of L(i, i)
--   f_nats             mean over j < T of L(T, j) - min over 1 <= l < T of L(l, j)
--   bwt_nats           mean over j < T of L(j, j) - L(T, j);
--                      end_nats = learning_nats - bwt_nats (T - 1) / T
--   fwt_nats           mean over i >= 2 of L(0, i) - L(i - 1, i)
-- Forward transfer is NULL where the outputs of all classes compete, as in class-incremental learning
-- without a mask: an output that was never trained is never given, and the number would only tell of
-- the initialisation.
CREATE VIEW v_continual AS
SELECT
  v.*,
  o.attention_readout, o.attention_budget, o.attention_unit,
  o.weights_readout, o.weights_budget, o.weights_unit, o.masked,
  o.net, o.context AS read_context, o.scaling, o.statistics, o.condition, c.split,
  c.n_tasks, CAST(c.acc AS DOUBLE) AS acc, CAST(c.aia AS DOUBLE) AS aia,
  CAST(c.f_chaudhry AS DOUBLE) AS f_chaudhry, CAST(c.f_incl AS DOUBLE) AS f_incl,
  CAST(c.bwt_gem AS DOUBLE) AS bwt_gem, CAST(c.learning_accuracy AS DOUBLE) AS learning_accuracy,
  CAST(c.acc_dr AS DOUBLE) AS acc_dr, CAST(-c.bwt_gem AS DOUBLE) AS f_first,
  CAST(c.bwt_gem * (c.n_tasks - 1) / c.n_tasks AS DOUBLE) AS bwt_gem_code,
  CAST(c.bwt_dr AS DOUBLE) AS bwt_dr, CAST(1 - abs(min(c.bwt_dr, 0)) AS DOUBLE) AS rem,
  CAST(max(c.bwt_dr, 0) AS DOUBLE) AS bwt_plus,
  CAST(CASE WHEN (o.masked OR r.scenario <> 'class_il') AND o.net IS NOT 'nearest_mean'
       THEN c.fwt_gem END AS DOUBLE) AS fwt_gem,
  CAST(CASE WHEN (o.masked OR r.scenario <> 'class_il') AND o.net IS NOT 'nearest_mean'
       THEN c.fwt_gem * (c.n_tasks - 1) / c.n_tasks END AS DOUBLE) AS fwt_gem_code,
  CAST(CASE WHEN (o.masked OR r.scenario <> 'class_il') AND o.net IS NOT 'nearest_mean'
       THEN c.fwt_continuum END AS DOUBLE) AS fwt_continuum,
  CAST(CASE WHEN (o.masked OR r.scenario <> 'class_il') AND o.net IS NOT 'nearest_mean'
       THEN c.fwt_dr END AS DOUBLE) AS fwt_dr,
  CAST(c.end_nats AS DOUBLE) AS end_nats, CAST(c.learning_nats AS DOUBLE) AS learning_nats,
  CAST(c.f_nats AS DOUBLE) AS f_nats, CAST(c.bwt_nats AS DOUBLE) AS bwt_nats,
  CAST(CASE WHEN (o.masked OR r.scenario <> 'class_il') AND o.net IS NOT 'nearest_mean'
       THEN c.fwt_nats END AS DOUBLE) AS fwt_nats,
  CAST(c.end_nats / b.nats AS DOUBLE) AS end_bits_per_byte,
  CAST(c.learning_nats / b.nats AS DOUBLE) AS learning_bits_per_byte,
  CAST(c.f_nats / b.nats AS DOUBLE) AS f_bits_per_byte,
  CAST(c.bwt_nats / b.nats AS DOUBLE) AS bwt_bits_per_byte,
  CAST(c.fwt_nats / b.nats AS DOUBLE) AS fwt_bits_per_byte
FROM (
  SELECT
    run_key, readout, split, n_tasks,
    CASE WHEN count(last) = n_tasks THEN sum(last) / n_tasks END AS acc,
    CASE WHEN sum(n_since) = n_tasks * (n_tasks + 1) / 2 THEN sum(shares) / n_tasks END AS aia,
    CASE WHEN count(CASE WHEN task < n_tasks THEN best_before - last END) = n_tasks - 1
         THEN sum(CASE WHEN task < n_tasks THEN best_before - last END) / (n_tasks - 1)
         END AS f_chaudhry,
    CASE WHEN count(CASE WHEN task < n_tasks THEN best_before - last END) = n_tasks - 1
         THEN sum(CASE WHEN task < n_tasks THEN max(best_before - last, 0) END) / (n_tasks - 1)
         END AS f_incl,
    CASE WHEN count(CASE WHEN task < n_tasks THEN last - learned END) = n_tasks - 1
         THEN sum(CASE WHEN task < n_tasks THEN last - learned END) / (n_tasks - 1)
         END AS bwt_gem,
    CASE WHEN count(learned) = n_tasks THEN sum(learned) / n_tasks END AS learning_accuracy,
    CASE WHEN sum(n_since) = n_tasks * (n_tasks + 1) / 2
         THEN sum(since) * 2 / (n_tasks * (n_tasks + 1)) END AS acc_dr,
    CASE WHEN sum(n_since) = n_tasks * (n_tasks + 1) / 2
         THEN sum(since - n_since * learned) * 2 / (n_tasks * (n_tasks - 1)) END AS bwt_dr,
    CASE WHEN count(CASE WHEN task > 1 THEN before - at_start END) = n_tasks - 1
         THEN sum(CASE WHEN task > 1 THEN before - at_start END) / (n_tasks - 1) END AS fwt_gem,
    CASE WHEN count(CASE WHEN task > 1 THEN before END) = n_tasks - 1
         THEN sum(CASE WHEN task > 1 THEN before END) / (n_tasks - 1) END AS fwt_continuum,
    CASE WHEN sum(n_unseen) = n_tasks * (n_tasks - 1) / 2
         THEN sum(unseen) * 2 / (n_tasks * (n_tasks - 1)) END AS fwt_dr,
    CASE WHEN count(loss_last) = n_tasks THEN sum(loss_last) / n_tasks END AS end_nats,
    CASE WHEN count(loss_learned) = n_tasks THEN sum(loss_learned) / n_tasks END AS learning_nats,
    CASE WHEN count(CASE WHEN task < n_tasks THEN loss_last - least_before END) = n_tasks - 1
         THEN sum(CASE WHEN task < n_tasks THEN loss_last - least_before END) / (n_tasks - 1)
         END AS f_nats,
    CASE WHEN count(CASE WHEN task < n_tasks THEN loss_learned - loss_last END) = n_tasks - 1
         THEN sum(CASE WHEN task < n_tasks THEN loss_learned - loss_last END) / (n_tasks - 1)
         END AS bwt_nats,
    CASE WHEN count(CASE WHEN task > 1 THEN loss_at_start - loss_before END) = n_tasks - 1
         THEN sum(CASE WHEN task > 1 THEN loss_at_start - loss_before END) / (n_tasks - 1)
         END AS fwt_nats
  FROM v_task
  GROUP BY run_key, readout, split) c
JOIN readout o ON o.key = c.readout
JOIN run r ON r.key = c.run_key
LEFT JOIN (SELECT 0.69314718055994530942 AS nats) b ON r.data IN ({data told in bits})
JOIN v_run v ON v.run = r.id;

-- Evaluations, each with whether those inside of tasks say how training goes. They don't where a stage
-- begins with the net of the run's start, which knows nothing until it is trained, nor where the net
-- is read by the nearest mean, in which the classes of the task in training have none before it ends.
CREATE VIEW v_evaluated AS
SELECT e.run AS run_key, e.readout, e.split, e.stage, e.task, e.step, e.sequence,
       1.0 * e.n_correct / e.n_total AS accuracy,
       o.net IS NOT 'nearest_mean' AND r.strategy NOT IN ({strategies that begin afresh})
         AS tells_inside
FROM eval e
JOIN readout o ON o.key = e.readout
JOIN run r ON r.key = e.run
WHERE e.n_total > 0;

-- What follows is made of each run's own evaluations alone, run by run: json_each() of a text that the
-- run's rows make stands where SQLite has no join that looks to its left, so that whoever asks for some
-- runs, whatever it knows them by, has no other run's rows read. JSON keeps 15 digits of a real number
-- in SQLite and all of a whole one: shares go through it in units of 2^-62.
--
-- Continual evaluation (De Lange et al. 2023, arXiv 2205.13452), of validation examples as a rule. E_1,
-- E_2, ... are all evaluations of a task from its own end on; place 1 is that end. since: the step at
-- which the evaluation's stage began.
--   min_acc  mean over i < T of the least E_n of task i after its end
--   wc_acc   R(T, T) / T + (1 - 1 / T) min_acc
--   stability_gap_100  mean over switches and the tasks before them of what an earlier task loses at
--            most within 100 steps of the next one
--   wf_10, wf_100      mean over i < T of the largest E_m - E_n, m < n, within 10 or 100 evaluations
--   wp_10, wp_100      the same of E_n - E_m
-- They need evaluations between the ends of tasks (eval_every, eval_after_switch). n_between: those
-- that say how training goes (v_evaluated), without which all are NULL, as before the end of the last
-- task.
CREATE VIEW v_stability AS
SELECT
  v.*,
  o.attention_readout, o.attention_budget, o.attention_unit,
  o.weights_readout, o.weights_budget, o.weights_unit, o.masked,
  o.net, o.context AS read_context, o.scaling, o.statistics, o.condition,
  CAST(json_extract(c.value, '$.split') AS TEXT) AS split,
  CAST(json_extract(c.value, '$.n_tasks') AS BIGINT) AS n_tasks,
  CAST(json_extract(c.value, '$.n_between') AS BIGINT) AS n_between,
  CAST(json_extract(c.value, '$.min_acc') / 4611686018427387904.0 AS DOUBLE) AS min_acc,
  CAST(json_extract(c.value, '$.wc_acc') / 4611686018427387904.0 AS DOUBLE) AS wc_acc,
  CAST(json_extract(c.value, '$.gap') / 4611686018427387904.0 AS DOUBLE) AS stability_gap_100,
  CAST(json_extract(c.value, '$.wf_10') / 4611686018427387904.0 AS DOUBLE) AS wf_10,
  CAST(json_extract(c.value, '$.wf_100') / 4611686018427387904.0 AS DOUBLE) AS wf_100,
  CAST(json_extract(c.value, '$.wp_10') / 4611686018427387904.0 AS DOUBLE) AS wp_10,
  CAST(json_extract(c.value, '$.wp_100') / 4611686018427387904.0 AS DOUBLE) AS wp_100
FROM run r
JOIN json_each((
  SELECT json_group_array(json_object(
    'readout', readout, 'split', split, 'n_tasks', n_tasks, 'n_between', n_between,
    'min_acc', CASE WHEN over THEN CAST(4611686018427387904.0 * min_acc AS INTEGER) END,
    'wc_acc', CASE WHEN over THEN CAST(4611686018427387904.0
                 * (last / n_tasks + (1 - 1.0 / n_tasks) * min_acc) AS INTEGER) END,
    'gap', CAST(4611686018427387904.0 * gap AS INTEGER),
    'wf_10', CASE WHEN over THEN CAST(4611686018427387904.0 * wf_10 AS INTEGER) END,
    'wf_100', CASE WHEN over THEN CAST(4611686018427387904.0 * wf_100 AS INTEGER) END,
    'wp_10', CASE WHEN over THEN CAST(4611686018427387904.0 * wp_10 AS INTEGER) END,
    'wp_100', CASE WHEN over THEN CAST(4611686018427387904.0 * wp_100 AS INTEGER) END))
  FROM (
    SELECT
      readout, split, n_tasks, sum(n_mid) AS n_between,
      max(CASE WHEN task = n_tasks THEN learned END) AS last,
      sum(n_mid) > 0 AND count(CASE WHEN task = n_tasks THEN learned END) > 0 AS over,
      CASE WHEN count(CASE WHEN task < n_tasks THEN least END) = n_tasks - 1
           THEN avg(CASE WHEN task < n_tasks THEN least END) END AS min_acc,
      CASE WHEN sum(n_gaps) = n_tasks * (n_tasks - 1) / 2 THEN sum(gaps) / sum(n_gaps) END AS gap,
      CASE WHEN count(CASE WHEN task < n_tasks THEN lost_10 END) = n_tasks - 1
           THEN avg(CASE WHEN task < n_tasks THEN lost_10 END) END AS wf_10,
      CASE WHEN count(CASE WHEN task < n_tasks THEN lost_100 END) = n_tasks - 1
           THEN avg(CASE WHEN task < n_tasks THEN lost_100 END) END AS wf_100,
      CASE WHEN count(CASE WHEN task < n_tasks THEN gained_10 END) = n_tasks - 1
           THEN avg(CASE WHEN task < n_tasks THEN gained_10 END) END AS wp_10,
      CASE WHEN count(CASE WHEN task < n_tasks THEN gained_100 END) = n_tasks - 1
           THEN avg(CASE WHEN task < n_tasks THEN gained_100 END) END AS wp_100
    FROM (
      SELECT
        readout, split, n_tasks, task,
        max(learned) AS learned, min(least) AS least, sum(n_mid) AS n_mid,
        count(gap) AS n_gaps, sum(gap) AS gaps,
        max(lost_10) AS lost_10, max(lost_100) AS lost_100,
        max(gained_10) AS gained_10, max(gained_100) AS gained_100
      FROM (
        SELECT
          readout, split, n_tasks, task, stage,
          max(CASE WHEN place = 1 THEN accuracy END) AS learned,
          min(CASE WHEN place > 1 THEN accuracy END) AS least,
          sum(stage < n_tasks AND step > since) AS n_mid,
          CASE WHEN stage < n_tasks
               THEN max(CASE WHEN step = since THEN accuracy END)
                    - min(CASE WHEN step > since AND step <= since + 100 THEN accuracy END)
               END AS gap,
          max(most_10 - accuracy) AS lost_10, max(most_100 - accuracy) AS lost_100,
          max(accuracy - least_10) AS gained_10, max(accuracy - least_100) AS gained_100
        FROM (
          SELECT *,
                 max(accuracy) OVER (w ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) AS most_10,
                 min(accuracy) OVER (w ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) AS least_10,
                 max(accuracy) OVER (w ROWS BETWEEN 99 PRECEDING AND CURRENT ROW) AS most_100,
                 min(accuracy) OVER (w ROWS BETWEEN 99 PRECEDING AND CURRENT ROW) AS least_100
          FROM (
            SELECT own.*, t.n_tasks,
                   row_number() OVER (PARTITION BY own.readout, own.split, own.task
                                      ORDER BY own.step, own.stage, own.sequence) AS place
            FROM (SELECT *, min(step) OVER (PARTITION BY readout, split, task, stage) AS since
                  FROM v_evaluated WHERE run_key = r.key AND stage >= task) own
            JOIN (SELECT max(max(task, stage)) AS n_tasks
                  FROM v_evaluated WHERE run_key = r.key) t
            WHERE own.step = own.since OR own.tells_inside)
          WINDOW w AS (PARTITION BY readout, split, task ORDER BY place))
        GROUP BY readout, split, task, stage)
      GROUP BY readout, split, task)
    GROUP BY readout, split))) c
JOIN readout o ON o.key = json_extract(c.value, '$.readout')
JOIN v_run v ON v.run = r.id;

-- Anytime evaluation, of validation examples as a rule. A moment is one evaluation of a task while
-- training goes on; since: the step at which its stage began. A point is all of one step: the mean
-- accuracy a over the tasks seen so far, of which the one in training is the last; NULL where one of
-- them was not evaluated, and before training.
--   aaa     mean over evaluation points of the mean accuracy over the tasks seen
--                                                       (anytime average accuracy, Caccia et al. 2022)
--   a_auc   the same, each point with the steps since the one before it: the area under the curve
--                                                                             (Koh et al. 2022, A_AUC)
--   lca_10  mean over b = 0..10 of Z_b, Z_b the mean over tasks of the accuracy on a task after b of
--           its mini-batches; what a task of ten steps ends with is the last of them
--                                                       (LCA_10, Chaudhry et al. 2019, A-GEM)
-- n_points: evaluation points. The first two are NULL without points between the ends of tasks, and of
-- joint training, which sees all tasks at once; lca_10 where one of the eleven was not evaluated
-- (eval_first_steps). All are of sequences alone.
CREATE VIEW v_anytime AS
SELECT
  v.*,
  o.attention_readout, o.attention_budget, o.attention_unit,
  o.weights_readout, o.weights_budget, o.weights_unit, o.masked,
  o.net, o.context AS read_context, o.scaling, o.statistics, o.condition,
  CAST(json_extract(c.value, '$.split') AS TEXT) AS split,
  CAST(json_extract(c.value, '$.n_tasks') AS BIGINT) AS n_tasks,
  CAST(json_extract(c.value, '$.n_points') AS BIGINT) AS n_points,
  CAST(json_extract(c.value, '$.aaa') / 4611686018427387904.0 AS DOUBLE) AS aaa,
  CAST(json_extract(c.value, '$.a_auc') / 4611686018427387904.0 AS DOUBLE) AS a_auc,
  CAST(json_extract(c.value, '$.lca_10') / 4611686018427387904.0 AS DOUBLE) AS lca_10
FROM run r
JOIN json_each((
  WITH moment AS (
    SELECT readout, split, stage, task, step, accuracy, since
    FROM (SELECT *, min(step) OVER (PARTITION BY readout, split, stage) AS since
          FROM (SELECT readout, split, stage, task, step, accuracy, tells_inside,
                       max(sequence) AS sequence
                FROM v_evaluated WHERE run_key = r.key
                GROUP BY readout, split, stage, step, task))
    WHERE step = since OR tells_inside)
  SELECT json_group_array(json_object(
    'readout', readout, 'split', split, 'n_tasks', n_tasks, 'n_points', n_points,
    'aaa', CASE WHEN inside THEN CAST(4611686018427387904.0 * aaa AS INTEGER) END,
    'a_auc', CASE WHEN inside THEN CAST(4611686018427387904.0 * a_auc AS INTEGER) END,
    'lca_10', CASE WHEN n_tasks > 1 AND n_starts = 11 * n_tasks
                   THEN CAST(4611686018427387904.0 * lca_10 AS INTEGER) END))
  FROM (
    SELECT readout, split, t.n_tasks, max(n_points) AS n_points, max(aaa) AS aaa,
           max(a_auc) AS a_auc, max(n_starts) AS n_starts, max(lca_10) AS lca_10,
           t.n_tasks > 1 AND max(n_ends) = t.n_tasks AND max(n_points) > max(n_ends)
             AND min(whole) AS inside
    FROM (SELECT max(max(task, stage)) AS n_tasks FROM v_evaluated WHERE run_key = r.key) t
    CROSS JOIN (
      SELECT readout, split, sum(since_last IS NOT NULL) AS n_points,
             sum(stage >= 1 AND step = since) AS n_ends, min(whole) AS whole, avg(a) AS aaa,
             sum(a * since_last) / sum(since_last) AS a_auc, NULL AS n_starts, NULL AS lca_10
      FROM (
        SELECT *, step - lag(step) OVER (PARTITION BY readout, split ORDER BY step, stage)
                    AS since_last
        FROM (
          SELECT readout, split, stage, step, since, sum(task <= seen) = seen AS whole,
                 CASE WHEN seen > 0 AND sum(task <= seen) = seen
                      THEN sum(CASE WHEN task <= seen THEN accuracy END) / seen END AS a
          FROM (SELECT *, stage + (step > since) AS seen FROM moment)
          GROUP BY readout, split, stage, step))
      GROUP BY readout, split
      UNION ALL
      SELECT readout, split, NULL, NULL, NULL, NULL, NULL, sum(n), avg(z_10)
      FROM (
        SELECT readout, split, task, count(*) AS n, avg(accuracy) AS z_10
        FROM (SELECT *, min(CASE WHEN stage = task - 1 THEN step END) OVER (
                          PARTITION BY readout, split, task) AS begun
              FROM moment WHERE stage IN (task - 1, task))
        WHERE step - begun BETWEEN 0 AND 10 AND (stage = task - 1 OR step = since)
        GROUP BY readout, split, task)
      WHERE n = 11
      GROUP BY readout, split)
    GROUP BY readout, split))) c
JOIN readout o ON o.key = json_extract(c.value, '$.readout')
JOIN v_run v ON v.run = r.id;

-- Settings, which are runs but for their seeds, of which none differs from another of the same cell in
-- more than its strategy: the lines of their configs but for that, the options of strategies and what
-- only says what is measured. All of the file, whatever this connection is restricted to.
CREATE VIEW v_cell AS
SELECT s.setting, s.strategy,
       (SELECT group_concat(l.value, char(10)) FROM json_each(s.lines) l
        WHERE l.value NOT GLOB 'revision.strategy.*'
          AND substr(l.value, 1, instr(l.value || '=', '=') - 1) NOT IN ({not of a cell})) AS cell
FROM (SELECT r.setting, r.strategy,
             '[' || replace(json_quote(replace(r.canonical, '\', '/')), '\n', '","') || ']' AS lines
      FROM (SELECT min(key) AS one FROM {file}run GROUP BY setting) g
      JOIN {file}run r ON r.key = g.one) s;

-- The runs of the file that a run of a sequence is compared with: those of joint and of cumulative
-- training (`strategy`) of its cell that are done, with its seeds where there is one, else all; but
-- where a run's seed says which classes or views a task has, its own seeds alone.
CREATE VIEW v_reference_run AS
WITH
  alike AS MATERIALIZED (
    SELECT a.setting, b.strategy, b.setting AS reference
    FROM (SELECT setting, strategy, cell FROM v_cell WHERE strategy <> 'joint'
            AND setting IN (SELECT setting FROM run WHERE scenario <> 'single')) a
    JOIN (SELECT setting, strategy, cell FROM v_cell
          WHERE strategy IN ('joint', 'cumulative')) b
      ON b.cell = a.cell AND b.strategy <> a.strategy),
  reference AS MATERIALIZED (
    SELECT r.key, r.setting, {seeds} AS seeds
    FROM {file}run r LEFT JOIN config c ON c.run = r.key
    WHERE r.setting IN (SELECT reference FROM alike) AND r.state = 'done'),
  sequence AS MATERIALIZED (
    SELECT r.key AS run_key, a.strategy, a.reference, {seeds} AS seeds
    FROM run r JOIN alike a ON a.setting = r.setting LEFT JOIN config c ON c.run = r.key),
  same AS MATERIALIZED (
    SELECT s.run_key, s.strategy, j.key AS reference
    FROM sequence s JOIN reference j ON j.setting = s.reference AND j.seeds = s.seeds)
SELECT run_key, strategy, reference FROM same
UNION ALL
SELECT s.run_key, s.strategy, j.key
FROM sequence s JOIN reference j ON j.setting = s.reference
JOIN run r ON r.key = s.run_key
WHERE (s.run_key, s.strategy) NOT IN (SELECT run_key, strategy FROM same)
  AND instr(char(10) || r.canonical || char(10), char(10) || 'class_order=random' || char(10)) = 0
  AND instr(char(10) || r.canonical || char(10), char(10) || 'tasks_by=permutation' || char(10)) = 0
  AND instr(char(10) || r.canonical || char(10), char(10) || 'tasks_by=rotation' || char(10)) = 0;

-- a_star: what joint training gets on a task at its end, or cumulative training at the task's own end,
-- in the same stream, budget and outputs, whatever net the strategy is read through; mean over the
-- n_reference runs of v_reference_run. The evaluation that counts is that of v_matrix.
CREATE VIEW v_reference_task AS
WITH
  pair AS MATERIALIZED (SELECT run_key, strategy, reference FROM v_reference_run),
  learned AS MATERIALIZED (
    SELECT run, readout, split, task, n_correct, n_total, min(step * 4294967296 - sequence)
    FROM (SELECT e.*, p.strategy, max(e.stage) OVER (PARTITION BY e.run) AS last_stage
          FROM (SELECT DISTINCT reference, strategy FROM pair) p
          JOIN {file}eval e ON e.run = p.reference
          WHERE e.n_total > 0)
    WHERE stage = CASE strategy WHEN 'joint' THEN last_stage ELSE task END AND stage > 0
    GROUP BY run, readout, split, task),
  alike AS MATERIALIZED (
    SELECT a.key AS readout, b.key AS of_reference
    FROM readout a JOIN readout b
      ON b.attention_readout = a.attention_readout AND b.attention_budget IS a.attention_budget
     AND b.attention_unit IS a.attention_unit AND b.weights_readout = a.weights_readout
     AND b.weights_budget IS a.weights_budget AND b.weights_unit IS a.weights_unit
     AND b.masked = a.masked AND b.context IS a.context AND b.scaling IS a.scaling
     AND b.statistics IS a.statistics AND b.condition IS a.condition
    WHERE b.net IS NULL)
SELECT p.run_key, p.strategy, k.readout, l.split, l.task, count(*) AS n_reference,
       avg(1.0 * l.n_correct / l.n_total) AS a_star
FROM pair p
JOIN learned l ON l.run = p.reference
JOIN alike k ON k.of_reference = l.readout
GROUP BY p.run_key, p.strategy, k.readout, l.split, l.task;

-- Against joint training, which saw all tasks at once, and cumulative training, which saw each task
-- with those before it:
--   intransigence  mean over k of a*_k - R(k, k), a*_k what the joint run gets on task k at its end
--   intransigence_cumulative   the same with a*_k what the cumulative run gets on task k at the end of
--                  stage k, trained on the tasks up to k alone               (Chaudhry et al. 2018)
--   gap_to_joint   mean over k of a*_k of the joint run, less acc
-- NULL where the file has no such run of the same config but for its strategy. n_joint, n_cumulative:
-- the runs behind a*.
CREATE VIEW v_joint AS
SELECT
  v.*,
  o.attention_readout, o.attention_budget, o.attention_unit,
  o.weights_readout, o.weights_budget, o.weights_unit, o.masked,
  o.net, o.context AS read_context, o.scaling, o.statistics, o.condition, c.split,
  c.n_tasks, c.n_joint, c.n_cumulative,
  CAST(c.intransigence AS DOUBLE) AS intransigence,
  CAST(c.intransigence_cumulative AS DOUBLE) AS intransigence_cumulative,
  CAST(c.gap_to_joint AS DOUBLE) AS gap_to_joint
FROM (
  SELECT
    run_key, readout, split, n_tasks,
    max(CASE strategy WHEN 'joint' THEN n_reference END) AS n_joint,
    max(CASE strategy WHEN 'cumulative' THEN n_reference END) AS n_cumulative,
    CASE WHEN count(CASE strategy WHEN 'joint' THEN lacked END) = n_tasks
         THEN sum(CASE strategy WHEN 'joint' THEN lacked END) / n_tasks END AS intransigence,
    CASE WHEN count(CASE strategy WHEN 'cumulative' THEN lacked END) = n_tasks
         THEN sum(CASE strategy WHEN 'cumulative' THEN lacked END) / n_tasks
         END AS intransigence_cumulative,
    CASE WHEN count(CASE strategy WHEN 'joint' THEN lacks END) = n_tasks
         THEN sum(CASE strategy WHEN 'joint' THEN lacks END) / n_tasks END AS gap_to_joint
  FROM (
    SELECT t.run_key, t.readout, t.split, t.n_tasks, a.strategy, a.n_reference,
           a.a_star - t.learned AS lacked, a.a_star - t.last AS lacks
    FROM v_task t
    LEFT JOIN v_reference_task a ON a.run_key = t.run_key AND a.readout = t.readout
      AND a.split = t.split AND a.task = t.task)
  GROUP BY run_key, readout, split) c
JOIN readout o ON o.key = c.readout
JOIN run r ON r.key = c.run_key
JOIN v_run v ON v.run = r.id;

-- Intransigence after each task: a*_k - R(k, k), of either reference.
CREATE VIEW v_intransigence AS
SELECT r.id AS run, o.attention_readout, o.attention_budget, o.weights_readout, o.weights_budget,
       o.masked, t.split, t.n_tasks, t.task AS k,
       max(CASE a.strategy WHEN 'joint' THEN a.a_star - t.learned END) AS intransigence,
       max(CASE a.strategy WHEN 'cumulative' THEN a.a_star - t.learned END)
         AS intransigence_cumulative
FROM v_task t
JOIN v_reference_task a ON a.run_key = t.run_key AND a.readout = t.readout AND a.split = t.split
  AND a.task = t.task
JOIN readout o ON o.key = t.readout
JOIN run r ON r.key = t.run_key
WHERE t.learned IS NOT NULL AND o.context IS NULL AND o.condition IS NULL
GROUP BY t.run_key, t.readout, t.split, t.task;

-- What a strategy keeps beside the net, and costs:
--   buffer_bytes    of the inputs of the examples that it holds at the end, as the data set has them
--   strategy_bytes  of everything else that it keeps from step to step, as it is kept here: slots of
--                   weights, copies of the net, parameters of its own, indices of the buffer
--   data_bytes      of the inputs of all tasks' training examples
--   sss             1 - min(1, mean over i of the buffer after task i / data): samples storage size
--                                                                     (Diaz-Rodriguez et al. 2018, SSS)
--   ce              min(1, mean over i of the operations of one forward and backward pass over the
--                   examples of task i / those that learning task i took): computational efficiency
--                                                       (Diaz-Rodriguez et al. 2018, CE with epsilon 1)
-- The same in each read-out of a run. sss and ce are NULL where what they are made of is not known
-- after some task, as of runs of older programs and of shared ones.
CREATE VIEW v_storage AS
SELECT
  v.*,
  o.attention_readout, o.attention_budget, o.attention_unit,
  o.weights_readout, o.weights_budget, o.weights_unit, o.masked,
  o.net, o.context AS read_context, o.scaling, o.statistics, o.condition, p.split,
  CAST(b.last AS BIGINT) AS buffer_bytes, CAST(s.strategy_bytes AS BIGINT) AS strategy_bytes,
  CAST(s.data_bytes AS BIGINT) AS data_bytes,
  CAST(CASE WHEN b.n = b.n_stages THEN 1 - min(1, b.mean / s.data_bytes) END AS DOUBLE) AS sss,
  CAST(CASE WHEN f.n = b.n_stages THEN min(1, f.mean) END AS DOUBLE) AS ce
FROM (
  SELECT m.run, count(*) AS n, avg(m.value) AS mean, m.value AS last, max(m.sequence) AS sequence,
         (SELECT count(DISTINCT e.stage) FROM eval e WHERE e.run = m.run AND e.stage > 0) AS n_stages
  FROM metric m
  WHERE m.name = (SELECT key FROM metric_name WHERE name = 'buffer_bytes')
  GROUP BY m.run) b
JOIN (
  SELECT m.run,
         max(CASE WHEN n.name = 'strategy_bytes' THEN m.value END) AS strategy_bytes,
         max(CASE WHEN n.name = 'data_bytes' THEN m.value END) AS data_bytes
  FROM metric m JOIN metric_name n ON n.key = m.name
  WHERE n.name IN ('strategy_bytes', 'data_bytes')
  GROUP BY m.run) s ON s.run = b.run
LEFT JOIN (
  SELECT run, count(share) AS n, avg(share) AS mean
  FROM (
    SELECT m.run,
           CASE WHEN n.name = 'pass_flops'
                THEN m.value / nullif(lag(m.value, 1) OVER w - lag(m.value, 3, 0) OVER w, 0)
                END AS share
    FROM metric m JOIN metric_name n ON n.key = m.name
    WHERE n.name IN ('train_flops', 'pass_flops')
    WINDOW w AS (PARTITION BY m.run ORDER BY m.sequence))
  GROUP BY run) f ON f.run = b.run
JOIN result p ON p.run = b.run
JOIN readout o ON o.key = p.readout
JOIN run r ON r.key = p.run
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

-- Forgetting and backward transfer of the loss after task k, of byte data in bits per byte as well.
CREATE VIEW v_f_loss AS
SELECT r.id AS run, s.attention_readout, s.attention_budget, s.weights_readout, s.weights_budget,
       s.masked, s.split, s.n_tasks, s.k, s.f_nats, s.bwt_nats,
       s.f_nats / b.nats AS f_bits_per_byte, s.bwt_nats / b.nats AS bwt_bits_per_byte
FROM v_stage s JOIN run r ON r.key = s.run_key
LEFT JOIN (SELECT 0.69314718055994530942 AS nats) b ON r.data IN ({data told in bits})
WHERE s.f_nats IS NOT NULL;

CREATE VIEW v_acc AS
SELECT run, attention_readout, attention_budget, weights_readout, weights_budget, masked, split,
       n_tasks, acc
FROM v_continual WHERE acc IS NOT NULL AND read_context IS NULL AND condition IS NULL;

CREATE VIEW v_aia AS
SELECT run, attention_readout, attention_budget, weights_readout, weights_budget, masked, split,
       n_tasks, aia
FROM v_continual WHERE aia IS NOT NULL AND read_context IS NULL AND condition IS NULL;

CREATE VIEW v_learning_accuracy AS
SELECT run, attention_readout, attention_budget, weights_readout, weights_budget, masked, split,
       n_tasks, learning_accuracy
FROM v_continual WHERE learning_accuracy IS NOT NULL AND read_context IS NULL AND condition IS NULL;
