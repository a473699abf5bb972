"""The AWS on this machine: emulators, PostgreSQL and a stand-in for Fargate's agent. Nothing else knows of it."""
