-- What later features stand on: columns named for what they hold, parents and needs of tasks, workers, values by reference.
-- One statement ends at each line that ends in a semicolon.

ALTER TABLE lane_shares RENAME COLUMN passed TO stride_pass;
ALTER TABLE organizations RENAME COLUMN catalog TO catalog_revision;
ALTER TABLE attempts RENAME COLUMN is_swept TO leftovers_removed;
ALTER TABLE tasks RENAME COLUMN held TO hold_reason;

-- `needs`: what a worker must be able to do, see core/placement. The parents are those of a run, a study, a bulk call.
-- `outages`: attempts given back uncounted because they never began. `.._ref`: a row of stored_values, for values too large for their
-- task's row, which then holds none.
ALTER TABLE tasks
    ADD COLUMN needs TEXT[] DEFAULT '{}' NOT NULL,
    ADD COLUMN run_id UUID,
    ADD COLUMN node_id UUID,
    ADD COLUMN study_id UUID,
    ADD COLUMN point BIGINT,
    ADD COLUMN batch_id UUID,
    ADD COLUMN outages INTEGER DEFAULT 0 NOT NULL,
    ADD COLUMN inputs_ref UUID,
    ADD COLUMN result_ref UUID,
    ALTER COLUMN inputs DROP NOT NULL;

-- A row per process that works on a node: what it can do, and why it takes no work just now.
CREATE TABLE workers (
    id UUID DEFAULT uuidv7() NOT NULL,
    name TEXT NOT NULL,
    node TEXT NOT NULL,
    lane TEXT,
    backend TEXT NOT NULL,
    abilities TEXT[] DEFAULT '{}' NOT NULL,
    away TEXT[] DEFAULT '{}' NOT NULL,
    accepts_work BOOLEAN DEFAULT true NOT NULL,
    refusal_code TEXT,
    refusal TEXT,
    software_version TEXT,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name)
);

-- Values above 256 KiB lie in storage; a row here says where. It lives as long as a row refers to it.
CREATE TABLE stored_values (
    id UUID DEFAULT uuidv7() NOT NULL,
    organization_id UUID NOT NULL,
    key TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id)
);

-- Where a version is being built, how much memory is set aside for that, and since when: what was first goes first.
ALTER TABLE package_versions
    ADD COLUMN build_node TEXT,
    ADD COLUMN build_memory_mb INTEGER DEFAULT 0 NOT NULL,
    ADD COLUMN build_reserved_at TIMESTAMP WITH TIME ZONE;

CREATE INDEX package_versions_under_build ON package_versions (build_node) WHERE build_token IS NOT NULL;

-- Which states of a task follow which, generated from core/states at each migration; an empty `before`: where a task may begin.
CREATE TABLE task_transitions (
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    PRIMARY KEY (before, after)
);

-- `id` is given before commit; `number` by the relay to what is committed, without gaps. Readers go by the latter.
ALTER TABLE events DROP COLUMN relayed_at, ADD COLUMN number BIGINT;

CREATE TABLE event_counter (
    is_only BOOLEAN DEFAULT true NOT NULL,
    last_number BIGINT DEFAULT 0 NOT NULL,
    PRIMARY KEY (is_only),
    CHECK (is_only)
);

INSERT INTO event_counter DEFAULT VALUES;

-- What db/functions held when they were installed last.
CREATE TABLE installed_functions (
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    installed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (name)
);

-- The task for which a node keeps what is free, and how long that word holds.
ALTER TABLE nodes ADD COLUMN kept_for UUID, ADD COLUMN kept_until TIMESTAMP WITH TIME ZONE;

CREATE INDEX workers_node ON workers (node);
CREATE INDEX tasks_inputs_ref ON tasks (inputs_ref) WHERE inputs_ref IS NOT NULL;
CREATE INDEX tasks_result_ref ON tasks (result_ref) WHERE result_ref IS NOT NULL;
