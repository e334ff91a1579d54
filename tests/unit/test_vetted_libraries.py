from mecapy_platform.worker.vetted import vetted_libraries, vetted_lock

LOCK = """\
evil==1.0 \\
    --hash=sha256:aa
numpy==2.1.0 \\
    --hash=sha256:bb \\
    --hash=sha256:cc
numpy-financial==1.0 \\
    --hash=sha256:dd
"""


def test_only_the_lines_of_vetted_libraries_are_kept_with_their_hashes() -> None:
    assert vetted_lock(LOCK) == "numpy==2.1.0 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
    assert vetted_libraries(LOCK) == ("numpy",)


def test_a_lock_without_any_has_none() -> None:
    assert vetted_lock("meshio==5.3.4 \\\n    --hash=sha256:aa\n") == ""
    assert vetted_libraries("") == ()
