"""How a database of an older version becomes one of this version. Run by alembic through `adapters.store.migrate`, never by hand."""
