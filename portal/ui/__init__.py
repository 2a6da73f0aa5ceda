"""The parts the template library ``ui`` is made of. Templates load ``ui``; docs/interface.md says how to use each."""
