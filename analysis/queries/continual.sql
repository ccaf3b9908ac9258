-- continual-learning metrics by setting and read-out: means over seeds, without trials
-- Accuracies are shares of 1, losses nats per example and, of byte data, bits per byte.
-- Runs of one row differ in their seeds alone; n: how many, one: the id of one of them, whose `tandem why`
-- tells the rest. Trials of [tune] sections are in `tandem query tuning`.
SELECT s.kind, c.weights, c.attention, c.data, c.scenario, c.strategy, c.density, c.lr,
       c.weight_decay, c.weights_readout, c.weights_budget, c.attention_readout, c.attention_budget,
       c.masked, c.read_context, c.scaling, c.condition, c.split, c.n_tasks, count(*) AS n,
       round(avg(c.acc), 4) AS acc, round(avg(c.aia), 4) AS aia,
       round(avg(c.learning_accuracy), 4) AS learning_accuracy,
       round(avg(c.f_chaudhry), 4) AS f_chaudhry, round(avg(c.f_incl), 4) AS f_incl,
       round(avg(c.bwt_gem), 4) AS bwt_gem, round(avg(c.end_nats), 4) AS end_nats,
       round(avg(c.f_nats), 4) AS f_nats, round(avg(c.end_bits_per_byte), 4) AS end_bits_per_byte,
       round(avg(c.f_bits_per_byte), 4) AS f_bits_per_byte, substr(min(c.run), 1, 12) AS one
FROM v_continual c
JOIN v_setting s ON s.run = c.run
WHERE c.state = 'done' AND c.n_tasks > 1 AND s.kind != 'trial'
GROUP BY s.kind, s.setting, c.weights_readout, c.weights_budget, c.attention_readout,
         c.attention_budget, c.masked, c.read_context, c.scaling, c.condition, c.split, c.n_tasks
ORDER BY c.data, c.scenario, s.kind, c.split, c.strategy, c.weights, c.attention, c.density, s.setting,
         c.weights_readout, c.masked, c.read_context, c.scaling, c.condition;
