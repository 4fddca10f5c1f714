"""DataDEL: the owners' archives of fourteen endoscopy data sets, turned into one data set with one schema.

`build.build` does all of it; each file of `sources/` holds the facts of one data set and how its files are read.
"""
