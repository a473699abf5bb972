"""Python runs this at its start where the folder is on PYTHONPATH: the entrypoint puts it there for JSON logs."""

import jsonlog

jsonlog.install()
