-- What the journal itself keeps: the secret of its references, and below which number its ids are handed out.
CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO meta (key, value) VALUES ('secret', randomblob(32));

-- What settlements are searched by. Values stand in keys as hashes, which SQL can't compute: settlements from before are
-- added when the journal is opened (meta 'lookups' is then set).
CREATE TABLE lookups (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE history (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;

-- What was spent since a moment, without reading every attempt.
CREATE TABLE spending (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO spending (key, value)
SELECT json_extract(value, '$.lane.network') || '|' || printf('%020d', json_extract(value, '$.prepared_at_ms')) || '|' || key, 'null'
FROM attempts;

-- The highest block of each network in which a step is final, without reading every settlement.
CREATE TABLE final_heights (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO final_heights (key, value)
SELECT json_extract(s.value, '$.network'), max(json_extract(step.value, '$.state.Done.height'))
FROM settlements AS s, json_each(s.value, '$.steps') AS step
WHERE json_extract(step.value, '$.is_final') AND json_extract(step.value, '$.state.Done.height') IS NOT NULL
GROUP BY 1;
