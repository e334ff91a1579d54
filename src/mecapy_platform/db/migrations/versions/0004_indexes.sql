-- Keys and indexes of the partitioned tables, made when their rows are there; each partition gets its own of each.
-- A unique index holds the partition's key. Events have no primary key, because those of no task have no task_id.
-- One statement ends at each line that ends in a semicolon.

ALTER TABLE task_logs ADD PRIMARY KEY (task_id, index);
ALTER TABLE artifacts ADD PRIMARY KEY (task_id, id);

ALTER TABLE task_logs ADD FOREIGN KEY (task_id) REFERENCES tasks (id) ON DELETE CASCADE;
ALTER TABLE artifacts ADD FOREIGN KEY (task_id) REFERENCES tasks (id) ON DELETE CASCADE;

CREATE UNIQUE INDEX artifacts_name ON artifacts (task_id, attempt, kind, name);

CREATE INDEX events_of_task ON events (task_id);
CREATE UNIQUE INDEX events_one_end ON events (task_id) WHERE kind = 'TaskFinished';
CREATE INDEX events_unnumbered ON events (id) WHERE number IS NULL;
CREATE INDEX events_number ON events (number) WHERE number IS NOT NULL;
