"""Tests of the container image: they build it, run it as Fargate does, and ask it from outside."""
