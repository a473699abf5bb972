"""Python runs this at its start where the folder is on PYTHONPATH, as it is in the server's processes."""

import os

if os.environ.get("MLFLOW_LOG_FORMAT") == "json":
    import jsonlog

    jsonlog.install()
