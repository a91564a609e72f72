"""What people on call use: `status` explains, `doctor` finds what is wrong, `erase` removes a contact."""
