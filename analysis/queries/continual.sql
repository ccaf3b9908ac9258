-- continual-learning metrics by method, strategy and read-out: means over runs that are done
SELECT weights, attention, data, scenario, strategy, density, weights_readout, weights_budget,
       attention_readout, attention_budget, masked, split, n_tasks, count(*) AS n,
       round(avg(acc), 4) AS acc, round(avg(aia), 4) AS aia,
       round(avg(learning_accuracy), 4) AS learning_accuracy,
       round(avg(f_chaudhry), 4) AS f_chaudhry, round(avg(bwt_gem), 4) AS bwt_gem
FROM v_continual
WHERE state = 'done' AND n_tasks > 1
GROUP BY weights, attention, data, scenario, strategy, density, weights_readout, weights_budget,
         attention_readout, attention_budget, masked, split, n_tasks
ORDER BY data, scenario, split, strategy, weights, attention, density, weights_readout, masked;
