"""The platforms, a folder for each. `base` says what a platform can offer, `registry` which platforms there are."""
