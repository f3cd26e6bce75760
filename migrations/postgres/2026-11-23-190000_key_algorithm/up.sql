-- What a key signs by, for ever. All that there were sign by RS256.
ALTER TABLE signing_keys ADD COLUMN algorithm TEXT NOT NULL DEFAULT 'RS256' CHECK (algorithm IN ('RS256', 'PS256'));
