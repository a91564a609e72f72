"""SendGrid Marketing: contacts in bodies of 6 MB, each an import job that is polled to its end."""
