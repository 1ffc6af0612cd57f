"""Bills of materials in the format CycloneDX (https://cyclonedx.org/docs/1.6/json/)."""
