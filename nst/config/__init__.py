"""The typed schema of `conf/`, and the checks that need no pixels."""
