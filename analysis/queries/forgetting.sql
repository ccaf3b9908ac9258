-- forgetting and accuracy of task sequences by method, density, scenario and read-out, with their spread
-- Mean and sd over seeds, of runs that are done, without trials, at the budgets and the length that they trained with
-- (`query continual` has the others); shares of 1, as all queries have them. f_nats: forgetting of the loss,
-- in nats per example, and of byte data in bits per byte. n: how many, one: the id of one of them, whose
-- `tandem why` tells the rest. sd: of the sample, from two runs on.
SELECT s.kind, c.data, c.scenario, c.tasks_by, c.strategy, nullif(c.buffer, 0) AS buffer, c.weights, c.attention, c.density,
       c.weights_readout AS weights_read, c.attention_readout AS attention_read, c.masked, c.split, count(*) AS n,
       round(avg(c.f_chaudhry), 4) AS forgetting,
       round(sqrt(max(sum(c.f_chaudhry * c.f_chaudhry) - count(*) * avg(c.f_chaudhry) * avg(c.f_chaudhry), 0)
                        / nullif(count(*) - 1, 0)), 4) AS forgetting_sd,
       round(avg(c.acc), 4) AS acc,
       round(sqrt(max(sum(c.acc * c.acc) - count(*) * avg(c.acc) * avg(c.acc), 0)
                        / nullif(count(*) - 1, 0)), 4) AS acc_sd,
       round(avg(c.learning_accuracy), 4) AS learning_accuracy,
       round(avg(c.bwt_gem), 4) AS bwt_gem, round(avg(c.f_nats), 4) AS f_nats,
       round(avg(c.f_bits_per_byte), 4) AS f_bits_per_byte, substr(min(c.run), 1, 12) AS one
FROM v_continual c
JOIN v_setting s ON s.run = c.run
WHERE c.state = 'done' AND c.n_tasks > 1 AND s.kind != 'trial'
  AND (c.weights_budget IS NULL OR c.weights_budget = c.density)
  AND (c.attention_budget IS NULL OR c.attention_budget = c.blocks)
  AND c.read_context IS NULL AND c.condition IS NULL
GROUP BY s.kind, s.setting, c.weights_readout, c.weights_budget, c.attention_readout,
         c.attention_budget, c.masked, c.split, c.n_tasks
ORDER BY c.data, c.scenario, s.kind, c.split, c.masked, c.strategy, c.buffer, c.density, c.weights, c.attention,
         s.setting, c.weights_readout, c.attention_readout;
