-- The first step of dropping a month: beside it a table for the rows that stay, which mecapy_keep_some fills while everybody goes on, and
-- which mecapy_drop_month puts in the month's place. What is written meanwhile is noted. An earlier try that was left is begun anew.
-- Locks the month alone, for a moment; who cannot have that soon gives up and is called again. Runs as the owner of the tables, who can
-- read the month from here on: nobody else has a right to it.
-- Of what is kept already, it is noted that it ends where the month ends; that is checked later, so that no lock waits for the check.
CREATE OR REPLACE FUNCTION mecapy_keep_begin(parent text, month date) RETURNS void LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    staying CONSTANT text := parent || to_char(month, '_"kept"_YYYYMM');
    low CONSTANT uuid := mecapy_lowest_id(month);
    high CONSTANT uuid := mecapy_lowest_id(month + interval '1 month');
    part text;
    keeping text;
    reference text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('mecapy-partitions', 0));
    part := mecapy_droppable_month(parent, month);
    keeping := mecapy_last_kept(parent);
    EXECUTE format('DROP TRIGGER IF EXISTS note_change ON %I', part);
    EXECUTE format('DROP TABLE IF EXISTS public.%I, public.%I', staying, part || '_changed');
    EXECUTE format('CREATE TABLE public.%I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES, '
        'CONSTRAINT in_range CHECK (task_id IS NOT NULL AND task_id >= %L AND task_id < %L)) WITH '
        '(autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05)', staying, part, low, high);
    FOR reference IN SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass('public.' || parent) AND contype = 'f' LOOP
        EXECUTE format('ALTER TABLE %I ADD %s', staying, reference);
    END LOOP;
    EXECUTE format('CREATE TABLE public.%I (task_id uuid)', part || '_changed');
    EXECUTE format('CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION mecapy_note_change()', part);
    EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', part);
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT IF EXISTS below', keeping);
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT below CHECK (task_id IS NOT NULL AND task_id < %L) NOT VALID', keeping, high);
END
$$;

REVOKE ALL ON FUNCTION mecapy_keep_begin FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mecapy_keep_begin TO mecapy_worker;
