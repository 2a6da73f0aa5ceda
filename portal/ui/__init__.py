"""The parts of the template library ``ui``. Templates load ``ui``; docs/interface.md says how to use each."""
