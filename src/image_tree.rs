//! `moat images --tree`: names with what belongs to them below.

use std::collections::HashSet;

use moat_engine::image::{Image, ImageId, ImageUsage, Reference, Usage};

use super::human;

/// The columns: what it is, its id, what it takes on the disk, what its layers hold, whether a container uses it.
const HEAD: [&str; 5] = ["IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"];

/// Writes a paragraph for each image.
pub fn tree(images: &[&Image], usage: &Usage, used: &HashSet<ImageId>) -> String {
    let mut lines: Vec<[String; 5]> = vec![HEAD.map(str::to_owned)];
    for image in images {
        let ImageUsage { shared, unique } = usage.images.get(&image.id).copied().unwrap_or_default();
        let (disk, content) = (human::size(shared + unique), human::size(image.size()));
        let extra = if used.contains(&image.id) { "U" } else { "" };
        let names: Vec<String> = match image.references.as_slice() {
            [] => vec!["<untagged>".to_owned()],
            names => names.iter().map(Reference::familiar).collect(),
        };
        for (i, name) in names.into_iter().enumerate() {
            let figures =
                if i == 0 { [disk.clone(), content.clone(), extra.to_owned()] } else { Default::default() };
            let [disk, content, extra] = figures;
            lines.push([name, image.id.short(), disk, content, extra]);
        }
        let platform = format!("└─ {}", image.platform());
        lines.push([platform, image.id.short(), disk, content, extra.to_owned()]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(padded.collect::<Vec<_>>().join("   ").trim_end());
        text.push('\n');
    }
    text
}
