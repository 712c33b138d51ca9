-- Calls that were erased: what is left of them is that they were, and nothing personal. An event that still comes folds
-- into the state, which stays a tombstone.
CREATE TABLE erased (
    call_sid TEXT COLLATE "C" PRIMARY KEY,
    position BIGINT NOT NULL,
    state BYTEA NOT NULL
);

CREATE INDEX erased_by_position ON erased (position);
