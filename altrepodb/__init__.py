"""ALTRepo Uploader: loads what ALT Linux is made of into one ClickHouse database."""

__version__ = "3.0.0"
