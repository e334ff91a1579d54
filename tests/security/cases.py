"""Every case of the attack suite: which attack, in which kind of task, and how the task must end."""

from dataclasses import dataclass

COMPLETED = ("completed", "")
OUT_OF_MEMORY = ("out_of_memory", "out_of_memory")
TIMEOUT = ("timeout", "timeout")
REFUSED = ("failed", "output_refused")
LIMIT = ("failed", "output_limit")
End = tuple[str, str]


@dataclass(frozen=True)
class Case:
    """`ends`: each allowed (state, code). `function`: of the manifest; `many` runs several cases, the others one."""

    group: str
    attack: str
    ends: tuple[End, ...] = (COMPLETED,)
    function: str = "many"
    words: str = ""  # in the sentence of the end

    @property
    def id(self) -> str:
        return f"{self.group}-{self.attack.partition(':')[2]}"


def _many(group: str, module: str, names: str) -> tuple[Case, ...]:
    return tuple(Case(group, f"{module}:{name}") for name in names.split())


def _words(text: str) -> list[str]:
    return text.split()


def _one(group: str, module: str, name: str, *ends: End, function: str = "one", words: str = "") -> Case:
    return Case(group, f"{module}:{name}", ends or (COMPLETED,), function, words)


SECRETS = _many(
    "secrets",
    "secrets_of_others",
    "environment_holds_no_secret environ_of_every_process usual_places_of_secrets files_of_the_platform "
    "sockets_of_the_platform "
    "cloud_metadata memory_of_init kernel_messages kernel_memory names_of_the_host what_mounts_tell "
    "control_groups_tell_nothing "
    "activity_of_others memory_and_uptime_of_the_machine",
)
PROCESSES = (
    *_many(
        "processes",
        "other_processes",
        "sees_only_its_own pids_of_the_host signals_to_init signals_to_init_by_descriptor traces "
        "reads_memory_of_others raises_priority "
        "raises_limits command_lines_tell_nothing becomes_another_user set_user_id_programs",
    ),
    _one("processes", "other_processes", "kills_everything_it_can"),
    _one("processes", "other_processes", "kills_its_group", ("failed", "killed_by_signal"), words="signal 9"),
)
FILES = _many(
    "files",
    "file_system",
    "writes_everywhere changes_what_is_shared mounts leaves_its_root ways_around_a_path hard_links makes_devices "
    "only_harmless_devices "
    "writes_to_kernel_settings flags_of_all_mounts system_folder_is_absent quota_and_accounting",
)
KERNEL = _many(
    "kernel",
    "kernel_surface",
    "io_uring bpf_and_perf userfaultfd keyrings modules_and_kexec clocks_names_and_ports placement_of_memory "
    "newest_calls new_namespaces "
    "new_namespaces_by_clone enters_namespaces maps_users calls_of_32_bit calls_of_x32 types_into_terminals "
    "personality "
    "filters_of_its_own landlock_cannot_be_widened rare_socket_families notices_of_others sockets_with_rare_options "
    "disks_are_not_flushed",
)
NETWORK = _many(
    "network",
    "network",
    "interfaces_and_routes connects_far sends_datagrams asks_for_names raw_and_packet loopback_of_the_host "
    "abstract_sockets_of_the_host "
    "changes_interfaces netfilter listens_for_others namespaces_are_its_own",
)
DESCRIPTORS = (
    *_many(
        "descriptors", "descriptors", "inherits_nothing standard_streams control_of_init writes_to_where_status_was"
    ),
    _one("descriptors", "descriptors", "inherits_nothing"),
    _one("descriptors", "descriptors", "closes_everything"),
    _one("descriptors", "descriptors", "floods_its_own_streams"),
)
OUTPUTS = (
    *(
        _one("outputs", "outputs", name, REFUSED, words=words)
        for name, words in (
            ("link_to_a_host_file", "symbolic link"),
            ("relative_link_upwards", "symbolic link"),
            ("link_to_proc", "symbolic link"),
            ("folder_as_link", "not a folder"),
            ("result_as_link", "data.json"),
            ("result_as_fifo", "named pipe"),
            ("result_as_folder", "data.json"),
            ("fifo", "named pipe"),
            ("unix_socket", "socket"),
            ("sparse_file", "sparse"),
            ("hard_link_inside", "hard link"),
            ("name_that_is_not_utf8", "UTF-8"),
            ("name_with_newline", "control characters"),
            ("deep_tree", "deeper"),
            ("path_beyond_its_maximum", "deeper"),
        )
    ),
    _one("outputs", "outputs", "files_folder_as_link", REFUSED),
    _one("outputs", "outputs", "error_as_link", ("failed", "exit_code")),
    *(
        _one("outputs", "outputs", name)
        for name in _words(
            "device file_of_a_terabyte hard_link_to_an_input names_that_look_like_ways_up closed_modes "
            "set_user_id_output "
            "progress_as_link progress_as_fifo progress_of_one_endless_line progress_swapped"
        )
    ),
    _one("outputs", "outputs", "too_many_files", LIMIT),
    _one("outputs", "outputs", "too_many_folders", COMPLETED, ("failed", "disk_limit"), REFUSED, function="roomy"),
    *(
        _one("outputs", "outputs", name, COMPLETED, REFUSED)
        for name in ("swapped_while_collected", "growing_while_collected", "folder_swapped_for_link")
    ),
)
RESULTS = (
    *(
        _one("results", "results", name, ("failed", code))
        for name, code in (
            ("huge", "output_limit"),
            ("nested", "result_too_deep"),
            ("not_a_number", "result_not_finite"),
            ("infinite", "result_not_finite"),
            ("huge_integer", "result_out_of_range"),
            ("duplicate_keys", "result_duplicate_key"),
            ("invalid_utf8", "result_not_json"),
            ("byte_order_mark", "result_not_json"),
            ("half_surrogate", "outputs_invalid"),
            ("nul_text", "outputs_invalid"),
            ("wrong_shape", "result_not_an_object"),
            ("strange_port", "outputs_invalid"),
            ("written_by_a_survivor", "no_result"),
            ("exits_as_if_killed", "exit_code"),
        )
    ),
    _one("results", "results", "many_keys", COMPLETED, ("failed", "outputs_invalid"), LIMIT),
    _one("results", "results", "forged_error", ("failed", "lost_machine"), ("failed", "user_error")),
    _one("results", "results", "error_beside_a_result", ("failed", "user_error"), COMPLETED),
)
RESOURCES = (
    *(
        _one("resources", "resources", name, OUT_OF_MEMORY, words="128 MiB")
        for name in ("memory", "memory_of_children", "memory_as_files", "memory_as_memfd")
    ),
    _one("resources", "resources", "memory_as_shared_segments", OUT_OF_MEMORY, COMPLETED),
    _one("resources", "resources", "memory_as_pipes", COMPLETED, OUT_OF_MEMORY),
    _one("resources", "resources", "memory_as_sockets", COMPLETED, OUT_OF_MEMORY),
    *(
        _one("resources", "resources", name)
        for name in ("locked_memory", "message_queues", "open_files", "file_above_its_size")
    ),
    *(
        _one("resources", "resources", name)
        for name in ("swap_is_not_used", "timers", "signals_queued", "watches_and_epolls")
    ),
    _one("resources", "resources", "processor_time", function="roomy"),
    *(
        _one("resources", "resources", name, ("failed", "process_limit"), function="roomy", words="process limit")
        for name in ("forks_until_refused", "zombies")
    ),
    _one("resources", "resources", "threads_until_refused", function="roomy"),
    _one("resources", "resources", "fork_bomb", TIMEOUT, OUT_OF_MEMORY, ("failed", "process_limit"), function="brief"),
    _one(
        "resources", "resources", "bytes_on_disk", COMPLETED, OUT_OF_MEMORY, ("failed", "disk_limit"), function="roomy"
    ),
    _one("resources", "resources", "inodes", ("failed", "disk_limit"), function="roomy", words="20000 files"),
    _one("resources", "resources", "log_flood", ("failed", "log_limit")),
    _one("resources", "resources", "log_of_many_small_lines", COMPLETED, ("failed", "log_limit"), function="roomy"),
)
TIMES = (
    *(
        _one("time", "times", name, TIMEOUT, function="brief", words="time limit")
        for name in _words(
            "busy_loop holds_the_interpreter ignores_every_signal forks_away_from_sigterm stops_itself "
            "stops_everything sleeps_for_ever "
            "hangs_in_vfork"
        )
    ),
    *(
        _one("time", "times", name)
        for name in ("leaves_a_daemon", "leaves_a_thread", "hangs_at_exit", "kills_its_parent")
    ),
)
BYPASSES = _many(
    "bypasses",
    "bypasses",
    "base64_exec names_put_together subclasses_of_object bytecode_alone code_object_by_hand pickled other_encoding "
    "module_in_a_zip "
    "own_machine_code replaces_our_own_code",
)
CASES = (
    *SECRETS, *PROCESSES, *FILES, *KERNEL, *NETWORK, *DESCRIPTORS, *BYPASSES, *OUTPUTS, *RESULTS, *RESOURCES, *TIMES,
)  # fmt: skip
SAMPLE = tuple({(case.group, case.function, case.ends): case for case in CASES}.values())  # each kind of end, once
