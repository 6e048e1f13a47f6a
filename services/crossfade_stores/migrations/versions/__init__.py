"""The steps. A released step is never edited: the next change is a new file whose `down_revision` is the last one."""
