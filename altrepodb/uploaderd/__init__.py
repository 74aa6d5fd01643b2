"""The daemon: messages in, the loaders' work done, messages out."""
