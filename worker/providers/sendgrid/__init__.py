"""SendGrid Marketing Contacts: contacts, custom fields, replies and errors."""
