-- The read model of one stream. Only the projector writes it, and it can be folded again from the stream at any time.

-- How far the leads are, and the fence: one row.
CREATE TABLE projection (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    identity TEXT,
    position INTEGER NOT NULL DEFAULT 0,
    fold_version INTEGER NOT NULL DEFAULT 0,
    writer TEXT,
    seen_at_ms INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO projection (id) VALUES (1);

-- `id` grows with `created_at_ms` (write.rs says how), so that the search index, which knows rows by number only,
-- yields the newest first without sorting.
CREATE TABLE leads (
    id INTEGER PRIMARY KEY,
    call_sid TEXT NOT NULL UNIQUE,
    phone TEXT NOT NULL,
    phone_reversed TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    transcript TEXT,
    summary TEXT,
    position INTEGER NOT NULL,
    hash BLOB NOT NULL,
    words_hash BLOB NOT NULL,
    lead TEXT NOT NULL,
    state BLOB NOT NULL
) STRICT;

CREATE INDEX leads_by_time ON leads (created_at_ms, call_sid);
CREATE INDEX leads_by_status ON leads (status, created_at_ms, call_sid);
CREATE INDEX leads_by_phone ON leads (phone, created_at_ms, call_sid);
CREATE INDEX leads_by_phone_tail ON leads (phone_reversed);
CREATE INDEX leads_by_position ON leads (position);

-- Counting a million rows takes longer than a page may.
CREATE TABLE lead_counts (
    status TEXT PRIMARY KEY,
    leads INTEGER NOT NULL
) STRICT;

-- The words are normalised before they come here (callfold_store::search): `ascii` takes every other character as part
-- of a word. No text is kept (content=''), no place of a word in it (detail=none).
-- Short beginnings of words stand in an index of their own: else one would be joined from thousands of words.
CREATE VIRTUAL TABLE leads_words USING fts5 (
    words, content = '', contentless_delete = 1, detail = none, prefix = '2 3 4', tokenize = 'ascii'
);

CREATE TABLE unreadable (
    position INTEGER PRIMARY KEY,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    stored_at_ms INTEGER NOT NULL
) STRICT;
