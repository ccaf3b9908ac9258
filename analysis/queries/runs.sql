-- all runs: id, method, state and time; ?1 = a grid's name, to see its runs only
SELECT substr(run, 1, 12) AS run, weights, attention, data, scenario, strategy, density, seed, state,
       attempt, steps_done, round(seconds, 1) AS seconds, message
FROM v_run
WHERE ?1 IS NULL OR run IN (SELECT run_id FROM grid_run WHERE grid = ?1)
ORDER BY weights, attention, data, scenario, strategy, density, seed;
