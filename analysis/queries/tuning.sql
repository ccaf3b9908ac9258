-- what [tune] sections chose, method by method, with the best trial that lost; ?1 = a grid's name
SELECT grid, method, readout, max(trials) AS trials,
       max(CASE WHEN chosen THEN trial END) AS chosen,
       round(avg(CASE WHEN chosen THEN score END), 5) AS score,
       round(max(CASE WHEN NOT chosen THEN score END), 5) AS best_rival,
       sum(state = 'diverged') AS diverged, max(round) AS rounds
FROM v_tuning
WHERE ?1 IS NULL OR grid = ?1
GROUP BY grid, method, readout
ORDER BY grid, method;
