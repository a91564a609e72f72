"""Redis: the keyspace (keys.py), the scripts that move things (lua/), and what the journeys may ask of them."""
