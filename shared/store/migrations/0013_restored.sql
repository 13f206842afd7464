-- In which run of which database the log was compared with it last (docs/adr/0023). In another one it may be
-- an older copy, put back while the log went on.
ALTER TABLE logs ADD COLUMN compared_in text;

-- Another value after each start of the server, and in each copy of the database or of its tables.
CREATE FUNCTION database_run() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT concat_ws('/', extract(epoch FROM pg_postmaster_start_time()),
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        pg_relation_filenode('logs'));
$$;
