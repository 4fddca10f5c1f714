"""The same questions answered on a GPU; the code runs on a processor too, where the tests compare both."""
