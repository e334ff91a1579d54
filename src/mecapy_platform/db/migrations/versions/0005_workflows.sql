-- Workflows, their runs, studies and schedules (ADR 18). One statement ends at each line that ends in a semicolon.

CREATE TABLE workflows (
    id UUID DEFAULT uuidv7() NOT NULL,
    organization_id UUID NOT NULL,
    owner_id UUID NOT NULL,
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    archived_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (organization_id, slug),
    FOREIGN KEY (organization_id) REFERENCES organizations (id)
);

-- `graph`: nodes and edges as they were given; `document`: the YAML that it was imported from, with its comments. `interface`: its
-- ports where it is a node itself; `depth`: how many workflows lie in one another below it.
CREATE TABLE workflow_versions (
    id UUID DEFAULT uuidv7() NOT NULL,
    organization_id UUID NOT NULL,
    workflow_id UUID NOT NULL,
    number INTEGER NOT NULL,
    graph JSON NOT NULL,
    interface JSON,
    node_count INTEGER DEFAULT 0 NOT NULL,
    depth INTEGER DEFAULT 0 NOT NULL,
    document TEXT,
    created_by UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (workflow_id, number),
    FOREIGN KEY (workflow_id) REFERENCES workflows (id) ON DELETE CASCADE
);

-- Which functions and workflow versions a version uses, itself or through others: for "what uses this", visibility, deleting.
CREATE TABLE workflow_version_uses (
    id UUID DEFAULT uuidv7() NOT NULL,
    workflow_version_id UUID NOT NULL,
    organization_id UUID NOT NULL,
    function_id UUID,
    used_version_id UUID,
    PRIMARY KEY (id),
    FOREIGN KEY (workflow_version_id) REFERENCES workflow_versions (id) ON DELETE CASCADE
);
CREATE INDEX workflow_version_uses_version ON workflow_version_uses (workflow_version_id);
CREATE INDEX workflow_version_uses_function ON workflow_version_uses (function_id);
CREATE INDEX workflow_version_uses_used ON workflow_version_uses (used_version_id);

-- One execution of a workflow version. `options`: failure policy, deadline, priority, reuse; `plan`: chains and waves, frozen;
-- `parent_call_id`: the call of another run, or the point of a study, that this run is. `wake_at`: when something that waits for the
-- clock is due. `change`: grows with each change that a reader can see, for who watches. `outputs`: of a run that is a call, by port.
CREATE TABLE runs (
    id UUID DEFAULT uuidv7() NOT NULL,
    organization_id UUID NOT NULL,
    user_id UUID NOT NULL,
    workflow_id UUID NOT NULL,
    workflow_version_id UUID NOT NULL,
    state TEXT DEFAULT 'pending' NOT NULL,
    inputs JSON,
    inputs_ref UUID,
    options JSON DEFAULT '{}' NOT NULL,
    plan JSON NOT NULL,
    visibility_snapshot TEXT NOT NULL,
    parent_call_id UUID,
    root_run_id UUID,
    depth INTEGER DEFAULT 0 NOT NULL,
    rerun_of UUID,
    wake_at TIMESTAMP WITH TIME ZONE,
    deadline_at TIMESTAMP WITH TIME ZONE,
    cancel_requested_at TIMESTAMP WITH TIME ZONE,
    held_reason TEXT,
    outputs JSON,
    outputs_ref UUID,
    change BIGINT DEFAULT 0 NOT NULL,
    first_failed_node_key TEXT,
    error_code TEXT,
    error_message TEXT,
    qa_tracked_at TIMESTAMP WITH TIME ZONE,
    qa_tracked_by UUID,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    completed_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    FOREIGN KEY (workflow_id) REFERENCES workflows (id),
    FOREIGN KEY (workflow_version_id) REFERENCES workflow_versions (id)
);
CREATE INDEX runs_of_user ON runs (organization_id, user_id, id);
CREATE INDEX runs_of_workflow ON runs (workflow_id, id);
CREATE INDEX runs_wake ON runs (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX runs_parent ON runs (parent_call_id) WHERE parent_call_id IS NOT NULL;

-- One row a node, input nodes apart. `place`: its number in an order in which sources come first. What it executes are its calls; `outputs` only of nodes that compute nothing in a sandbox (constants, expressions,
-- collected lists), else they are its call's. `reused_task_id`: the task whose identical result it took.
CREATE TABLE run_nodes (
    id UUID DEFAULT uuidv7() NOT NULL,
    organization_id UUID NOT NULL,
    run_id UUID NOT NULL,
    place INTEGER NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT DEFAULT 'pending' NOT NULL,
    tries INTEGER DEFAULT 0 NOT NULL,
    branch INTEGER,
    items INTEGER,
    inputs_digest TEXT,
    outputs JSON,
    outputs_ref UUID,
    reused_task_id UUID,
    reuse_note JSON,
    not_before TIMESTAMP WITH TIME ZONE,
    decided_by UUID,
    decision TEXT,
    error_code TEXT,
    error_message TEXT,
    started_at TIMESTAMP WITH TIME ZONE,
    completed_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    UNIQUE (run_id, key),
    FOREIGN KEY (run_id) REFERENCES runs (id) ON DELETE CASCADE
);

-- What a node, an item of a map, an iteration of a loop or a point of a study executes: one body with its inputs. It waits until a
-- task or a run carries it; `position` is its place among the calls of that task. Of a task with one call the inputs, the result and
-- the figures are the task's own; a task of several calls leaves them here. `bindings`: inputs that are outputs of an earlier call of
-- the same task, as {port: {"position", "port"}}.
CREATE TABLE calls (
    id UUID DEFAULT uuidv7() NOT NULL,
    organization_id UUID NOT NULL,
    run_id UUID,
    node_id UUID,
    study_id UUID,
    index BIGINT DEFAULT 0 NOT NULL,
    tries INTEGER DEFAULT 0 NOT NULL,
    function_id UUID,
    workflow_version_id UUID,
    state TEXT DEFAULT 'waiting' NOT NULL,
    task_id UUID,
    position INTEGER,
    child_run_id UUID,
    inputs JSON,
    inputs_ref UUID,
    files JSON,
    bindings JSON,
    cancel_requested_at TIMESTAMP WITH TIME ZONE,
    result JSON,
    result_ref UUID,
    error_code TEXT,
    error_message TEXT,
    log TEXT,
    started_at TIMESTAMP WITH TIME ZONE,
    completed_at TIMESTAMP WITH TIME ZONE,
    wall_seconds DOUBLE PRECISION,
    cpu_seconds DOUBLE PRECISION,
    peak_memory_mb DOUBLE PRECISION,
    PRIMARY KEY (id),
    CHECK ((node_id IS NULL) <> (study_id IS NULL)),
    CHECK ((function_id IS NULL) <> (workflow_version_id IS NULL))
);
CREATE UNIQUE INDEX calls_of_node ON calls (node_id, index) WHERE node_id IS NOT NULL;
CREATE UNIQUE INDEX calls_of_study ON calls (study_id, index) WHERE study_id IS NOT NULL;
CREATE INDEX calls_of_task ON calls (task_id) WHERE task_id IS NOT NULL;
CREATE UNIQUE INDEX run_nodes_of_run ON run_nodes (run_id, place);
CREATE INDEX calls_open ON calls (node_id, state, index) WHERE node_id IS NOT NULL AND state <> 'completed';
CREATE INDEX calls_of_run ON calls (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX calls_inputs_ref ON calls (inputs_ref) WHERE inputs_ref IS NOT NULL;
CREATE INDEX calls_result_ref ON calls (result_ref) WHERE result_ref IS NOT NULL;
CREATE INDEX runs_inputs_ref ON runs (inputs_ref) WHERE inputs_ref IS NOT NULL;
CREATE INDEX runs_outputs_ref ON runs (outputs_ref) WHERE outputs_ref IS NOT NULL;
CREATE INDEX run_nodes_outputs_ref ON run_nodes (outputs_ref) WHERE outputs_ref IS NOT NULL;
CREATE INDEX calls_waiting ON calls (study_id, index) WHERE state = 'waiting' AND study_id IS NOT NULL;

-- What ended, for whom: written in the transaction of the end, taken away by the transaction that advances the run or the study.
-- Rows are only added and removed, so that a thousand ends of one run never wait for each other. The numbers say what became of the
-- calls of a task that had several, which that end has written itself; of a task with one call they are 0, and the call still runs.
CREATE TABLE due_marks (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    run_id UUID,
    study_id UUID,
    task_id UUID,
    child_run_id UUID,
    completed INTEGER DEFAULT 0 NOT NULL,
    failed INTEGER DEFAULT 0 NOT NULL,
    cancelled INTEGER DEFAULT 0 NOT NULL,
    returned INTEGER DEFAULT 0 NOT NULL,
    cpu_seconds DOUBLE PRECISION DEFAULT 0 NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (id),
    CHECK ((run_id IS NULL) <> (study_id IS NULL))
);
CREATE INDEX due_marks_run ON due_marks (run_id) WHERE run_id IS NOT NULL;
CREATE INDEX due_marks_study ON due_marks (study_id) WHERE study_id IS NOT NULL;

-- A study varies one function or one workflow version. `design`: how points are made, with its seed; `options`: criteria, derived
-- quantities, priority, parallelism, budget. `outcome`: what a driven study has found; it is asked for its next points at `wake_at`.
-- Its points are calls; how many are in which state is counted by who advances it.
CREATE TABLE studies (
    id UUID DEFAULT uuidv7() NOT NULL,
    organization_id UUID NOT NULL,
    user_id UUID NOT NULL,
    name TEXT NOT NULL,
    function_id UUID,
    workflow_version_id UUID,
    design JSON NOT NULL,
    fixed JSON DEFAULT '{}' NOT NULL,
    options JSON DEFAULT '{}' NOT NULL,
    state TEXT DEFAULT 'pending' NOT NULL,
    points BIGINT DEFAULT 0 NOT NULL,
    waiting BIGINT DEFAULT 0 NOT NULL,
    running BIGINT DEFAULT 0 NOT NULL,
    completed BIGINT DEFAULT 0 NOT NULL,
    failed BIGINT DEFAULT 0 NOT NULL,
    cancelled BIGINT DEFAULT 0 NOT NULL,
    cpu_seconds DOUBLE PRECISION DEFAULT 0 NOT NULL,
    outcome JSON,
    change BIGINT DEFAULT 0 NOT NULL,
    wake_at TIMESTAMP WITH TIME ZONE,
    cancel_requested_at TIMESTAMP WITH TIME ZONE,
    error_code TEXT,
    error_message TEXT,
    idempotency_key TEXT,
    request_digest TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    completed_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX studies_key ON studies (organization_id, user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX studies_of_organization ON studies (organization_id, id);
CREATE INDEX studies_wake ON studies (wake_at) WHERE wake_at IS NOT NULL;

-- `target`: what is submitted: a task, a run or a study, as its route takes it.
CREATE TABLE schedules (
    id UUID DEFAULT uuidv7() NOT NULL,
    organization_id UUID NOT NULL,
    user_id UUID NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    target JSON NOT NULL,
    cron TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    missed TEXT DEFAULT 'skip' NOT NULL,
    overlap TEXT DEFAULT 'allow' NOT NULL,
    is_paused BOOLEAN DEFAULT false NOT NULL,
    next_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (organization_id, name)
);
CREATE INDEX schedules_next ON schedules (next_at) WHERE next_at IS NOT NULL AND NOT is_paused;

-- One row for each time that was served: its key is what makes two relays fire it once.
CREATE TABLE schedule_firings (
    schedule_id UUID NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    organization_id UUID NOT NULL,
    outcome TEXT NOT NULL,
    made_id UUID,
    error_code TEXT,
    error_message TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (schedule_id, due_at),
    FOREIGN KEY (schedule_id) REFERENCES schedules (id) ON DELETE CASCADE
);

-- Which states of runs, nodes, calls and studies follow which, generated as task_transitions is.
CREATE TABLE state_transitions (
    kind TEXT NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    PRIMARY KEY (kind, before, after)
);

-- `calls_count`: how many calls a task carries, 0 for one whose inputs and result are its own. `share_cost`: what it counts in shares.
ALTER TABLE tasks ADD COLUMN calls_count INTEGER DEFAULT 0 NOT NULL, ADD COLUMN share_cost DOUBLE PRECISION DEFAULT 1 NOT NULL;

-- Tasks that carry calls stand apart from those that do not, so that a claim that may take none of one kind does not walk over them.
DROP INDEX tasks_claim;
CREATE INDEX tasks_claim ON tasks (lane, organization_id, least(calls_count, 1), rank, sequence) WHERE claimable;

ALTER TABLE runs SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE run_nodes SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE calls SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05);
ALTER TABLE due_marks SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
