"""The command line: a file a command, at the path that its words name, and the table that they are registered in."""
