-- The order in which jobs come due: network, time, plugin and id.
CREATE TABLE due_jobs (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO due_jobs (key, value)
SELECT json_extract(value, '$.job.network') || '|' || printf('%020d', json_extract(value, '$.job.runAtMs')) || '|' || key, 'null'
FROM jobs;
