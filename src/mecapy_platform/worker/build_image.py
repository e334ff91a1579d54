"""Builds a version of mode B (Dockerfile) or pins one of mode C (image).

Once per version, to an image known by its id.
"""

from collections.abc import Callable
from pathlib import Path

from mecapy_platform.core.errors import InvalidInputError
from mecapy_platform.core.manifest import RuntimeKind
from mecapy_platform.sandbox.images import BuildOrder, Images
from mecapy_platform.services.build_plan import BuildPlan
from mecapy_platform.worker.context import WorkerContext
from mecapy_platform.worker.image_store import keep_image


def make_image(context: WorkerContext, plan: BuildPlan, package: Path, say: Callable[[str], None]) -> str:
    """The id of the version's image, which is also kept in storage."""
    if context.images is None:
        raise InvalidInputError(
            "runtime_unsupported", "The worker that builds has no Docker daemon; Dockerfiles and images need one."
        )
    runtime = plan.manifest["runtime"]
    owner = str(plan.organization_id)
    if runtime["kind"] == RuntimeKind.IMAGE:
        image_id = context.images.obtain(runtime["image"], owner, say)
    else:
        image_id = _build(context, context.images, plan, package, say)
    say(f"The version is pinned to {image_id}.")
    keep_image(context, plan, image_id)
    return image_id


def _build(context: WorkerContext, images: Images, plan: BuildPlan, package: Path, say: Callable[[str], None]) -> str:
    runtime = plan.manifest["runtime"]
    folder = (package / runtime["context"]).resolve()
    dockerfile = (package / runtime["dockerfile"]).resolve()
    if not folder.is_relative_to(package.resolve()) or not folder.is_dir():
        raise InvalidInputError(
            "dockerfile_missing", f"The build's context {runtime['context']} is not a folder of the package."
        )
    if not dockerfile.is_relative_to(folder):
        raise InvalidInputError(
            "dockerfile_missing", f"{runtime['dockerfile']} does not lie in the build's context {runtime['context']}."
        )
    order = BuildOrder(
        context=folder,
        dockerfile=str(dockerfile.relative_to(folder)),
        owner=str(plan.organization_id),
        labels={"mecapy.version": str(plan.version_id)},
        has_network=_network(plan, say),
        seconds=context.settings.build_timeout_seconds,
        image_bytes=context.settings.image_bytes,
    )
    return images.build(order, say)


def _network(plan: BuildPlan, say: Callable[[str], None]) -> bool:
    """Only where the package asks and its organization allows it."""
    asks = bool(plan.manifest.get("platform", {}).get("build", {}).get("network", False))
    if not asks:
        return False
    if not plan.may_use_network:
        raise InvalidInputError(
            "build_network_refused",
            "The package asks for a network while its image is built (platform.build.network); its organization does "
            "not allow that.",
        )
    say("The build has a network, as the package asks and the organization allows.")
    return True
