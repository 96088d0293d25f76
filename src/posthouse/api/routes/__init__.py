"""The management routes, one module a resource."""
