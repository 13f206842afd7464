-- Each tag goes into its index at once: entries that wait in a list are read by every search, and in
-- the measure of a single write (15 tags) the list saved nothing.
ALTER INDEX records_by_tag SET (fastupdate = off);
SELECT gin_clean_pending_list('records_by_tag');

-- Records with any of the tags. Always by the index of tags: a plan that is made while the table is
-- small, or without statistics, would read all records of the account and be kept.
CREATE FUNCTION tagged_records(of_account text, of_type text, wanted bigint[], records_max bigint)
RETURNS TABLE (id text, data json) LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH tagged AS MATERIALIZED (
        SELECT account_id, type, id, data FROM records WHERE tags && wanted
    )
    SELECT id, data FROM tagged
    WHERE account_id = of_account AND type = of_type AND data IS NOT NULL LIMIT records_max;
END $$;

-- One mutation: records, states of their types, outbox. The account's row is locked.
CREATE FUNCTION write_records(
    of_account text, types text[], ids text[], datas json[], tag_lists text[], sorts jsonb[],
    searches jsonb[], why jsonb)
RETURNS TABLE (last_modseq bigint, outbox_id bigint, written_at timestamptz, orders_before jsonb)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH account AS (
        UPDATE accounts SET modseq = modseq + cardinality(ids) WHERE id = of_account
        RETURNING modseq
    ), writes AS (
        SELECT account.modseq - cardinality(ids) + place AS modseq, type, id, data, tags::bigint[],
               sort, search
        FROM account, unnest(types, ids, datas, tag_lists, sorts, searches)
             WITH ORDINALITY AS given (type, id, data, tags, sort, search, place)
    ), written AS (
        INSERT INTO records
            (account_id, type, id, created_modseq, modseq, data, tags, sort, search)
        SELECT of_account, type, id, modseq, modseq, data, tags, sort, search FROM writes
        ON CONFLICT (account_id, type, id)
        DO UPDATE SET modseq = excluded.modseq, data = excluded.data, tags = excluded.tags,
            sort = excluded.sort, search = excluded.search,
            destroyed_at = CASE WHEN excluded.data IS NULL THEN now() END
    ), states AS (
        INSERT INTO type_states (account_id, type, state, ord)
        SELECT of_account, type, 's' || max(modseq), max(modseq) FROM writes GROUP BY type
        ON CONFLICT (account_id, type) DO UPDATE SET state = excluded.state, ord = excluded.ord
        RETURNING type, state, ord
    ), told AS (
        INSERT INTO outbox (account_id, states, cause)
        SELECT of_account, jsonb_object_agg(type, jsonb_build_array(state, ord)), why FROM states
        RETURNING id, at
    )
    SELECT account.modseq, told.id, told.at,
        (SELECT coalesce(jsonb_object_agg(type, ord), '{}') FROM type_states
         WHERE account_id = of_account)
    FROM account, told;
END $$;

-- The same as a transaction of its own, but only if, under the lock, the user has that role, the
-- records that were seen are as they were, those that are needed exist, and nobody else has a unique tag;
-- else nothing happens, and there is no row. Each statement of the function sees what was committed
-- before it began, so all after the first see what the lock protects.
CREATE FUNCTION write_records_if(
    by_user text, by_role text, seen_type text, seen_ids text[], seen_modseqs bigint[], needed_types text[],
    needed_ids text[], unique_tags bigint[], of_account text, types text[], ids text[],
    datas json[], tag_lists text[], sorts jsonb[], searches jsonb[], why jsonb)
RETURNS TABLE (last_modseq bigint, outbox_id bigint, written_at timestamptz, orders_before jsonb)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM accounts WHERE id = of_account FOR UPDATE;
    IF coalesce((SELECT role = by_role FROM grants
                 WHERE user_id = by_user AND account_id = of_account), false)
        AND (SELECT coalesce(bool_and(coalesce(
                 (SELECT modseq = seen.modseq FROM records
                  WHERE account_id = of_account AND type = seen_type AND id = seen.id),
                 false)), true)
             FROM unnest(seen_ids, seen_modseqs) AS seen (id, modseq))
        AND (SELECT coalesce(bool_and(coalesce(
                 (SELECT data IS NOT NULL FROM records
                  WHERE account_id = of_account AND type = needed.type AND id = needed.id),
                 false)), true)
             FROM unnest(needed_types, needed_ids) AS needed (type, id))
        AND NOT EXISTS (
            SELECT FROM tagged_records(of_account, seen_type, unique_tags, cardinality(ids) + 1)
            WHERE id <> ALL (ids))
    THEN
        RETURN QUERY SELECT * FROM write_records(
            of_account, types, ids, datas, tag_lists, sorts, searches, why);
    END IF;
END $$;
