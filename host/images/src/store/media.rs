//! What the media types of manifests say: OCI's words and Docker's older ones for the same things.

use oci_spec::image::{MediaType, ToDockerV2S2};

/// Docker's media type of uncompressed layers, for which the OCI types have no counterpart function.
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// What zstd adds to [`DOCKER_LAYER`].
const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// Whether `media_type` is `oci` or Docker's word for the same.
pub fn is(media_type: &MediaType, oci: &MediaType) -> bool {
    media_type == oci || oci.to_docker_v2s2().is_ok_and(|docker| media_type.as_ref() == docker)
}

/// How a layer is compressed is seen from its bytes; the media type has to be one of a tar.
pub fn is_layer(media_type: &MediaType) -> bool {
    let oci = matches!(
        media_type,
        MediaType::ImageLayer
            | MediaType::ImageLayerGzip
            | MediaType::ImageLayerZstd
            | MediaType::ImageLayerNonDistributable
            | MediaType::ImageLayerNonDistributableGzip
            | MediaType::ImageLayerNonDistributableZstd
    );
    oci || is(media_type, &MediaType::ImageLayerGzip)
        || [DOCKER_LAYER, DOCKER_LAYER_ZSTD].contains(&media_type.as_ref())
}
