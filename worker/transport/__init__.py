"""The only package that speaks HTTP: `client` sends a request, `sockets` keeps the deadline, `url` checks the address,
`auth` signs the request with the account's credentials."""
