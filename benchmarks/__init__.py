"""Scripts that time this project and print tables; see README.md beside this file."""
