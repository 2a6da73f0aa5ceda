import sys

from portal.sandbox.cli import main

sys.exit(main())
