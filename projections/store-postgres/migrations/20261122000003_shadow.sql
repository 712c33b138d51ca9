-- The other side: a rebuild folds into it while the first one serves, and a switch is the change of one number (the
-- crate `callfold-store`, module `shadow`). Its secondary indexes are made behind the load (shadow.rs).
ALTER TABLE projection
    ADD COLUMN generation BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN shadow_state TEXT NOT NULL DEFAULT 'empty',
    ADD COLUMN shadow_position BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN shadow_fold_version INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN shadow_accept BOOLEAN NOT NULL DEFAULT false;

CREATE TABLE leads_b (
    call_sid TEXT COLLATE "C" PRIMARY KEY,
    phone TEXT COLLATE "C" NOT NULL,
    phone_reversed TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    transcript TEXT,
    summary TEXT,
    position BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    lead TEXT NOT NULL,
    state BYTEA NOT NULL
);

CREATE TABLE lead_words_b (
    call_sid TEXT COLLATE "C" PRIMARY KEY,
    created_at_ms BIGINT NOT NULL,
    words TSVECTOR NOT NULL
);

CREATE TABLE lead_counts_b (
    status TEXT COLLATE "C" PRIMARY KEY,
    leads BIGINT NOT NULL
);

CREATE TABLE unreadable_b (
    position BIGINT PRIMARY KEY,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    stored_at_ms BIGINT NOT NULL
);

CREATE TABLE erased_b (
    call_sid TEXT COLLATE "C" PRIMARY KEY,
    position BIGINT NOT NULL,
    state BYTEA NOT NULL
);

CREATE INDEX erased_by_position_b ON erased_b (position);
