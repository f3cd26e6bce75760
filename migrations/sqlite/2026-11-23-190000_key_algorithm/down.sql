-- A key for another algorithm cannot sign or verify any more: it leaves. If it was the one that signed, so do the others, and
-- the next start makes new ones.
UPDATE signing_keys SET state = 'retired', wrapped = NULL, ended_at = COALESCE(retiring_at, activated_at, published_at)
    WHERE algorithm <> 'RS256' AND state IN ('standby', 'active', 'retiring');
UPDATE signing_keys SET state = 'retired', wrapped = NULL, ended_at = COALESCE(retiring_at, activated_at, published_at)
    WHERE state IN ('standby', 'retiring') AND NOT EXISTS (SELECT 1 FROM signing_keys WHERE state = 'active');
ALTER TABLE signing_keys DROP COLUMN algorithm;
