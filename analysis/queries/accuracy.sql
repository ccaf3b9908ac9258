-- last stage by method and read-out: mean accuracy and loss over runs that are done, and their number
SELECT weights, attention, data, scenario, strategy, density, weights_readout, weights_budget,
       attention_readout, attention_budget, masked, split, count(DISTINCT run) AS n,
       round(avg(accuracy), 4) AS accuracy, round(avg(loss), 4) AS loss
FROM v_eval v
WHERE state = 'done' AND stage = (SELECT max(e.stage) FROM v_eval e WHERE e.run = v.run)
GROUP BY weights, attention, data, scenario, strategy, density, weights_readout, weights_budget,
         attention_readout, attention_budget, masked, split
ORDER BY data, scenario, split, density, weights, attention, strategy, weights_readout,
         weights_budget DESC, attention_readout, attention_budget DESC;
