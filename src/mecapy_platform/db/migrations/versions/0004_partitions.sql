-- What belongs to tasks and grows most, in partitions by month of the task's id (see ADR 17); 0004_foundation.py makes the partitions.
-- One statement ends at each line that ends in a semicolon.

ALTER TABLE events RENAME TO events_before;
ALTER TABLE task_logs RENAME TO task_logs_before;
ALTER TABLE artifacts RENAME TO artifacts_before;

CREATE TABLE events (LIKE events_before INCLUDING DEFAULTS INCLUDING IDENTITY) PARTITION BY RANGE (task_id);
CREATE TABLE task_logs (LIKE task_logs_before INCLUDING DEFAULTS) PARTITION BY RANGE (task_id);
CREATE TABLE artifacts (LIKE artifacts_before INCLUDING DEFAULTS) PARTITION BY RANGE (task_id);
