"""ISO, tar and disk images read in user space, and their loader."""
