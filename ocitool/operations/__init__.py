"""What the commands do but for `diff`, `validate` and `dedupe`, one module or package each: values in, frozen results out,
nothing printed."""
