-- connections dropped and grown, by run and layer; ?1 = the first digits of a run's id
SELECT substr(run, 1, 12) AS run, weights, seed, layer, count(*) AS updates, min(step) AS first_step,
       max(step) AS last_step, sum(dropped) AS dropped, sum(grown) AS grown, min(nnz) AS least_nnz,
       max(nnz) AS most_nnz
FROM v_topology
WHERE run GLOB coalesce(?1, '') || '*'
GROUP BY run, layer
ORDER BY weights, seed, layer;
