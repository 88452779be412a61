"""The JSON files of a directory of models: `download_list.json`, what to bring in, and `model_configs.json`, how to run
it."""
