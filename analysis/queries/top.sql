-- leader board: the five best settings by mean accuracy in each data set, scenario, density and read-out
-- Runs of one row differ in their seeds alone; sd: standard deviation over them; one: the id of one of them.
-- --set "density=0.1 scenario=class_il" chooses what is ranked. A place is no test: tables have these.
SELECT place, kind, data, scenario, density, split, read_out, strategy, weights, attention, n, accuracy,
       sd, one
FROM (
  SELECT
    s.kind, r.data, r.scenario, r.density, e.split,
    CASE WHEN e.attention_readout = 'none' THEN '' ELSE e.attention_readout || '/' END
      || e.weights_readout AS read_out,
    r.strategy, r.weights, r.attention, count(*) AS n, round(avg(e.accuracy), 4) AS accuracy,
    round(sqrt(max(0, avg(e.accuracy * e.accuracy) - avg(e.accuracy) * avg(e.accuracy))
               * count(*) / nullif(count(*) - 1, 0)), 4) AS sd,
    substr(min(e.run), 1, 12) AS one,
    rank() OVER (PARTITION BY s.kind, r.data, r.scenario, r.density, e.split, e.attention_readout,
                              e.attention_budget, e.weights_readout, e.weights_budget, e.masked
                 ORDER BY avg(e.accuracy) DESC) AS place
  FROM v_result e
  JOIN v_run r ON r.run = e.run
  JOIN v_setting s ON s.run = e.run
  WHERE e.state = 'done' AND s.kind != 'trial' AND (NOT e.masked OR r.scenario = 'task_il')
    AND (e.weights_budget IS NULL OR abs(e.weights_budget - r.density) < 1e-9)
    AND e.read_context IS NULL AND e.condition IS NULL
  GROUP BY s.kind, s.setting, e.attention_readout, e.attention_budget, e.weights_readout,
           e.weights_budget, e.split)
WHERE place <= 5
ORDER BY data, scenario, kind, split, density, read_out, place;
