"""Hostile records in a lane, and the accounts that must bear them."""


def failures(harness):
    return {failed.id: failed for failed in harness.runtime.failures}
