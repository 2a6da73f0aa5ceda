"""Parts of the template library ``ui``. Templates load ``ui``; docs/interface.md describes each."""
