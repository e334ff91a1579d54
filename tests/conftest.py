"""What holds for every test: how the run is divided, and what a process of it keeps until its end."""


from support.platform.services import KEPT_TO_THE_END


def pytest_sessionfinish() -> None:
    KEPT_TO_THE_END.close()
