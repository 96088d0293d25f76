"""The suite is shipped with the package; its assertions explain themselves like those of any test module."""

import pytest

pytest.register_assert_rewrite("posthouse.testing.conformance")
