"""The loaders that casmodels brings, one kind of model each."""
