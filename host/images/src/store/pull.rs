//! Images from registries on their way in. [`crate::registry`] gets the bytes; here they are counted, kept, checked and
//! taken apart.
//!
//! A layer is one pass over its bytes: what an earlier pull kept of it, then what comes in, goes through the digest and
//! the decompression into a staged tar, whose digest must be the diff_id. The compressed bytes stay too: recompressed,
//! they would be others, and the image would have another digest when it is pushed.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};

use oci_spec::image::ImageConfiguration;

use super::ImageStore;
use super::budget::Budget;
use super::digest::{Digest, Hasher, ImageId};
use super::download::{Download, Kept};
use super::error::{LoadError, StoreError};
use super::fetch::{Arrival, Fetch};
use super::image::manifest_of;
use super::limits::{MAX_LAYER, MAX_LAYERS};
use super::load::content::StagedBlob;
use super::load::plan::Plan;
use super::load::stream::{CHUNK, Compression, read_head};
use super::load::{Addition, Loaded, stage_manifest};
use super::partial::{PATIENCE, Partial};
use super::record::Origin;
use super::reference::Reference;
use super::room::Room;
use super::shorten::shorten;
use super::staging::Staging;

/// A layer, as the documents of an image describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedLayer {
    /// What it is called in messages.
    pub what: String,
    /// The digest of its bytes as the registry has them.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// The digest of the tar in them.
    pub diff_id: Digest,
}

/// A layer that is here, and does not go away before this is dropped.
#[derive(Debug)]
pub struct FetchedLayer {
    _staging: Staging,
    blob: StagedBlob,
    tar: StagedBlob,
}

/// An image, all of whose layers are here.
#[derive(Debug)]
pub struct Pulled<'a> {
    /// The names that it is to get.
    pub references: &'a [Reference],
    /// What the registry says that these names mean.
    pub digest: Digest,
    /// The manifest as it came.
    pub manifest: &'a [u8],
    /// The config as it came.
    pub config: &'a [u8],
    /// The layers, the lowest first.
    pub layers: Vec<&'a FetchedLayer>,
}

/// The layers of one image that is pulled.
#[derive(Debug)]
pub struct Incoming<'a> {
    store: &'a ImageStore,
    budget: Budget<'static>,
}

impl ImageStore {
    /// Begins to take in an image with these layers.
    ///
    /// # Errors
    /// When there are too many, or they are larger than the room that is left.
    pub fn incoming(&self, image: &str, layers: &[WantedLayer]) -> Result<Incoming<'_>, StoreError> {
        if layers.len() > MAX_LAYERS {
            let what = format!("the layers of {image}, {},", layers.len());
            return Err(LoadError::too_many(what, MAX_LAYERS).into());
        }
        if layers.is_empty() {
            return Err(LoadError::NoLayers(image.to_owned()).into());
        }
        if let Some(large) = layers.iter().find(|layer| layer.size > MAX_LAYER) {
            let limit =
                format!("has {} bytes; the most that Moat takes is {} GiB", large.size, MAX_LAYER >> 30);
            return Err(LoadError::Limit { what: large.what.clone(), limit }.into());
        }
        let missing = layers.iter().filter(|layer| !self.layout.has_blob(&layer.digest, layer.size));
        self.room_for(missing.map(|layer| layer.size).sum())?;
        Ok(Incoming { store: self, budget: Budget::default() })
    }

    /// Whether an image of the store says that the tar in `blob` is `diff_id`.
    fn knows(&self, blob: &Digest, diff_id: &Digest) -> Result<bool, StoreError> {
        for id in self.layout.users(blob)? {
            // An image may be removed while we look, and a damaged one says nothing.
            let Ok(Some(stored)) = self.stored(&id) else { continue };
            let Ok((_, layers)) = manifest_of(&self.layout, &stored.record.manifest) else { continue };
            for (_, original) in stored.record.originals() {
                let Ok(original) = self.original(&original) else { continue };
                let mut pairs = original.layers.iter().zip(&layers);
                if pairs.any(|(there, here)| (there.digest, here.diff_id) == (*blob, *diff_id)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl Incoming<'_> {
    /// Takes in a layer, of which `fetch` gives the bytes that the store does not have.
    ///
    /// # Errors
    /// When the bytes do not come or are not what the documents say.
    pub fn layer(
        &self,
        wanted: &WantedLayer,
        fetch: &mut Fetch<'_>,
        seen: &dyn Fn(Arrival),
    ) -> Result<FetchedLayer, StoreError> {
        let mut staging = self.store.stage()?;
        if let Some((blob, tar)) = self.present(&mut staging, wanted)? {
            seen(Arrival::Present);
            return Ok(FetchedLayer { _staging: staging, blob, tar });
        }
        let directory = self.store.partial();
        let partial = Partial::open(&directory, &wanted.digest, PATIENCE, || seen(Arrival::Waiting))?;
        if let Some((blob, tar)) = self.present(&mut staging, wanted)? {
            partial.map(Partial::remove).transpose()?;
            seen(Arrival::Present);
            return Ok(FetchedLayer { _staging: staging, blob, tar });
        }
        // The bytes may be here for another image, whose config says something else about them.
        if let Some(path) = staging.hold(&self.store.layout.blob(&wanted.digest))? {
            partial.map(Partial::remove).transpose()?;
            let file = File::open(&path).map_err(StoreError::io(&path))?;
            let length = file.metadata().map_err(StoreError::io(&path))?.len();
            let source = Kept { path, file: &file, length, complete: true };
            let (blob, tar) = self.receive(&mut staging, wanted, source, &self.budget.part(), fetch, seen)?;
            return Ok(FetchedLayer { _staging: staging, blob, tar });
        }
        let (blob, tar) = match partial {
            Some(partial) => self.fetch(&mut staging, wanted, partial, fetch, seen)?,
            None => self.fetch_aside(&mut staging, wanted, fetch, seen)?,
        };
        Ok(FetchedLayer { _staging: staging, blob, tar })
    }

    /// Goes on with what an earlier pull kept; if that turns out to be something else, begins again, once.
    fn fetch(
        &self,
        staging: &mut Staging,
        wanted: &WantedLayer,
        mut partial: Partial,
        fetch: &mut Fetch<'_>,
        seen: &dyn Fn(Arrival),
    ) -> Result<(StagedBlob, StagedBlob), StoreError> {
        loop {
            let (length, complete) = partial.state()?;
            let path = staging
                .hold(partial.path())?
                .ok_or_else(|| StoreError::io(partial.path())(io::Error::from(io::ErrorKind::NotFound)))?;
            let source = Kept { path, file: partial.file(), length, complete };
            let budget = self.budget.part();
            let error = match self.receive(staging, wanted, source, &budget, fetch, seen) {
                Ok(received) => {
                    partial.complete()?;
                    return Ok(received);
                }
                Err(Fault::Interrupted(e)) => return Err(e),
                Err(Fault::Refused(e)) => e,
            };
            // The next pull of this layer, from any registry, must not continue with these bytes.
            partial.remove()?;
            if length == 0 {
                return Err(error);
            }
            budget.take_back();
            let directory = self.store.partial();
            match Partial::open(&directory, &wanted.digest, PATIENCE, || seen(Arrival::Waiting))? {
                Some(new) => partial = new,
                None => return self.fetch_aside(staging, wanted, fetch, seen),
            }
        }
    }

    /// Fetches a layer for this pull alone, because another pull has the file that lasts and takes too long.
    fn fetch_aside(
        &self,
        staging: &mut Staging,
        wanted: &WantedLayer,
        fetch: &mut Fetch<'_>,
        seen: &dyn Fn(Arrival),
    ) -> Result<(StagedBlob, StagedBlob), StoreError> {
        let (path, file) = staging.file()?.into_file();
        let source = Kept { path, file: &file, length: 0, complete: false };
        Ok(self.receive(staging, wanted, source, &self.budget.part(), fetch, seen)?)
    }

    /// The layer's two files, when the store has both and knows that they belong together.
    fn present(
        &self,
        staging: &mut Staging,
        wanted: &WantedLayer,
    ) -> Result<Option<(StagedBlob, StagedBlob)>, StoreError> {
        let (digest, layout) = (&wanted.digest, &self.store.layout);
        if !layout.has_blob(digest, wanted.size) || !self.store.knows(digest, &wanted.diff_id)? {
            return Ok(None);
        }
        let (Some(blob), Some(tar)) =
            (staging.hold(&layout.blob(digest))?, staging.hold(&layout.blob(&wanted.diff_id))?)
        else {
            return Ok(None);
        };
        let size = std::fs::metadata(&tar).map_err(StoreError::io(&tar))?.len();
        Ok(Some((
            StagedBlob { path: blob, digest: *digest, size: wanted.size },
            StagedBlob { path: tar, digest: wanted.diff_id, size },
        )))
    }

    /// The one pass over a layer's bytes.
    fn receive(
        &self,
        staging: &mut Staging,
        wanted: &WantedLayer,
        source: Kept<'_>,
        budget: &Budget<'_>,
        fetch: &mut Fetch<'_>,
        seen: &dyn Fn(Arrival),
    ) -> Result<(StagedBlob, StagedBlob), Fault> {
        let what = &wanted.what;
        let layer_error = |reason: String| LoadError::Layer { what: what.clone(), reason };
        if source.length > wanted.size {
            let (expected, got) = (format!("of {} bytes", wanted.size), format!("more than {}", wanted.size));
            let kind = if source.complete { "a size" } else { "digest" };
            return Err(LoadError::Mismatch { what: what.clone(), kind, expected, got }.into());
        }
        let path = source.path.clone();
        let mut download = Download {
            source,
            at: 0,
            size: wanted.size,
            network: None,
            fetch,
            hasher: Hasher::default(),
            budget,
            room: Room::at(&self.store.partial()),
            failure: None,
            seen,
        };
        let content = unpack(&mut download, staging, budget, what);
        match content {
            // A full disk, or a bomb: nothing is to be learned from the rest.
            Err(e)
                if download.failure.is_none() && !matches!(e, StoreError::Load(LoadError::Layer { .. })) =>
            {
                return Err(e.into());
            }
            _ => {}
        }
        // What a decoder left unread counts for the digest.
        let drained = io::copy(&mut download, &mut io::sink());
        if let Some(failure) = download.failure.take() {
            return Err(Fault::Interrupted(failure.named(what)));
        }
        drained.map_err(|e| layer_error(e.to_string()))?;
        let got = download.hasher.finish();
        if got != wanted.digest {
            return Err(LoadError::mismatch(what, "digest", wanted.digest, got).into());
        }
        let content = content?;
        if content.digest != wanted.diff_id {
            return Err(LoadError::mismatch(what, "diff_id", wanted.diff_id, content.digest).into());
        }
        seen(Arrival::Complete);
        Ok((StagedBlob { path, digest: got, size: wanted.size }, content))
    }

    /// Puts the image into the store.
    ///
    /// # Errors
    /// When its documents do not fit its layers, these cannot be made into a disk, or the store cannot take it.
    pub fn finish(&self, pulled: &Pulled<'_>) -> Result<Loaded, StoreError> {
        let mut staging = self.store.stage()?;
        let mut document = |text: &[u8]| -> Result<StagedBlob, StoreError> {
            let (digest, size) = (Digest::of(text), text.len() as u64);
            Ok(StagedBlob { path: staging.file_with(text)?, digest, size })
        };
        let (manifest, config) = (document(pulled.manifest)?, document(pulled.config)?);
        let layers = pulled.layers.iter().map(|layer| layer.tar.clone()).collect();
        let references = pulled.references.to_vec();
        let plan = Plan { references, id: ImageId(config.digest), config, layers };
        let origin = Origin { manifest: Some(manifest.digest), digest: Some(pulled.digest) };
        let mut original = vec![manifest];
        original.extend(pulled.layers.iter().map(|layer| layer.blob.clone()));
        let own = stage_manifest(&mut staging, &plan)?;
        let index = self.store.stage_index(&mut staging, &plan, &mut Default::default(), &mut |_| ())?;
        let addition = Addition { plan, manifest: own, index, original, origin };
        addition.sync(self.store)?;
        let mut loaded = self.store.commit(std::slice::from_ref(&addition))?;
        for layer in &pulled.layers {
            // A file that another pull has is left to that pull; a prune finds one that stays.
            let path = self.store.partial().join(layer.blob.digest.hex());
            let _ = Partial::unused(&path).map(|partial| partial.map(Partial::remove));
        }
        Ok(loaded.remove(0))
    }
}

/// Reads the diff_ids of a config, which must be as many as there are layers.
///
/// # Errors
/// When it is no image's config.
pub fn diff_ids(config: &[u8], image: &str, layers: usize) -> Result<Vec<Digest>, StoreError> {
    let what = format!("the config of {image}");
    let document = |reason: String| LoadError::Document { what: what.clone(), reason };
    let parsed: ImageConfiguration =
        serde_json::from_slice(config).map_err(|e| document(shorten(&e.to_string())))?;
    let rootfs = parsed.rootfs();
    if rootfs.typ() != "layers" {
        let reason = format!("its rootfs is of the type {:?}, not \"layers\"", shorten(rootfs.typ()));
        return Err(document(reason).into());
    }
    if rootfs.diff_ids().len() != layers {
        let diff_ids = rootfs.diff_ids().len();
        return Err(LoadError::LayerCount { what: image.to_owned(), layers, diff_ids }.into());
    }
    let parse = |text: &String| text.parse().map_err(|cause| LoadError::Digest { what: what.clone(), cause });
    Ok(rootfs.diff_ids().iter().map(parse).collect::<Result<_, _>>()?)
}

fn unpack(
    download: &mut Download<'_, '_>,
    staging: &mut Staging,
    budget: &Budget<'_>,
    what: &str,
) -> Result<StagedBlob, StoreError> {
    let broken = |reason: String| LoadError::Layer { what: what.to_owned(), reason };
    let head = read_head(download).map_err(|e| broken(e.to_string()))?;
    let compression = Compression::of(&head);
    if let Compression::Unknown(tool) = compression {
        let reason = format!("it is compressed with {tool}; Moat reads gzip, zstd and uncompressed layers");
        return Err(broken(reason).into());
    }
    let whole = BufReader::with_capacity(CHUNK, Cursor::new(head).chain(download));
    let mut decoder = compression.decoder(whole).map_err(|e| broken(e.to_string()))?;
    let blob = StagedBlob::stage(&mut decoder, staging, budget, what)?;
    Ok(blob.map_err(|e| broken(format!("its {compression} compression is broken: {e}")))?)
}

/// Why a layer is not taken in.
enum Fault {
    /// Its bytes could not be had or kept. Those that are here may well be right.
    Interrupted(StoreError),
    /// For what its bytes are.
    Refused(StoreError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Load(e) => e.into(),
            e => Self::Interrupted(e),
        }
    }
}

impl From<LoadError> for Fault {
    fn from(error: LoadError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        let (Fault::Interrupted(error) | Fault::Refused(error)) = fault;
        error
    }
}
