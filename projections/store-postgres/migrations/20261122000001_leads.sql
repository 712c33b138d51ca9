-- The read model of one stream. Only the projector writes it, and it can be folded again from the stream at any time.
-- Identifiers and numbers are compared byte by byte (COLLATE "C"), whatever the database's own order is.

-- How far the leads are, and the fence: one row.
CREATE TABLE projection (
    id SMALLINT PRIMARY KEY CHECK (id = 1),
    identity TEXT,
    position BIGINT NOT NULL DEFAULT 0,
    fold_version INTEGER NOT NULL DEFAULT 0,
    writer TEXT,
    seen_at_ms BIGINT NOT NULL DEFAULT 0
);

INSERT INTO projection (id) VALUES (1);

CREATE TABLE leads (
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

CREATE INDEX leads_by_time ON leads (created_at_ms, call_sid);
CREATE INDEX leads_by_status ON leads (status, created_at_ms, call_sid);
-- Numbers are strangers' text and may be longer than an index entry: the first 64 characters tell them apart.
CREATE INDEX leads_by_phone ON leads (left(phone, 64), created_at_ms, call_sid);
CREATE INDEX leads_by_phone_tail ON leads (left(phone_reversed, 64));
CREATE INDEX leads_by_position ON leads (position);

-- Words apart from the rows: a row changes with each event, its words seldom, and an index of words is dear to change.
-- The time stands here as well: a rare word is found by the index of words, a frequent one by walking from the newest
-- lead down (read.rs).
CREATE TABLE lead_words (
    call_sid TEXT COLLATE "C" PRIMARY KEY,
    created_at_ms BIGINT NOT NULL,
    words TSVECTOR NOT NULL
);

CREATE INDEX lead_words_by_time ON lead_words (created_at_ms, call_sid);
CREATE INDEX lead_words_by_word ON lead_words USING gin (words);

-- Counting a million rows takes longer than a page may.
CREATE TABLE lead_counts (
    status TEXT COLLATE "C" PRIMARY KEY,
    leads BIGINT NOT NULL
);

CREATE TABLE unreadable (
    position BIGINT PRIMARY KEY,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    stored_at_ms BIGINT NOT NULL
);
