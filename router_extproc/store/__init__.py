"""What outlives a process: in embedded SQLite files, or in Redis where instances share it. One module for a kind of record."""
