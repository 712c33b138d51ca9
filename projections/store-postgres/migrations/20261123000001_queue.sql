-- What people do with leads, as columns: the queue is narrowed by it. Rows of an older fold have it when they are folded
-- anew, which a higher version of the fold asks for. A list by status alone is merged from its dispositions.
ALTER TABLE leads
    ADD COLUMN disposition TEXT COLLATE "C" NOT NULL DEFAULT 'open',
    ADD COLUMN seen BOOLEAN NOT NULL DEFAULT false,
    ADD COLUMN assignee TEXT COLLATE "C";

ALTER TABLE leads_b
    ADD COLUMN disposition TEXT COLLATE "C" NOT NULL DEFAULT 'open',
    ADD COLUMN seen BOOLEAN NOT NULL DEFAULT false,
    ADD COLUMN assignee TEXT COLLATE "C";

-- Either side may be the one that serves. One without indexes is being rebuilt, which makes them.
DO $$
DECLARE
    side TEXT;
BEGIN
    FOREACH side IN ARRAY ARRAY['', '_b'] LOOP
        IF to_regclass('leads_by_status' || side) IS NOT NULL THEN
            EXECUTE format('DROP INDEX leads_by_status%s', side);
            EXECUTE format('CREATE INDEX leads_by_status%1$s ON leads%1$s (status, disposition, created_at_ms, call_sid)', side);
            EXECUTE format('CREATE INDEX leads_by_disposition%1$s ON leads%1$s (disposition, seen, created_at_ms, call_sid)', side);
            -- Names may be longer than an index entry: the first 128 characters tell them apart.
            EXECUTE format('CREATE INDEX leads_by_assignee%1$s ON leads%1$s (left(assignee, 128), disposition, created_at_ms, call_sid) WHERE assignee IS NOT NULL', side);
        END IF;
    END LOOP;
END $$;
