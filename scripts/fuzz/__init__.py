"""Broken and hostile files, made from a seed by the thousand: what does the command line do with them?"""
