//! Links lead somewhere.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::markdown::{anchors, links};
use super::{all, root};

/// `docs/../a.md` as `a.md`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[test]
fn every_link_leads_to_something_that_is_there() {
    let documents: BTreeMap<String, String> = all().into_iter().collect();
    let mut broken = Vec::new();
    for (document, text) in &documents {
        for (line, target) in links(text) {
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let folder = Path::new(document).parent().unwrap_or(Path::new(""));
            let path = if path.is_empty() { PathBuf::from(document) } else { plain(&folder.join(path)) };
            let there = root().join(&path).exists();
            let other = documents.get(path.to_str().unwrap_or_default());
            if !there || (!anchor.is_empty() && !other.is_some_and(|text| anchors(text).contains(anchor))) {
                broken.push(format!("{document}:{line}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
