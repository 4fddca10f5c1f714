"""The owners' archives as they are: files by name, inside archives too, nothing unpacked."""
