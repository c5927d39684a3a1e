//! The image store: an OCI image layout whose layers are kept uncompressed.
