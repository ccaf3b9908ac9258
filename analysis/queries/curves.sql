-- evaluations of one run in the order of steps; ?1 = the first digits of its id (without it: all runs)
SELECT substr(run, 1, 12) AS run, step, stage, task, split, weights_readout, weights_budget,
       attention_readout, attention_budget, read_context, scaling, condition, n_correct, n_total, round(loss, 5) AS loss
FROM v_eval
WHERE run GLOB coalesce(?1, '') || '*'
ORDER BY run, step, task, split, weights_readout, weights_budget, attention_readout, attention_budget,
         read_context, scaling, condition;
