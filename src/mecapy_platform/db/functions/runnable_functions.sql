-- What a worker must know of a function to run it, beyond the task. Of a version that can be claimed nothing here changes any more.
DROP VIEW IF EXISTS runnable_functions;

CREATE VIEW runnable_functions WITH (security_invoker = true) AS
SELECT f.id AS function_id, f.name AS function, f.handler, f.entrypoint, f.inputs AS input_ports, f.outputs AS output_ports, f.options,
    v.id AS version_id, v.archive_key, v.archive_sha256, v.environment_digest, v.requirements_lock, v.interpreter, v.runtime
FROM functions f JOIN package_versions v ON v.id = f.package_version_id;

GRANT SELECT ON runnable_functions TO mecapy_worker;
