-- full read-out less the sparse one at the trained budget: accuracy and forgetting, paired by run
-- Mean and sd over seeds of the difference within each run, of runs that are done, without trials; shares
-- of 1. A gap above 0: the full net is more accurate, or forgets more. n: how many, one: the id of one
-- of them, whose `tandem why` tells the rest. sd: of the sample, from two runs on.
SELECT kind, data, scenario, strategy, weights, attention, density, attention_read, masked, split, n_tasks,
       count(*) AS n, round(avg(acc_full), 4) AS acc_full, round(avg(acc_sparse), 4) AS acc_sparse,
       round(avg(gap), 4) AS readout_gap,
       round(sqrt(max(sum(gap * gap) - count(gap) * avg(gap) * avg(gap), 0) / nullif(count(gap) - 1, 0)), 4)
         AS readout_gap_sd,
       round(avg(f_full), 4) AS forgetting_full, round(avg(f_sparse), 4) AS forgetting_sparse,
       round(avg(f_gap), 4) AS forgetting_gap,
       round(sqrt(max(sum(f_gap * f_gap) - count(f_gap) * avg(f_gap) * avg(f_gap), 0)
                        / nullif(count(f_gap) - 1, 0)), 4) AS forgetting_gap_sd,
       substr(min(run), 1, 12) AS one
FROM (
  SELECT s.kind, s.setting, f.run, f.data, f.scenario, f.strategy, f.weights, f.attention, f.density,
         f.attention_readout AS attention_read, f.attention_budget, f.masked, f.split, f.n_tasks,
         f.acc AS acc_full, b.acc AS acc_sparse, f.acc - b.acc AS gap, f.f_chaudhry AS f_full,
         b.f_chaudhry AS f_sparse, f.f_chaudhry - b.f_chaudhry AS f_gap
  FROM (SELECT run, data, scenario, strategy, weights, attention, density, attention_readout, attention_budget,
               masked, net, split, n_tasks, acc, f_chaudhry
        FROM v_continual WHERE weights_readout = 'full' AND state = 'done'
          AND read_context IS NULL AND condition IS NULL) f
  JOIN (SELECT run, attention_readout, attention_budget, masked, net, split, acc, f_chaudhry
        FROM v_continual
        WHERE weights_readout = 'sparse' AND abs(weights_budget - density) < 1e-9 AND state = 'done'
          AND read_context IS NULL AND condition IS NULL) b
    ON b.run = f.run AND b.attention_readout = f.attention_readout
   AND b.attention_budget IS f.attention_budget AND b.masked = f.masked AND b.net IS f.net
   AND b.split = f.split
  JOIN v_setting s ON s.run = f.run
  WHERE s.kind != 'trial')
GROUP BY kind, setting, attention_read, attention_budget, masked, split, n_tasks
ORDER BY data, scenario, kind, split, masked, strategy, density, weights, attention, setting, attention_read;
