-- What a decision rests on has a type: a block, or proof that nothing can land ("gone:" in front of the block's id before).
UPDATE settlements SET value = json_set(settlements.value, '$.steps', json((
    SELECT json_group_array(json(
        CASE WHEN json_type(step.value, '$.ground') = 'object' THEN json_set(step.value, '$.ground', json_object(
            'attempt', json_extract(step.value, '$.ground.attempt'),
            'at', CASE WHEN json_extract(step.value, '$.ground.block') LIKE 'gone:%'
                THEN json_object('Dead', substr(json_extract(step.value, '$.ground.block'), 6))
                ELSE json_object('Block', json_extract(step.value, '$.ground.block')) END,
            'height', json_extract(step.value, '$.ground.height'),
            'foreign', json_extract(step.value, '$.ground.foreign')))
        ELSE step.value END))
    FROM json_each(settlements.value, '$.steps') AS step)))
WHERE EXISTS (
    SELECT 1 FROM json_each(settlements.value, '$.steps') AS step WHERE json_type(step.value, '$.ground') = 'object');

-- Releases that nobody gets until the operator allows it, because the journal may be an old copy, and why.
CREATE TABLE withheld (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;
