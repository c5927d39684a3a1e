//! Images from registries on their way in. Where the bytes come from is somebody else's affair: here they are counted,
//! kept, checked and taken apart.
//!
//! A layer is one pass over its bytes: what an earlier pull kept of it, then what comes in, goes through the digest and
//! the decompression into a staged tar, whose digest must be the diff_id. The compressed bytes stay too: recompressed,
//! they would be others, and the image would have another digest when it is pushed.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use oci_spec::image::{ImageConfiguration, ImageManifest};

use super::ImageStore;
use super::digest::{Digest, Hasher, ImageId};
use super::error::{LoadError, StoreError, shorten};
use super::layout::Origin;
use super::limits::{Budget, MAX_LAYER, MAX_LAYERS};
use super::load::content::StagedBlob;
use super::load::plan::Plan;
use super::load::stream::{CHUNK, Compression, read_head};
use super::load::{Addition, Loaded, stage_manifest};
use super::partial::{PATIENCE, Partial};
use super::reference::Reference;
use super::room::Room;
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

/// What happens to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The store has it.
    Present,
    /// Another pull fetches it, and is waited for.
    Waiting,
    /// This many of its bytes are here.
    Received(u64),
    /// It is here and checked.
    Complete,
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

/// A source of a layer's bytes from an offset on.
pub type Fetch<'a> = dyn FnMut(u64) -> io::Result<Box<dyn Read>> + 'a;

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
        for image in self.list()? {
            for (_, original) in &image.originals {
                // An image may be removed while we look.
                let Ok(manifest) = self.layout.document::<ImageManifest>(original) else { continue };
                let blobs = manifest.layers().iter().map(|layer| layer.digest().as_ref().parse::<Digest>());
                let mut pairs = blobs.zip(&image.layers);
                if pairs.any(|(a, b)| a.as_ref() == Ok(blob) && b.diff_id == *diff_id) {
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
            // The next pull of this layer, from whatever registry, must not go on with these bytes.
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
            // One that another pull has is that one's to remove; one that stays is found by whoever prunes.
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

/// What is here of a layer's bytes.
struct Kept<'a> {
    path: PathBuf,
    file: &'a File,
    length: u64,
    /// Whether nothing is to be added to it.
    complete: bool,
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

/// Why a layer's bytes could not be had.
enum Failure {
    Source(String),
    Store(StoreError),
}

impl Failure {
    fn named(self, what: &str) -> StoreError {
        match self {
            Self::Source(reason) => LoadError::Layer { what: what.to_owned(), reason }.into(),
            Self::Store(e) => e,
        }
    }
}

/// A layer's bytes from the first on: those that are here, and then those that come in, which are kept on the way.
struct Download<'a, 'b> {
    source: Kept<'a>,
    at: u64,
    size: u64,
    network: Option<Box<dyn Read>>,
    fetch: &'a mut Fetch<'b>,
    hasher: Hasher,
    budget: &'a Budget<'a>,
    room: Room,
    failure: Option<Failure>,
    seen: &'a dyn Fn(Arrival),
}

impl Download<'_, '_> {
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let Kept { path, file, length, complete } = &mut self.source;
        if self.at < *length {
            let most = buffer.len().min((*length - self.at).try_into().unwrap_or(usize::MAX));
            let read = file.read_at(&mut buffer[..most], self.at);
            return read.map_err(|e| Failure::Store(StoreError::io(path)(e)));
        }
        let short = |at| Failure::Source(format!("it ends after {at} of {} bytes", self.size));
        if *complete {
            return Err(short(self.at));
        }
        let source = match &mut self.network {
            Some(source) => source,
            none => {
                let source = (self.fetch)(self.at).map_err(|e| Failure::Source(e.to_string()))?;
                none.insert(source)
            }
        };
        let most = buffer.len().min((self.size - self.at).try_into().unwrap_or(usize::MAX));
        let n = source.read(&mut buffer[..most]).map_err(|e| Failure::Source(e.to_string()))?;
        if n == 0 {
            return Err(short(self.at));
        }
        self.room.take(n as u64).map_err(Failure::Store)?;
        let written = file.write_all_at(&buffer[..n], self.at);
        written.map_err(|e| Failure::Store(StoreError::io(path)(e)))?;
        *length += n as u64;
        Ok(n)
    }
}

impl Read for Download<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.size || buffer.is_empty() {
            return Ok(0);
        }
        if self.failure.is_some() {
            return Err(io::Error::other("the layer cannot be read"));
        }
        match self.next(buffer) {
            Ok(n) => {
                self.hasher.update(&buffer[..n]);
                self.at += n as u64;
                self.budget.receive(n as u64);
                (self.seen)(Arrival::Received(self.at));
                Ok(n)
            }
            Err(failure) => {
                self.failure = Some(failure);
                Err(io::Error::other("the layer cannot be read"))
            }
        }
    }
}
