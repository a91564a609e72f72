"""Which rows of a batch a platform's errors are about."""

from collections.abc import Sequence

from contact_ingest.model.batch import Batch
from contact_ingest.model.row_ranges import rows
from contact_ingest.model.verdicts import RowError
from contact_ingest.providers.base import Provider
from contact_ingest.store.batches import BatchStore


def locate_rows(
    batch_store: BatchStore, provider: Provider, batch: Batch, errors: Sequence[RowError]
) -> tuple[dict[int, RowError], int]:
    """The rows of `batch.bisect.sending` that the errors prove, each with the first error that proves it; and how many
    errors prove none. A hint alone proves nothing."""
    if not errors:
        return {}, 0
    body, offsets = batch_store.body(batch)
    numbers = list(rows(batch.bisect.sending))
    encoded = [body[offsets[row] : offsets[row + 1] - 1] for row in numbers]
    places = provider.find_rows(encoded, errors)
    located: dict[int, RowError] = {}
    for error, found in zip(errors, places, strict=True):
        for place in found:
            located.setdefault(numbers[place], error)
    return located, sum(not found for found in places)
