"""Measures the playbooks against Terraform, stock Ansible and bare boto3; `make bench`."""
