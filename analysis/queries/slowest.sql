-- the 20 runs that took the longest, with what the time went to
SELECT substr(run, 1, 12) AS run, weights, attention, data, seed, state, steps_done,
       round(seconds, 1) AS seconds, round(train_seconds, 1) AS train, round(eval_seconds, 1) AS eval,
       round(probe_seconds, 1) AS probe, round(1e6 * train_seconds / nullif(steps_done, 0), 1) AS us_per_step
FROM v_run
WHERE seconds IS NOT NULL
ORDER BY v_run.seconds DESC
LIMIT 20;
