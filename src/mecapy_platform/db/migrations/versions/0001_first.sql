-- The first tables, frozen: what db/tables.py said when revision 0001 was written. A later change is a new revision, never an edit here.
-- Indexes, row-level security and rights follow in 0001_first.py. One statement ends at each line that ends in a semicolon.

-- Who owns things. A personal one belongs to each user; With `source` issuer the memberships follow the tokens of the identity provider.
CREATE TABLE organizations (
    id UUID DEFAULT uuidv7() NOT NULL,
    slug TEXT NOT NULL,
    display_name TEXT NOT NULL,
    is_personal BOOLEAN DEFAULT false NOT NULL,
    source TEXT DEFAULT 'local' NOT NULL,
    weight DOUBLE PRECISION DEFAULT 1 NOT NULL,
    limits JSON DEFAULT '{}' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id)
);

-- People, as the issuer of their tokens knows them.
CREATE TABLE users (
    id UUID DEFAULT uuidv7() NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    username TEXT NOT NULL,
    email TEXT,
    personal_organization_id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id)
);

-- Who belongs where, as admin, user or viewer.
CREATE TABLE memberships (
    organization_id UUID NOT NULL,
    user_id UUID NOT NULL,
    role TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (organization_id, user_id),
    FOREIGN KEY(organization_id) REFERENCES organizations (id) ON DELETE CASCADE,
    FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);

-- A calculation by name; its states are package_versions.
CREATE TABLE packages (
    id UUID DEFAULT uuidv7() NOT NULL,
    organization_id UUID NOT NULL,
    owner_id UUID NOT NULL,
    name TEXT NOT NULL,
    visibility TEXT DEFAULT 'private' NOT NULL,
    archived_at TIMESTAMP WITH TIME ZONE,
    yanked_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(organization_id) REFERENCES organizations (id)
);

-- An immutable deployed state. Everything but the outcome of the build is written once.
CREATE TABLE package_versions (
    id UUID DEFAULT uuidv7() NOT NULL,
    organization_id UUID NOT NULL,
    package_id UUID NOT NULL,
    version TEXT NOT NULL,
    manifest JSON NOT NULL,
    archive_key TEXT NOT NULL,
    archive_sha256 TEXT NOT NULL,
    source JSON DEFAULT '{}' NOT NULL,
    created_by UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    status TEXT DEFAULT 'building' NOT NULL,
    runtime TEXT NOT NULL,
    interpreter TEXT,
    requirements_lock TEXT,
    environment_digest TEXT,
    build_log TEXT DEFAULT '' NOT NULL,
    report JSON DEFAULT '{}' NOT NULL,
    error_code TEXT,
    error_message TEXT,
    build_token UUID,
    build_lease_until TIMESTAMP WITH TIME ZONE,
    build_attempts INTEGER DEFAULT 0 NOT NULL,
    built_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id),
    FOREIGN KEY(organization_id) REFERENCES organizations (id),
    FOREIGN KEY(package_id) REFERENCES packages (id) ON DELETE CASCADE
);

-- What a version can compute, with its ports and limits. `inputs` is null until read from the signature.
CREATE TABLE functions (
    id UUID DEFAULT uuidv7() NOT NULL,
    organization_id UUID NOT NULL,
    package_version_id UUID NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    handler TEXT,
    entrypoint JSON,
    inputs JSON,
    outputs JSON,
    free_inputs BOOLEAN DEFAULT false NOT NULL,
    cpu INTEGER NOT NULL,
    memory_mb INTEGER NOT NULL,
    timeout_seconds DOUBLE PRECISION NOT NULL,
    options JSON DEFAULT '{}' NOT NULL,
    checksum TEXT NOT NULL,
    completed_runs INTEGER DEFAULT 0 NOT NULL,
    p95_seconds DOUBLE PRECISION,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(organization_id) REFERENCES organizations (id),
    FOREIGN KEY(package_version_id) REFERENCES package_versions (id) ON DELETE CASCADE
);

-- One execution of a function; the row is the truth. `claimable` stands in the claim index, so that finishing touches no index.
CREATE TABLE tasks (
    id UUID DEFAULT uuidv7() NOT NULL,
    organization_id UUID NOT NULL,
    user_id UUID NOT NULL,
    function_id UUID NOT NULL,
    package_version_id UUID NOT NULL,
    name TEXT NOT NULL,
    state TEXT DEFAULT 'queued' NOT NULL,
    lane TEXT NOT NULL,
    priority SMALLINT DEFAULT 5 NOT NULL,
    rank SMALLINT NOT NULL,
    sequence BIGINT GENERATED ALWAYS AS IDENTITY,
    claimable BOOLEAN DEFAULT false NOT NULL,
    held TEXT,
    not_before TIMESTAMP WITH TIME ZONE,
    inputs JSON NOT NULL,
    files JSON DEFAULT '{}' NOT NULL,
    inputs_digest TEXT NOT NULL,
    cpu INTEGER NOT NULL,
    memory_mb INTEGER NOT NULL,
    timeout_seconds DOUBLE PRECISION NOT NULL,
    retries JSON DEFAULT '{}' NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    machine_failures INTEGER DEFAULT 0 NOT NULL,
    own_failures INTEGER DEFAULT 0 NOT NULL,
    retry_of UUID,
    attempt_token UUID,
    node TEXT,
    cancel_requested_at TIMESTAMP WITH TIME ZONE,
    progress JSON,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    completed_at TIMESTAMP WITH TIME ZONE,
    runtime_seconds DOUBLE PRECISION,
    cpu_seconds DOUBLE PRECISION,
    peak_memory_mb DOUBLE PRECISION,
    result JSON,
    result_s3_key TEXT,
    error_code TEXT,
    error_message TEXT,
    parked BOOLEAN DEFAULT false NOT NULL,
    interpreter TEXT,
    environment_digest TEXT,
    package_digest TEXT,
    PRIMARY KEY (id)
);

-- One try of a task by one worker. Every write of the worker names `token`; a late one changes nothing.
CREATE TABLE attempts (
    id UUID DEFAULT uuidv7() NOT NULL,
    organization_id UUID NOT NULL,
    task_id UUID NOT NULL,
    number INTEGER NOT NULL,
    token UUID NOT NULL,
    node TEXT NOT NULL,
    worker TEXT NOT NULL,
    backend TEXT NOT NULL,
    reference TEXT,
    cpu INTEGER NOT NULL,
    memory_mb INTEGER NOT NULL,
    lane TEXT NOT NULL,
    lease_until TIMESTAMP WITH TIME ZONE NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    state TEXT,
    error_code TEXT,
    error_message TEXT,
    wall_seconds DOUBLE PRECISION,
    cpu_seconds DOUBLE PRECISION,
    peak_memory_mb DOUBLE PRECISION,
    is_swept BOOLEAN DEFAULT false NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE CASCADE
);

-- Output and progress of a task, line by line, with an offset to resume from.
CREATE TABLE task_logs (
    task_id UUID NOT NULL,
    index INTEGER NOT NULL,
    organization_id UUID NOT NULL,
    attempt INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (task_id, index),
    FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE CASCADE
);

-- The outbox: what happened, written in the transaction in which it happened.
CREATE TABLE events (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    organization_id UUID NOT NULL,
    task_id UUID,
    kind TEXT NOT NULL,
    data JSON DEFAULT '{}' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    relayed_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id)
);

-- Files handed in ahead of a task.
CREATE TABLE uploads (
    id UUID DEFAULT uuidv7() NOT NULL,
    organization_id UUID NOT NULL,
    user_id UUID NOT NULL,
    function_id UUID,
    var_name TEXT NOT NULL,
    filename TEXT NOT NULL,
    extension TEXT NOT NULL,
    content_type TEXT,
    size_bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    key TEXT NOT NULL,
    is_used BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (id)
);

-- Files that a task left; the bytes lie in object storage under `key`.
CREATE TABLE artifacts (
    id UUID DEFAULT uuidv7() NOT NULL,
    organization_id UUID NOT NULL,
    task_id UUID NOT NULL,
    attempt INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    filename TEXT NOT NULL,
    key TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    is_partial BOOLEAN DEFAULT false NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(task_id) REFERENCES tasks (id) ON DELETE CASCADE
);

-- Which task a repeated request means.
CREATE TABLE idempotency_keys (
    organization_id UUID NOT NULL,
    user_id UUID NOT NULL,
    key TEXT NOT NULL,
    body_digest TEXT NOT NULL,
    task_id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (organization_id, user_id, key)
);

-- Machines that work. No tenant's data.
CREATE TABLE nodes (
    name TEXT NOT NULL,
    cpu DOUBLE PRECISION NOT NULL,
    memory_mb INTEGER NOT NULL,
    disk_free_bytes BIGINT NOT NULL,
    accepts_work BOOLEAN DEFAULT true NOT NULL,
    refusal TEXT,
    seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    PRIMARY KEY (name)
);

-- How far an organization has come in a lane; the nil organization holds the lane's own virtual time.
CREATE TABLE lane_shares (
    lane TEXT NOT NULL,
    organization_id UUID NOT NULL,
    passed DOUBLE PRECISION DEFAULT 0 NOT NULL,
    queued INTEGER DEFAULT 0 NOT NULL,
    PRIMARY KEY (lane, organization_id)
);
