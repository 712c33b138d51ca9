-- What people do with leads, as columns: the queue is narrowed by it. Rows of an older fold have it when they are folded
-- anew, which a higher version of the fold asks for. A list by status alone is merged from its dispositions.
ALTER TABLE leads ADD COLUMN disposition TEXT NOT NULL DEFAULT 'open';
ALTER TABLE leads ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
ALTER TABLE leads ADD COLUMN assignee TEXT;
DROP INDEX leads_by_status;
CREATE INDEX leads_by_status ON leads (status, disposition, created_at_ms, call_sid);
CREATE INDEX leads_by_disposition ON leads (disposition, seen, created_at_ms, call_sid);
CREATE INDEX leads_by_assignee ON leads (assignee, disposition, created_at_ms, call_sid)
    WHERE assignee IS NOT NULL;

ALTER TABLE leads_b ADD COLUMN disposition TEXT NOT NULL DEFAULT 'open';
ALTER TABLE leads_b ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
ALTER TABLE leads_b ADD COLUMN assignee TEXT;
DROP INDEX leads_by_status_b;
CREATE INDEX leads_by_status_b ON leads_b (status, disposition, created_at_ms, call_sid);
CREATE INDEX leads_by_disposition_b ON leads_b (disposition, seen, created_at_ms, call_sid);
CREATE INDEX leads_by_assignee_b ON leads_b (assignee, disposition, created_at_ms, call_sid)
    WHERE assignee IS NOT NULL;

-- The words of the search index themselves: a long beginning of a word is searched as the few words that begin so (read.rs).
CREATE VIRTUAL TABLE leads_vocabulary USING fts5vocab ('leads_words', 'row');
CREATE VIRTUAL TABLE leads_vocabulary_b USING fts5vocab ('leads_words_b', 'row');
