-- runs that diverged or failed, with their message
SELECT substr(run, 1, 12) AS run, weights, attention, data, density, lr, seed, state, steps_done,
       message
FROM v_run
WHERE state IN ('diverged', 'failed')
ORDER BY state, weights, attention, density, lr, seed;
