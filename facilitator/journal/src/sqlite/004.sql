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

-- When each event was recorded. Those from before count as recorded now.
ALTER TABLE events ADD COLUMN at_ms INTEGER NOT NULL DEFAULT 0;
INSERT INTO meta (key, value) VALUES ('events_dated_from', unixepoch() * 1000);
-- Old events are removed from the beginning, after the last of them was noted with its checksum.
INSERT INTO meta (key, value) VALUES ('events_dropped_to', 0), ('events_dropped_checksum', zeroblob(32));
DROP TRIGGER events_are_never_deleted;
CREATE TRIGGER events_are_deleted_from_the_beginning BEFORE DELETE ON events
WHEN old.seq > (SELECT value FROM meta WHERE key = 'events_dropped_to')
BEGIN SELECT RAISE(ABORT, 'events are deleted from the beginning'); END;

-- Finished settlements wait for a stage of what is removed in time. Of those whose payloads are gone the time is not known.
UPDATE finished SET key = 'payloads|' || key;
INSERT INTO finished (key, value)
SELECT 'details|' || printf('%020d', json_extract(s.value, '$.opened_at_ms')) || '|' || s.key, 'null'
FROM settlements AS s
WHERE json_extract(s.value, '$.finished')
    AND s.key NOT IN (SELECT substr(key, -20) FROM finished);

-- Rows of plugins' stores in the order in which they end.
CREATE TABLE store_expiry (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO store_expiry (key, value)
SELECT printf('%020d', json_extract(value, '$.expires_at_ms')) || '|' || key, 'null'
FROM store WHERE json_extract(value, '$.expires_at_ms') IS NOT NULL;
