-- what [tune] sections chose, method by method, with the best trial that lost; ?1 = a grid's name
-- A trial's score is the mean over its seeds, as it was when it was chosen.
SELECT grid, method, readout, max(trials) AS trials,
       max(CASE WHEN chosen THEN trial END) AS chosen,
       round(max(CASE WHEN chosen THEN score END), 5) AS score,
       round(max(CASE WHEN NOT chosen THEN score END), 5) AS best_rival,
       sum(diverged) AS diverged, max(round) AS rounds
FROM v_trial
WHERE ?1 IS NULL OR grid = ?1
GROUP BY grid, method, readout
ORDER BY grid, method;
