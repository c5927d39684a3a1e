//! Images on their way out: as they came, or, when they were made here, with layers that are compressed for it.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use flate2::{Compression, GzBuilder};
use oci_spec::image::{ImageManifestBuilder, MediaType, SCHEMA_VERSION};

use super::ImageStore;
use super::digest::{Digest, Hasher, ImageId};
use super::error::StoreError;
use super::image::Image;
use super::layout::descriptor;
use super::load::stream::CHUNK;
use super::record::Origin;
use super::reference::Reference;
use super::staging::{StagedFile, Staging};

/// An image that is ready to be pushed, and does not go away before this is dropped.
#[derive(Debug)]
pub struct Outgoing {
    _staging: Staging,
    image: ImageId,
    /// The manifest.
    pub manifest: OutgoingBlob,
    /// Its bytes.
    pub text: Vec<u8>,
    /// Its media type.
    pub media_type: String,
    /// The config.
    pub config: OutgoingBlob,
    /// The layers, the lowest first.
    pub layers: Vec<OutgoingBlob>,
}

/// A file that a registry may want.
#[derive(Debug, Clone)]
pub struct OutgoingBlob {
    path: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl OutgoingBlob {
    /// Opens it for reading.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self) -> Result<File, StoreError> {
        File::open(&self.path).map_err(StoreError::io(&self.path))
    }
}

impl ImageStore {
    /// Makes `image` ready to be pushed as `name`. `compressing` is told which layer is being compressed.
    ///
    /// # Errors
    /// When the store cannot be read, or has no room for the compressed layers.
    pub fn outgoing(
        &self,
        image: &Image,
        name: &Reference,
        compressing: impl Fn(usize),
    ) -> Result<Outgoing, StoreError> {
        let mut staging = self.stage()?;
        let hold = |staging: &mut Staging, digest: &Digest| -> Result<OutgoingBlob, StoreError> {
            let blob = self.layout.blob(digest);
            let gone = || StoreError::io(&blob)(io::ErrorKind::NotFound.into());
            let path = staging.hold(&blob)?.ok_or_else(gone)?;
            let size = std::fs::metadata(&path).map_err(StoreError::io(&path))?.len();
            Ok(OutgoingBlob { path, digest: *digest, size })
        };
        let config = hold(&mut staging, &image.id.0)?;
        if let Some(digest) = image.original_for(Some(name)) {
            let original = self.original(&digest)?;
            let layers = original.layers.iter().map(|layer| hold(&mut staging, &layer.digest));
            let layers = layers.collect::<Result<_, _>>()?;
            let manifest = hold(&mut staging, &digest)?;
            let (text, media_type, image) = (original.text, original.media_type, image.id);
            return Ok(Outgoing { _staging: staging, image, manifest, text, media_type, config, layers });
        }
        let mut layers: Vec<OutgoingBlob> = Vec::new();
        for (i, layer) in image.layers.iter().enumerate() {
            if let Some(same) = image.layers[..i].iter().position(|other| other == layer) {
                layers.push(layers[same].clone());
                continue;
            }
            compressing(i);
            let tar = self.layout.open_blob(&layer.diff_id, layer.size)?;
            layers.push(compress(&mut staging, tar)?);
        }
        let described =
            layers.iter().map(|layer| descriptor(MediaType::ImageLayerGzip, &layer.digest, layer.size));
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(descriptor(MediaType::ImageConfig, &config.digest, config.size))
            .layers(described.collect::<Vec<_>>())
            .build()
            .expect("every field that a manifest must have is set");
        let text = serde_json::to_vec(&manifest).expect("a manifest is strings and numbers");
        let (digest, size) = (Digest::of(&text), text.len() as u64);
        let manifest = OutgoingBlob { path: staging.file_with(&text)?, digest, size };
        let media_type = MediaType::ImageManifest.to_string();
        Ok(Outgoing { _staging: staging, image: image.id, manifest, text, media_type, config, layers })
    }

    /// Keeps what was pushed as `name`, so that the image has the same digest wherever it goes next.
    ///
    /// # Errors
    /// When the store cannot be changed.
    pub fn pushed(&self, outgoing: &Outgoing, name: &Reference) -> Result<(), StoreError> {
        let mut change = self.change()?;
        let digest = outgoing.manifest.digest;
        let origin = Origin { manifest: Some(digest), digest: Some(digest) };
        // An image that was removed meanwhile does not come back.
        if !change.set_origin(outgoing.image, name, origin)? {
            return Ok(());
        }
        change.commit(|| {
            for blob in outgoing.layers.iter().chain([&outgoing.manifest]) {
                self.layout.adopt(&blob.path, &blob.digest, blob.size)?;
            }
            self.layout.sync_blobs()
        })?;
        Ok(())
    }
}

/// Writes `tar` to a staged file, in gzip; the same bytes each time.
fn compress(staging: &mut Staging, mut tar: File) -> Result<OutgoingBlob, StoreError> {
    let mut failure = None;
    let sink = Sink { file: staging.file()?, hasher: Hasher::default(), failure: &mut failure };
    let path = sink.file.path().to_owned();
    let sink = io::BufWriter::with_capacity(CHUNK, sink);
    let mut encoder = GzBuilder::new().write(sink, Compression::default());
    let written = io::copy(&mut tar, &mut encoder)
        .and_then(|_| encoder.finish())
        .and_then(|sink| sink.into_inner().map_err(io::IntoInnerError::into_error));
    let sink = match written {
        Ok(sink) => sink,
        Err(e) => return Err(failure.unwrap_or_else(|| StoreError::io(&path)(e))),
    };
    let size = sink.file.length();
    Ok(OutgoingBlob { path: sink.file.finish()?, digest: sink.hasher.finish(), size })
}

/// A staged file that computes its digest.
struct Sink<'a> {
    file: StagedFile,
    hasher: Hasher,
    /// What is wrong, which [`Write`] has no place for.
    failure: &'a mut Option<StoreError>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        match self.file.append(bytes) {
            Ok(_) => Ok(bytes.len()),
            Err(e) => {
                self.failure.get_or_insert(e);
                Err(io::Error::other("the layer cannot be written"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
