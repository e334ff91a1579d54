-- Notes whose rows of a month have changed, beside it in `.._changed`, while those that stay are copied; see mecapy_keep_begin. Who writes
-- has no right to that table.
CREATE OR REPLACE FUNCTION mecapy_note_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    EXECUTE format('INSERT INTO public.%I (task_id) VALUES ($1)', TG_TABLE_NAME || '_changed') USING coalesce(NEW.task_id, OLD.task_id);
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION mecapy_note_change FROM PUBLIC;
