//! OCI layers in, block device image out: layers are indexed, never unpacked.
#![forbid(unsafe_code)]
