"""What the commands do, one module each: values in, frozen results out, nothing printed."""
