//! The pages, in groups and in order, and the files that they show or lead to.

use std::sync::LazyLock;

use super::passages::Anchors;

include!(concat!(env!("OUT_DIR"), "/documents.rs"));

/// A page of the documents.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Its place below `/docs/`.
    pub name: &'static str,
    /// Where it stands in the repository, from which its links count.
    pub source: &'static str,
    /// What the navigation calls it.
    pub title: String,
    /// Its first sentence.
    pub about: String,
    pub group: &'static str,
    pub text: &'static str,
}

const START: &str = "Get started";
const OPERATE: &str = "Operate";
const REFERENCE: &str = "Reference";
const UNDERSTAND: &str = "Understand";
pub(super) const GROUPS: [&str; 4] = [START, OPERATE, REFERENCE, UNDERSTAND];

/// Pages in the order of the navigation. A page that is not named here comes last in its group: what stands in `engineering/` is
/// to understand, everything else is reference.
const ORDER: &[(&str, &str, &str)] = &[
    ("tour", START, "Tour"),
    ("receiving", START, "Receive webhooks"),
    ("testing", START, "Test mode"),
    ("install", OPERATE, "Install"),
    ("operating", OPERATE, "Operating"),
    ("config", OPERATE, "Settings"),
    ("upgrading", OPERATE, "Upgrading"),
    ("backup", OPERATE, "Backups"),
    ("monitoring", OPERATE, "Monitoring"),
    ("scaling", OPERATE, "Scaling"),
    ("security", OPERATE, "Security"),
    ("changelog", OPERATE, "Changelog"),
    ("api", REFERENCE, "API"),
    ("recharges", REFERENCE, "Recharges"),
    ("panel", REFERENCE, "Panel"),
    ("circuit", REFERENCE, "Failing endpoints"),
    ("cli", REFERENCE, "Command line"),
    ("questions", UNDERSTAND, "Questions and answers"),
    ("architecture", UNDERSTAND, "Architecture"),
    ("reliability", UNDERSTAND, "Reliability"),
    ("benchmarks", UNDERSTAND, "Benchmarks"),
];

pub(super) static PAGES: LazyLock<Vec<Page>> = LazyLock::new(|| {
    let place = |page: &Page| {
        let group = GROUPS.iter().position(|group| *group == page.group);
        (group, ORDER.iter().position(|(name, ..)| *name == page.name).unwrap_or(ORDER.len()), page.name)
    };
    let mut pages: Vec<Page> = SOURCES.iter().map(|(source, text)| Page::new(source, text)).collect();
    pages.sort_by(|one, other| place(one).cmp(&place(other)));
    pages
});

pub(super) fn page(name: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.name == name)
}

impl Page {
    fn new(source: &'static str, text: &'static str) -> Self {
        let name = source.strip_prefix("docs/").unwrap_or(source);
        let name = name.strip_suffix(".md").unwrap_or(name);
        let name = if source.contains('/') { name } else { name.to_lowercase().leak() };
        let known = ORDER.iter().find(|(known, ..)| *known == name);
        let group = known.map_or(if name.starts_with("engineering/") { UNDERSTAND } else { REFERENCE }, |(_, group, _)| group);
        let heading = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or(name);
        let title = known.map_or(heading, |(.., title)| title).to_owned();
        Self { name, source, title, about: about(text), group, text }
    }

    /// Where a link of the page leads here: to a page, a file, or where it says. None if what it names is not served.
    pub fn linked(&self, url: &str) -> Option<String> {
        if url.starts_with('#') || url.starts_with('/') || url.contains("://") || url.starts_with("mailto:") {
            return Some(url.to_owned());
        }
        let (path, anchor) = url.split_once('#').map_or((url, String::new()), |(path, anchor)| (path, format!("#{anchor}")));
        let path = self.path_of(path);
        if let Some(page) = PAGES.iter().find(|page| page.source == path) {
            return Some(format!("/docs/{}{anchor}", page.name));
        }
        match path.as_str() {
            "docs/openapi.json" => Some("/openapi.json".to_owned()),
            "README.md" | "docs" => Some("/docs".to_owned()),
            _ => file(served_as(&path)).map(|_| format!("/docs/{}", served_as(&path))),
        }
    }

    /// A relative path of the page, as a path in the repository.
    pub fn path_of(&self, path: &str) -> String {
        let mut parts: Vec<&str> = self.source.split('/').collect();
        parts.pop();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        parts.join("/")
    }
}

/// The first sentence of a page's first paragraph, without its Markdown.
fn about(text: &str) -> String {
    let lines = text.lines().map(str::trim).skip_while(|line| line.is_empty() || line.starts_with(['#', '<', '!', '-', '|', '`']));
    let paragraph: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    let sentence = paragraph.split_inclusive(". ").next().unwrap_or_default().trim();
    let mut plain = String::new();
    let mut rest = sentence;
    while let Some((before, after)) = rest.split_once("](") {
        plain.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    plain.replace(['*', '`', '['], "").trim_end_matches([',', ':']).to_owned()
}

macro_rules! files {
    ($($path:literal,)*) => {
        &[$(($path, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $path)).as_slice()),)*]
    };
}

/// Files outside of `docs/` that pages lead to.
static FILES: &[(&str, &[u8])] = files! {
    "examples/receivers/README.md",
    "examples/receivers/php/ringback.php",
    "examples/receivers/php/public/hook.php",
    "examples/receivers/php/work.php",
    "examples/receivers/php/catch_up.php",
    "examples/receivers/laravel/routes/api.php",
    "examples/receivers/laravel/config/services.php",
    "examples/receivers/laravel/app/Http/Middleware/VerifyRingback.php",
    "examples/receivers/laravel/app/Http/Controllers/RingbackController.php",
    "examples/receivers/laravel/app/Services/Ringback.php",
    "examples/receivers/laravel/app/Jobs/TellCustomer.php",
    "examples/receivers/laravel/app/Console/Commands/CatchUp.php",
    "examples/receivers/laravel/database/migrations/2026_11_01_000000_create_ringback_tables.php",
    "examples/receivers/express/package.json",
    "examples/receivers/express/receiver.js",
    "examples/receivers/express/store.js",
    "examples/receivers/express/catch_up.js",
    "examples/receivers/fastapi/requirements.txt",
    "examples/receivers/fastapi/receiver.py",
    "examples/receivers/fastapi/store.py",
    "examples/receivers/fastapi/catch_up.py",
    "examples/receivers/axum/Cargo.toml",
    "examples/receivers/axum/src/main.rs",
    "examples/receivers/axum/src/store.rs",
    "examples/receivers/axum/src/feed.rs",
    "scripts/backup",
    "scripts/restore",
    "Dockerfile",
    "compose.yml",
    "examples/receiver.rs",
    "examples/providers/nepal.toml",
    "SECURITY.md",
};

/// Where a file of the repository stands below `/docs/`.
fn served_as(path: &str) -> &str {
    path.strip_prefix("docs/").unwrap_or(path)
}

/// A file by its place below `/docs/`, with its media type.
pub(super) fn file(name: &str) -> Option<(&'static str, &'static [u8])> {
    let (path, bytes) = BESIDE.iter().chain(FILES).find(|(path, _)| served_as(path) == name)?;
    let kind = match path.rsplit('.').next() {
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json") if path.starts_with("docs/") => "application/json",
        _ => "text/plain; charset=utf-8",
    };
    Some((kind, bytes))
}

/// The headings of a page below its title: level, anchor and text.
pub(super) fn contents(text: &str) -> Vec<(usize, String, String)> {
    let (mut anchors, mut in_code, mut found) = (Anchors::default(), false, Vec::new());
    for line in text.lines() {
        in_code ^= line.starts_with("```");
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        if !in_code && (1..=4).contains(&level) && line[level..].starts_with(' ') {
            let heading = line[level..].trim();
            let anchor = anchors.next(heading);
            if (2..=3).contains(&level) {
                found.push((level, anchor, heading.replace('`', "")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn documents(folder: &std::path::Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                documents(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                let name = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap().with_extension("");
                found.insert(name.to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn every_document_is_a_page_in_a_group() {
        let mut wanted = BTreeSet::from(["architecture".to_owned(), "changelog".to_owned()]);
        documents(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs"), &mut wanted);
        assert_eq!(PAGES.iter().map(|page| page.name.to_owned()).collect::<BTreeSet<_>>(), wanted);
        for page in &*PAGES {
            assert!(GROUPS.contains(&page.group) && !page.title.is_empty(), "{}", page.name);
            assert!(!page.about.is_empty() && !page.about.contains("]("), "{}: {}", page.name, page.about);
        }
        let order: Vec<_> = PAGES.iter().map(|page| GROUPS.iter().position(|group| *group == page.group)).collect();
        assert!(order.is_sorted(), "groups are not apart: {order:?}");
    }

    #[test]
    fn links_lead_to_pages_and_files() {
        let page = |source| Page::new(source, "# Title\n\nAbout `it`, see [that](x.md). More.\n");
        let (inner, outer) = (page("docs/engineering/diary.md"), page("ARCHITECTURE.md"));
        assert_eq!((inner.name, inner.group, inner.about.as_str()), ("engineering/diary", UNDERSTAND, "About it, see that."));
        assert_eq!(inner.linked("../api.md#rules").as_deref(), Some("/docs/api#rules"));
        assert_eq!(inner.linked("../../Dockerfile").as_deref(), Some("/docs/Dockerfile"));
        assert_eq!((outer.name, outer.linked("docs/alerts.yml").as_deref()), ("architecture", Some("/docs/alerts.yml")));
        assert_eq!((outer.linked("src/main.rs"), outer.linked("#here").as_deref()), (None, Some("#here")));
    }
}
