"""Our services from outside: values in and out, answers checked, errors of our own tree."""
