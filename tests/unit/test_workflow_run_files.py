from mecapy_platform.cli.workflow_runs import takers


def test_a_file_goes_to_the_first_function_that_its_node_feeds() -> None:
    nodes = [
        {"node_key": "deck", "node_kind": "input"},
        {"node_key": "again", "node_kind": "assume_unit"},
        {"node_key": "solve", "function_version_id": "demo/calculix:solve@1.1.0"},
        {"node_key": "other", "function_version_id": "demo/mesh:measure@2.0.0"},
    ]
    edges = [
        {"source_node_key": "deck", "target_node_key": "again", "target_port": "value"},
        {"source_node_key": "deck", "target_node_key": "solve", "target_port": "input"},
        {"source_node_key": "deck", "target_node_key": "other", "target_port": "mesh"},
        {"source_node_key": "again", "target_node_key": "nowhere", "target_port": "value"},
    ]

    assert takers({"nodes": nodes, "edges": edges}) == {"deck": ("demo/calculix", "solve", "input")}
