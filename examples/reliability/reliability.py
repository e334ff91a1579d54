"""Probability of failure by sampling in several processes, which write into one block of shared memory."""

import math
import multiprocessing
import os
from multiprocessing.shared_memory import SharedMemory

import joblib
import numpy as np

CHUNK = 100_000


def sample(resistance, load, samples=2_000_000, seed=1, method="spawn"):
    """P(R < S) for independent normal R and S. Exact is Φ(-β), β = (μR - μS)/sqrt(σR² + σS²): C. A.

    Cornell, ACI Journal 66 (1969).
    """
    if resistance["deviation"] < 0 or load["deviation"] < 0 or not CHUNK <= samples <= 100_000_000:
        raise ValueError(f"Deviations must not be negative; samples lie between {CHUNK} and 100 million.")
    processes = (
        int(os.environ.get("MECAPY_CPU_LIMIT", "0")) or os.cpu_count() or 1
    )  # cpu_count is the machine's, not the task's
    chunks = samples // CHUNK
    block = SharedMemory(create=True, size=chunks * CHUNK * 8)
    try:
        orders = [(block.name, chunks, number, seed, resistance, load) for number in range(chunks)]
        if method == "loky":
            failed = sum(joblib.Parallel(n_jobs=processes)(joblib.delayed(_chunk)(order) for order in orders))
        else:
            with multiprocessing.get_context(method).Pool(processes) as pool:
                failed = sum(pool.imap_unordered(_chunk, orders))
        margins = np.ndarray((chunks * CHUNK,), buffer=block.buf)
        quantiles = [float(value) for value in np.quantile(margins, [0.01, 0.5, 0.99])]
        del margins
    finally:
        block.close()
        block.unlink()
    probability = failed / (chunks * CHUNK)
    spread = math.hypot(resistance["deviation"], load["deviation"])
    beta = (resistance["mean"] - load["mean"]) / spread if spread else math.inf
    return {
        "probability": probability,
        "deviation": math.sqrt(probability * (1 - probability) / (chunks * CHUNK)),
        "exact": 0.5 * math.erfc(beta / math.sqrt(2)),
        "quantiles": quantiles,
        "processes": processes,
    }


def _chunk(order):
    """In a child: draw one part, write the margins where they belong, and count the failures."""
    name, chunks, number, seed, resistance, load = order
    random = np.random.default_rng([seed, number])
    block = SharedMemory(name=name)
    try:
        margins = np.ndarray((chunks, CHUNK), buffer=block.buf)
        margins[number] = random.normal(resistance["mean"], resistance["deviation"], CHUNK)
        margins[number] -= random.normal(load["mean"], load["deviation"], CHUNK)
        failed = int((margins[number] < 0).sum())
        del margins
    finally:
        block.close()
    return failed
