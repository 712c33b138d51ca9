-- Calls that were erased: what is left of them is that they were, and nothing personal. An event that still comes folds
-- into the state, which stays a tombstone.
CREATE TABLE erased (
    call_sid TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX erased_by_position ON erased (position);
