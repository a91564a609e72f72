"""The values that all other packages use: records, identities, lanes, failures, verdicts, HTTP messages. No I/O."""
