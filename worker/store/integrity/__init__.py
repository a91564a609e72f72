"""What tells of keys that are not what they were: another state of the server, another account, keys that are gone."""
