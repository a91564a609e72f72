"""The ignition: Celery tasks that read as the pipeline. `enqueue`, `aggregate`, `dispatch`, `poll`, `retry`; each a few
lines around a journey of `worker`. Messages are doorbells: they carry names, and losing one costs a moment."""
