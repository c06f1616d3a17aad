"""What outlives a process, in an embedded SQLite file. One module for each kind of record."""
