-- How a run's layers are stored is chosen when it is first planned, and then stays: `storage = auto`
-- follows a timing, and a run that began one way must not go on or begin again another way.
-- NULL: not planned yet. '': as the config says, auto being masked. Else one word per linear layer,
-- 'sparse,sparse,masked'.
ALTER TABLE run ADD COLUMN storage TEXT;

-- Of runs that have begun it is known from where they ran; 'masked' there is one word for all layers.
UPDATE run SET storage = (
  SELECT CASE json_extract(p.json, '$.storage') WHEN 'masked' THEN ''
         ELSE json_extract(p.json, '$.storage') END
  FROM run_provenance l JOIN provenance p ON p.id = l.provenance
  WHERE l.run = run.key ORDER BY l.attempt DESC, l.sequence DESC LIMIT 1)
WHERE attempt > 0 AND NOT EXISTS (
  SELECT 1 FROM config_value c WHERE c.run = run.key AND c.key = 'storage' AND c.value <> 'auto');
