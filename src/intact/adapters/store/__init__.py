"""What is kept: records in SQL. Implements the ports of `audit`, `notify` and `decide`; `run` passes one `Database` to all."""
