"""Everything that can be configured: settings, destinations, Redis URLs, log lines."""
