-- The ordered key space: bytea compares byte by byte, whatever the database's encoding and locale.
-- A page keeps room, so that counters and tags are rewritten where they are.
CREATE TABLE strongroom_rows (
    key bytea PRIMARY KEY,
    value bytea NOT NULL
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);

-- The commits of the last hour, each written with its commit. One without sequences did not happen
-- and never will: whoever asked for it was told so.
CREATE TABLE strongroom_commits (
    id bytea PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    sequences bigint[]
) WITH (autovacuum_vacuum_scale_factor = 0.1);

CREATE INDEX strongroom_commits_at ON strongroom_commits (at);

-- One commit, whole, in one call.
--
-- `locks` are hashes: of the commit's id, then of everything together, then of each key in their
-- order, which is one order for all, so nobody waits in a circle. `exclusive` says which of them are
-- held alone. They are taken before anything is read, and held until the commit is durable and
-- seen. Each statement of this function has a snapshot of its own, so what is read below is
-- what the last holder left. Where it is not (another isolation level), nothing is done.
--
-- A commit that is refused writes nothing, not even a transaction id: no flush, no dead rows.
--
-- outcome: 0 done (or done before), 1 a requirement failed, 2 a bound, 3 no counter, 4 a damaged log,
-- 5 given up. `place`: which one, counted from 1. `held`: what the counter holds.
CREATE FUNCTION strongroom_commit(
    IN commit_id bytea,
    IN locks bigint[],
    IN exclusive boolean[],
    IN require_keys bytea[],
    IN require_kinds smallint[],
    IN require_values bytea[],
    IN delete_keys bytea[],
    IN put_keys bytea[],
    IN put_values bytea[],
    IN add_keys bytea[],
    IN add_deltas bigint[],
    IN add_bounds bigint[],
    IN append_logs bytea[],
    IN append_entries bytea[],
    OUT outcome integer,
    OUT place bigint,
    OUT held bigint,
    OUT told bigint[]
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    known boolean;
    old bytea;
    total numeric;
    staged integer;
    more_keys bytea[] := '{}';
    more_values bytea[] := '{}';
    line record;
    heads bytea[] := '{}';
    nexts bigint[] := '{}';
    hashes bytea[] := '{}';
    head integer;
    last_key bytea;
    entry_hash bytea;
    sequence bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'strongroom commits by locks, in read committed, and not in %',
            current_setting('transaction_isolation');
    END IF;
    told := '{}';

    PERFORM CASE WHEN l.alone THEN pg_advisory_xact_lock(l.name)
                 ELSE pg_advisory_xact_lock_shared(l.name) END
       FROM unnest(locks, exclusive) AS l(name, alone);

    SELECT c.sequences IS NOT NULL, coalesce(c.sequences, '{}') INTO known, told
      FROM strongroom_commits c WHERE c.id = commit_id;
    IF FOUND THEN
        outcome := CASE WHEN known THEN 0 ELSE 5 END;
        RETURN;
    END IF;
    told := '{}';

    IF cardinality(require_keys) > 0 THEN
        SELECT r.place INTO place
          FROM unnest(require_keys, require_kinds, require_values)
               WITH ORDINALITY AS r(key, kind, value, place)
          LEFT JOIN strongroom_rows s ON s.key = r.key
         WHERE CASE r.kind
                   WHEN 0 THEN s.key IS NOT NULL
                   WHEN 1 THEN s.key IS NULL
                   ELSE s.value IS DISTINCT FROM r.value
               END
         ORDER BY r.place LIMIT 1;
        IF FOUND THEN
            outcome := 1;
            RETURN;
        END IF;
    END IF;

    FOR i IN 1 .. cardinality(add_keys) LOOP
        staged := array_position(more_keys, add_keys[i]);
        IF staged IS NULL THEN
            SELECT s.value INTO old FROM strongroom_rows s WHERE s.key = add_keys[i];
        ELSE
            old := more_values[staged];
        END IF;
        IF old IS NULL THEN
            held := 0;
        ELSIF octet_length(old) <> 8 THEN
            outcome := 3;
            place := i;
            held := octet_length(old);
            RETURN;
        ELSE
            held := ('x' || encode(old, 'hex'))::bit(64)::bigint;
        END IF;
        total := held::numeric + add_deltas[i];
        IF total NOT BETWEEN -9223372036854775808 AND 9223372036854775807
           OR (add_deltas[i] > 0 AND total > add_bounds[i]) THEN
            outcome := 2;
            place := i;
            RETURN;
        END IF;
        IF staged IS NULL THEN
            more_keys := more_keys || add_keys[i];
            more_values := more_values || int8send(total::bigint);
        ELSE
            more_values[staged] := int8send(total::bigint);
        END IF;
    END LOOP;

    FOR line IN SELECT a.log, a.entry
                  FROM unnest(append_logs, append_entries) WITH ORDINALITY AS a(log, entry, place)
                 ORDER BY a.place LOOP
        head := array_position(heads, line.log);
        IF head IS NULL THEN
            SELECT s.key, s.value INTO last_key, old
              FROM strongroom_rows s
             WHERE s.key >= line.log || '\x0000000000000000'::bytea
               AND s.key <= line.log || '\xffffffffffffffff'::bytea
               AND octet_length(s.key) = octet_length(line.log) + 8
             ORDER BY s.key DESC LIMIT 1;
            IF NOT FOUND THEN
                sequence := 0;
                entry_hash := sha256(line.log);
            ELSE
                sequence := ('x' || encode(substring(last_key FROM octet_length(line.log) + 1),
                                           'hex'))::bit(64)::bigint;
                IF octet_length(old) < 32 OR sequence < 0 OR sequence = 9223372036854775807 THEN
                    outcome := 4;
                    place := array_position(append_logs, line.log);
                    RETURN;
                END IF;
                sequence := sequence + 1;
                entry_hash := substring(old FROM 1 FOR 32);
            END IF;
            heads := heads || line.log;
            head := cardinality(heads);
        ELSE
            sequence := nexts[head];
            entry_hash := hashes[head];
        END IF;
        entry_hash := sha256(entry_hash || int8send(sequence)
            || int8send(octet_length(line.entry)::bigint) || line.entry);
        more_keys := more_keys || (line.log || int8send(sequence));
        more_values := more_values || (entry_hash || line.entry);
        told := told || sequence;
        nexts[head] := sequence + 1;
        hashes[head] := entry_hash;
    END LOOP;

    -- From here on nothing can be refused.
    IF cardinality(delete_keys) > 0 THEN
        DELETE FROM strongroom_rows s WHERE s.key = ANY (delete_keys);
    END IF;
    IF cardinality(put_keys) + cardinality(more_keys) > 0 THEN
        INSERT INTO strongroom_rows (key, value)
        SELECT * FROM unnest(put_keys, put_values)
        UNION ALL
        SELECT * FROM unnest(more_keys, more_values)
        ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value;
    END IF;
    INSERT INTO strongroom_commits (id, sequences) VALUES (commit_id, told);
    outcome := 0;
END
$$;

-- Whether a commit happened. It waits for one that is on its way here; one that has not come is
-- given up, so that what is said stays true. Null: not known, and not to be given up.
CREATE FUNCTION strongroom_was_committed(
    IN commit_id bytea,
    IN lock bigint,
    IN give_up boolean
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    known boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(lock);
    SELECT c.sequences IS NOT NULL INTO known FROM strongroom_commits c WHERE c.id = commit_id;
    IF NOT FOUND AND give_up THEN
        INSERT INTO strongroom_commits (id) VALUES (commit_id);
        known := false;
    END IF;
    RETURN known;
END
$$;
