-- The other side: a rebuild folds into it while the first one serves, and a switch is the change of one number (the
-- crate `callfold-store`, module `shadow`). `shadow_indexed`: up to this id the search index of the shadow is made.
ALTER TABLE projection ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE projection ADD COLUMN shadow_state TEXT NOT NULL DEFAULT 'empty';
ALTER TABLE projection ADD COLUMN shadow_position INTEGER NOT NULL DEFAULT 0;
ALTER TABLE projection ADD COLUMN shadow_fold_version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE projection ADD COLUMN shadow_accept INTEGER NOT NULL DEFAULT 0;
ALTER TABLE projection ADD COLUMN shadow_indexed INTEGER NOT NULL DEFAULT -9223372036854775808;

CREATE TABLE leads_b (
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

CREATE INDEX leads_by_time_b ON leads_b (created_at_ms, call_sid);
CREATE INDEX leads_by_status_b ON leads_b (status, created_at_ms, call_sid);
CREATE INDEX leads_by_phone_b ON leads_b (phone, created_at_ms, call_sid);
CREATE INDEX leads_by_phone_tail_b ON leads_b (phone_reversed);
CREATE INDEX leads_by_position_b ON leads_b (position);

CREATE TABLE lead_counts_b (
    status TEXT PRIMARY KEY,
    leads INTEGER NOT NULL
) STRICT;

CREATE VIRTUAL TABLE leads_words_b USING fts5 (
    words, content = '', contentless_delete = 1, detail = none, prefix = '2 3 4', tokenize = 'ascii'
);

CREATE TABLE unreadable_b (
    position INTEGER PRIMARY KEY,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    stored_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE erased_b (
    call_sid TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX erased_by_position_b ON erased_b (position);
