"""What outlives a process: in embedded SQLite files, or in Redis where instances share it. One module for each kind of record."""
