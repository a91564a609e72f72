"""The journey of a record: a file for each stage, named as its task, and what the stages share."""
