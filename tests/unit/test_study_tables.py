import pytest

from mecapy_platform.cli.study import _found, _show_statistic


def test_correlations_are_a_table_of_columns_by_columns(capsys: pytest.CaptureFixture[str]) -> None:
    found = {
        "names": ["torque", "preload"],
        "pearson": [[1.0, 0.5], [0.5, 1.0]],
        "spearman": [[1.0, None], [None, 1.0]],
    }

    _show_statistic("correlation", found)

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["correlation:", "pearson", "torque", "preload"] in lines
    assert ["torque", "1", "0.5"] in lines
    assert ["correlation:", "spearman", "torque", "preload"] in lines


def test_rows_of_a_quantity_are_a_table_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    _show_statistic("quantiles", {"preload": [{"probability": 0.5, "value": 30.0}]})

    assert "quantiles of preload" in capsys.readouterr().out


def test_what_is_no_table_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    _show_statistic("pareto", {"front": [1, 2, 3]})

    assert capsys.readouterr().out == 'pareto: {"front": [1, 2, 3]}\n'


def test_what_an_optimisation_found_is_its_best_point() -> None:
    best = {"index": 3, "inputs": {"column": "181 mm"}, "values": [724.5, 2e8], "feasible": True}
    found = dict(_found({"ended": "converged", "best": best, "points": 25, "history": [1.0, 2.0]}))

    assert (found["ended"], found["column"], found["points"]) == ("converged", "181 mm", "25")
    assert found["values"].startswith("724.5, ")
    assert "history" not in found


def test_a_convergence_tells_its_order_without_the_series() -> None:
    outcome = {"ended": "range", "series": [{"level": 1}], "order": 1.99, "extrapolated": None}

    assert dict(_found(outcome)) == {"ended": "range", "order": "1.99"}
