"""Between two processes that do not trust each other: values as data, everything else mirrored."""
