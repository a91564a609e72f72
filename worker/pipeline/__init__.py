"""The journey of a record, a module for each stage: enqueue, aggregate, dispatch, poll, retry. And what they share."""
