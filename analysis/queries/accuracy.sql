-- end of training by setting and read-out: means over seeds of final and of other runs, without trials
-- Runs of one row differ in their seeds alone; n: how many, one: the id of one of them, whose `tandem why`
-- tells the rest. Trials of [tune] sections are in `tandem query tuning`.
SELECT s.kind, r.weights, r.attention, r.data, r.scenario, r.strategy, r.density, r.lr,
       r.weight_decay, e.weights_readout, e.weights_budget, e.attention_readout, e.attention_budget,
       e.masked, e.read_context, e.scaling, e.condition, e.split, count(*) AS n, round(avg(e.accuracy), 4) AS accuracy,
       round(avg(e.loss), 4) AS loss, substr(min(e.run), 1, 12) AS one
FROM v_result e
JOIN v_run r ON r.run = e.run
JOIN v_setting s ON s.run = e.run
WHERE e.state = 'done' AND s.kind != 'trial'
GROUP BY s.kind, s.setting, e.weights_readout, e.weights_budget, e.attention_readout,
         e.attention_budget, e.masked, e.read_context, e.scaling, e.condition, e.split
ORDER BY r.data, r.scenario, s.kind, e.split, r.density, r.weights, r.attention, r.strategy, s.setting,
         e.weights_readout, e.weights_budget DESC, e.attention_readout, e.attention_budget DESC,
         e.read_context, e.scaling, e.condition;
