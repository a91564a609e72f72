"""Where contact records come from when nobody calls `enqueue` with them: files, and the columns and phones in them."""
