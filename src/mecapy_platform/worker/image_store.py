"""Images of versions on this node: there already, else read from storage, where the node that made them put them."""

import logging

from mecapy_platform.core.errors import SandboxError
from mecapy_platform.services.build_plan import BuildPlan
from mecapy_platform.services.claims import Claim
from mecapy_platform.storage import keys
from mecapy_platform.worker.context import WorkerContext

log = logging.getLogger(__name__)


def ensure_image(context: WorkerContext, claim: Claim) -> None:
    images, image_id = context.images, claim.environment_digest
    if images is None or not image_id:
        raise SandboxError("kind_not_supported", f"This worker runs no containers; {claim.function} is an image.")
    if images.has(image_id):
        return
    log.info("image %s of version %s is not on this node: loading it", image_id, claim.version_id)
    with context.storage.open(keys.image_key(claim.organization_id, claim.version_id)) as archive:
        images.load(archive)
    if not images.has(image_id):
        raise SandboxError(
            "image_unavailable", f"The image {image_id} is not on this node, and its stored archive is another one."
        )


def keep_image(context: WorkerContext, plan: BuildPlan, image_id: str) -> None:
    """Put it where other nodes find it."""
    assert context.images is not None
    key = keys.image_key(plan.organization_id, plan.version_id)
    with context.images.save(image_id) as archive:
        context.storage.put(key, archive, limit_bytes=2 * context.settings.image_bytes)
