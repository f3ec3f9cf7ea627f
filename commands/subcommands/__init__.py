"""subcommands: the command line of what works beside the flow: parse, call, print; one module a subject.

A module's `commands` are loaded when one of them is named, or for the help of all: so none of these imports
anything heavy but in its functions.
"""
