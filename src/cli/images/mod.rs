//! `moat images`.

mod pattern;

use std::collections::HashSet;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use jiff::Timestamp;
use moat::engine::Engine;
use moat::root::Root;
use moat::store::{Image, ImageStore, Reference};
use serde_json::{Value, json};

use self::pattern::Pattern;
use super::human;
use super::image_tree::tree;
use super::template::Template;

/// List images
///
/// The fields for --format are .Repository .Tag .Digest .ID .CreatedSince .CreatedAt .Size .VirtualSize, and, without
/// an answer here but in 'moat system df -v', .Containers .SharedSize .UniqueSize.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  moat images
  moat images -q
  moat images 'localhost/*'
  moat images --filter dangling=true
  moat images --format 'table {{.Repository}}\\t{{.Tag}}\\t{{.Size}}'")]
pub struct Args {
    /// For those who know it from Docker; all images are shown anyway
    #[arg(short, long)]
    all: bool,
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Show the digests under which images can be pulled
    #[arg(long)]
    digests: bool,
    /// `table TEMPLATE`, a Go template, or `json`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// What belongs to each image, below it
    #[arg(long, conflicts_with_all = ["quiet", "format", "digests", "no_trunc"])]
    tree: bool,
    /// Only those with reference=PATTERN, dangling=true|false, label=KEY[=VALUE], before=IMAGE, or since=IMAGE
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Only those of this REPOSITORY or REPOSITORY:TAG, with `*` and `?` for any characters but `/`, and `[a-z]`
    #[arg(value_name = "PATTERN")]
    pattern: Option<String>,
}

/// What Docker prints where there is nothing.
const NONE: &str = "<none>";

/// One of `--filter`.
enum Filter {
    Reference(Pattern),
    Dangling(bool),
    Label(String, Option<String>),
    /// Made before this image.
    Before(String),
    /// Made after this image.
    Since(String),
}

/// Prints a line for each name of each image.
pub fn run(args: Args, root: &Root) -> anyhow::Result<ExitCode> {
    let mut filters =
        args.filter.iter().map(|text| parse_filter(text)).collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(pattern) = &args.pattern {
        filters.push(Filter::Reference(parse_pattern(pattern)?));
    }
    let store = ImageStore::open(root)?;
    let mut images = store.list()?;
    by_age(&store, &filters, &mut images)?;
    if args.tree {
        images.retain(|image| names(image).iter().any(|(image, name)| keep(&filters, image, *name)));
        let containers = Engine::open(root.clone())?.containers()?;
        let is_used = |image: &&Image| {
            let id = image.id.to_string();
            containers.iter().any(|container| container.config.image_id == id)
        };
        let used = images.iter().filter(is_used).map(|image| image.id).collect();
        let text = tree(&images.iter().collect::<Vec<_>>(), &store.usage()?, &used);
        io::stdout().write_all(text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let lines: Vec<(&Image, Option<&Reference>)> =
        images.iter().flat_map(names).filter(|(image, name)| keep(&filters, image, *name)).collect();
    let id = |image: &Image| if args.no_trunc { image.id.to_string() } else { image.id.short() };
    let text = match (args.quiet, &args.format) {
        (true, None) => {
            // An id that is listed twice would be removed twice by `rmi $(moat images -q)`.
            let mut seen = HashSet::new();
            let ids =
                lines.iter().filter(|(image, _)| seen.insert(image.id)).map(|(image, _)| id(image) + "\n");
            ids.collect()
        }
        (_, format) => {
            let format = match format.as_deref() {
                None | Some("table") => default_format(args.quiet, args.digests),
                Some(format) => format,
            };
            let now = Timestamp::now();
            let objects: Vec<Value> =
                lines.iter().map(|(image, name)| object(image, *name, &id(image), now)).collect();
            Template::parse(format)?.list(&objects, &headers())?
        }
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Keeps what was made before or since some image; that image itself is neither.
fn by_age(store: &ImageStore, filters: &[Filter], images: &mut Vec<Image>) -> anyhow::Result<()> {
    for filter in filters {
        match filter {
            Filter::Before(name) => {
                let limit = store.resolve(name)?.created();
                images.retain(|image| image.created() < limit);
            }
            Filter::Since(name) => {
                let limit = store.resolve(name)?.created();
                images.retain(|image| image.created() > limit);
            }
            _ => {}
        }
    }
    Ok(())
}

fn default_format(quiet: bool, digests: bool) -> &'static str {
    match (quiet, digests) {
        (true, _) => "{{.ID}}",
        (_, false) => "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
        (_, true) => "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    }
}

/// An image's names, or one line without a name.
fn names(image: &Image) -> Vec<(&Image, Option<&Reference>)> {
    if image.references.is_empty() {
        return vec![(image, None)];
    }
    image.references.iter().map(|reference| (image, Some(reference))).collect()
}

fn object(image: &Image, name: Option<&Reference>, id: &str, now: Timestamp) -> Value {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    let created = image.created();
    let not_said = || "N/A".to_owned();
    json!({
        "Repository": or_none(name.map(Reference::familiar_name)),
        "Tag": or_none(name.and_then(Reference::tag).map(str::to_owned)),
        "Digest": or_none(name.and_then(|name| image.digest_in(name)).map(|digest| digest.to_string())),
        "ID": id,
        "CreatedSince": created.map_or_else(not_said, |created| human::ago(created, now)),
        "CreatedAt": created.map_or_else(not_said, |created| created.strftime("%F %T +0000 UTC").to_string()),
        "Size": human::size(image.size()),
        "VirtualSize": human::size(image.size()),
        // As in Docker, not worth the counting here.
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
    })
}

/// The columns' names, one for each field of [`object`].
fn headers() -> Value {
    json!({
        "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID", "CreatedSince": "CREATED",
        "CreatedAt": "CREATED AT", "Size": "SIZE", "VirtualSize": "SIZE", "Containers": "CONTAINERS",
        "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE",
    })
}

fn parse_filter(text: &str) -> anyhow::Result<Filter> {
    let (key, value) =
        text.split_once('=').with_context(|| format!("invalid filter {text:?}: write KEY=VALUE"))?;
    Ok(match (key, value) {
        ("reference", pattern) => Filter::Reference(parse_pattern(pattern)?),
        ("dangling", "true" | "1") => Filter::Dangling(true),
        ("dangling", "false" | "0") => Filter::Dangling(false),
        ("dangling", _) => bail!("invalid filter 'dangling=[{value}]'"),
        ("label", label) => match label.split_once('=') {
            Some((key, value)) => Filter::Label(key.to_owned(), Some(value.to_owned())),
            None => Filter::Label(label.to_owned(), None),
        },
        ("before", image) => Filter::Before(image.to_owned()),
        ("since", image) => Filter::Since(image.to_owned()),
        _ => bail!("invalid filter '{key}': there are reference, dangling, label, before and since"),
    })
}

fn parse_pattern(text: &str) -> anyhow::Result<Pattern> {
    Pattern::parse(text).with_context(|| format!("invalid pattern {text:?}: syntax error in pattern"))
}

/// Any of the references, and all of the rest.
fn keep(filters: &[Filter], image: &Image, name: Option<&Reference>) -> bool {
    let mut patterns = filters.iter().filter_map(|filter| match filter {
        Filter::Reference(pattern) => Some(pattern),
        _ => None,
    });
    let named = patterns.clone().next().is_none()
        || name.is_some_and(|name| patterns.any(|pattern| matches_name(pattern, name)));
    named
        && filters.iter().all(|filter| match filter {
            // Seen to before.
            Filter::Reference(_) | Filter::Before(_) | Filter::Since(_) => true,
            Filter::Dangling(dangling) => image.references.is_empty() == *dangling,
            Filter::Label(key, value) => {
                let label = image.config.labels_of_config().and_then(|labels| labels.get(key));
                label.is_some_and(|label| value.as_ref().is_none_or(|value| value == label))
            }
        })
}

/// With or without the tag, in the short and in the long form.
fn matches_name(pattern: &Pattern, name: &Reference) -> bool {
    let long = format!("{}/{}", name.registry(), name.repository());
    [name.familiar_name(), name.familiar(), long, name.to_string()].iter().any(|text| pattern.matches(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_in_every_form() {
        let name: Reference = "ubuntu:20.04".parse().unwrap();
        for pattern in ["ubuntu", "ubuntu:20.04", "ubuntu:*", "docker.io/library/ubuntu"] {
            assert!(matches_name(&Pattern::parse(pattern).unwrap(), &name), "{pattern}");
        }
        assert!(!matches_name(&Pattern::parse("ubuntu:22.04").unwrap(), &name));
    }

    #[test]
    fn filters_are_checked() {
        for text in ["reference", "reference=[", "dangling=maybe", "colour=red"] {
            assert!(parse_filter(text).is_err(), "{text}");
        }
    }
}
