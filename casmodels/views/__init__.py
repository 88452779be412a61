"""Models out again: plain directories, and directories that the Hugging Face libraries take for their own cache."""
